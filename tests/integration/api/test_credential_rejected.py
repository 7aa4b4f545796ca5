"""Reporting a refused credential over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from authpipe.domain.access import ApiKeyRole
from support.problems import is_invalid, is_problem

if TYPE_CHECKING:
    from conftest import Api
    from support.scene import Stored


def path_of(stored: Stored) -> str:
    return f"/v1/credentials/{stored.credential.credential_id}/rejected"


def body(version: int = 1, **changed: Any) -> dict[str, Any]:
    return {"tenant_id": "org_acme", "version": version} | changed


async def test_the_answer_is_that_of_a_read(api: Api) -> None:
    """Field by field, at the new version, also for whoever reports the old one again."""
    stored = await api.scene.connected(await api.scene.config())
    answer = await api.post(path_of(stored), body())
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    wanted = {"provider": "discord", "tenant_id": "org_acme", "user_id": "user_123"}
    read = await api.get("/v1/credentials", params=wanted)
    assert answer.json() == read.json()
    assert answer.json()["version"] == 2
    again = await api.post(path_of(stored), body(), headers={"Idempotency-Key": "the-same"})
    assert again.json() == read.json()
    assert len(api.scene.refreshes()) == 1


async def test_a_dead_one_says_what_to_reconnect(api: Api) -> None:
    """With the reason, once for everybody; the metric tells both reports."""
    stored = await api.scene.connected(await api.scene.config(), refreshable=False, lifetime=None)
    api.sandbox.state.ledgers["discord"].revoke()
    for _ in range(2):
        problem = is_problem(await api.post(path_of(stored), body()), 409, "reauthorization_required")
        assert (problem["reason"], problem["connection_id"]) == ("rejected", str(stored.owner_id))
    assert [event["type"] for event in await api.events("connection.needs_reauth")] == [
        "connection.needs_reauth"
    ]
    metrics = (await api.call("GET", "/metrics", key=None)).text
    assert 'authpipe_rejected_reports_total{outcome="dead"} 2.0' in metrics


async def test_what_cannot_be_reported_is_refused(api: Api, other: Api) -> None:
    """Unknown ids, other environments' and tenants' ones alike, and what is malformed."""
    stored = await api.scene.connected(await api.scene.config())
    path = path_of(stored)
    is_problem(await api.post(path, body(tenant_id="org_other")), 404, "not_found")
    is_problem(await other.post(path, body()), 404, "not_found")
    is_invalid(await api.post(path, body(7)), "version")
    is_invalid(await api.post(path, body(0)), "version")
    is_invalid(await api.post(path, {"version": 1}), "tenant_id")
    is_invalid(await api.post("/v1/credentials/nothing/rejected", body()), "credential_id")
    assert api.scene.refreshes() == []


async def test_who_may_not_read_may_not_report(api: Api) -> None:
    """A viewer, and a key of another tenant, with and without naming its own."""
    stored = await api.scene.connected(await api.scene.config())
    viewer = await api.new_key(api.environment_id, role=ApiKeyRole.VIEWER)
    is_problem(await api.post(path_of(stored), body(), key=viewer), 403, "forbidden")
    restricted = await api.new_key(api.environment_id, role=ApiKeyRole.SERVER, tenant_id="org_other")
    is_problem(await api.post(path_of(stored), body(), key=restricted), 403, "forbidden")
    own = body(tenant_id="org_other")
    is_problem(await api.post(path_of(stored), own, key=restricted), 404, "not_found")
    assert api.scene.refreshes() == []
    await api.rooms.credential_reads.flush()
    assert await api.events("credential.read") == []
    by_role, by_tenant = (await api.events("api_key.refused"))[::-1]
    assert (by_role["data"]["reason"], by_tenant["data"]["reason"]) == ("role", "tenant")
    (request,) = by_tenant["data"]["requests"]
    assert request["route"] == "POST /v1/credentials/{credential_id}/rejected"
    assert request["tenant_id"] == "org_acme"


async def test_a_report_is_a_read_on_record(api: Api) -> None:
    """What was given, and what was refused, with the key and the request."""
    stored = await api.scene.connected(await api.scene.config())
    await api.post(path_of(stored), body(), headers={"X-Request-Id": "req-given"})
    api.sandbox.state.ledgers["discord"].revoke()
    connection = f"/v1/connections/{stored.owner_id}"
    await api.post(f"{connection}/refresh")
    await api.post(path_of(stored), body(2), headers={"X-Request-Id": "req-refused"})
    await api.rooms.credential_reads.flush()
    given, refused = (await api.events("credential.read"))[::-1]
    assert (given["request_id"], given["outcome"]) == ("req-given", "success")
    assert given["object_id"] == str(stored.credential.credential_id)
    assert (refused["request_id"], refused["outcome"]) == ("req-refused", "failure")
    assert refused["data"]["code"] == "reauthorization_required"
    assert refused["object_id"] == str(stored.owner_id)
