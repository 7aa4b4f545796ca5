"""Who read which credential, as the real API records it."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from authpipe.domain.access import ApiKeyRole
from support.problems import is_problem

if TYPE_CHECKING:
    from conftest import Api

WANTED = {"provider": "discord", "tenant_id": "org_acme", "user_id": "user_123", "credential_for": "user"}


async def reads(api: Api) -> list[dict[str, Any]]:
    """Every ``credential.read`` of the environment, oldest first."""
    await api.rooms.credential_reads.flush()
    return (await api.events("credential.read"))[::-1]


async def test_a_read_is_recorded_with_who_and_what(api: Api) -> None:
    """The key, the request, the address, the credential and what it hangs on; never the secret."""
    stored = await api.scene.connected(await api.scene.config())
    answer = await api.get("/v1/credentials", params=WANTED, headers={"X-Request-Id": "req-of-mine"})
    assert answer.status_code == 200
    (event,) = await reads(api)
    key = (await api.get("/v1/api-keys")).json()["data"][0]
    assert event["object_kind"] == "credential"
    assert event["object_id"] == str(stored.credential.credential_id)
    assert (event["tenant_id"], event["outcome"]) == ("org_acme", "success")
    assert event["actor"] == {"kind": "api_key", "id": key["id"]}
    assert (event["request_id"], event["source_address"]) == ("req-of-mine", "127.0.0.1")
    assert event["data"] == {
        "provider": "discord",
        "kind": "oauth_token",
        "user_id": "user_123",
        "owner_kind": "connection",
        "owner_id": str(stored.owner_id),
        "count": 1,
    }
    assert stored.issued.access_token not in str(event)


async def test_reads_of_one_moment_share_an_event_that_lists_them(api: Api) -> None:
    """Each with its request's id and time, so that none is less on record than a single one."""
    await api.scene.connected(await api.scene.config())
    names = [f"req-{number}" for number in range(5)]
    for name in names:
        await api.get("/v1/credentials", params=WANTED, headers={"X-Request-Id": name})
        api.clock.advance(timedelta(milliseconds=100))
    (event,) = await reads(api)
    assert (event["request_id"], event["data"]["count"]) == (None, 5)
    assert [each["request_id"] for each in event["data"]["reads"]] == names
    assert event["data"]["reads"][4]["at"] == "2026-05-17T12:00:00.400Z"
    assert event["created_at"] == "2026-05-17T12:00:00Z"


async def test_what_was_refused_is_recorded_too(api: Api) -> None:
    """Nothing connected, and a connection that must be authorized again, by their codes."""
    is_problem(await api.get("/v1/credentials", params=WANTED), 404, "not_connected")
    config = await api.scene.config()
    stored = await api.scene.connected(config, refreshable=False)
    api.clock.advance(timedelta(hours=2))
    is_problem(await api.get("/v1/credentials", params=WANTED), 409, "reauthorization_required")
    first, second = await reads(api)
    assert (first["outcome"], first["object_kind"], first["object_id"]) == ("failure", "provider", "discord")
    assert first["data"]["code"] == "not_connected"
    assert (second["outcome"], second["object_kind"]) == ("failure", "connection")
    assert second["object_id"] == str(stored.owner_id)
    assert second["data"]["code"] == "reauthorization_required"
    assert second["source_address"] == "127.0.0.1"


async def test_a_key_that_may_not_is_on_record(api: Api) -> None:
    """By its role, or as it is another tenant's; on any route, and outside the tenant that was named."""
    viewer = await api.new_key(api.environment_id, role=ApiKeyRole.VIEWER)
    elsewhere = await api.new_key(api.environment_id, role=ApiKeyRole.SERVER, tenant_id="org_other")
    for key in (viewer, elsewhere):
        is_problem(await api.get("/v1/credentials", params=WANTED, key=key), 403, "forbidden")
    is_problem(await api.post("/v1/api-keys", {"name": "x"}, key=viewer), 403, "forbidden")
    assert await reads(api) == []
    by_role, by_tenant = sorted(await api.events("api_key.refused"), key=lambda each: each["data"]["reason"])
    known = {each["role"]: each["id"] for each in (await api.get("/v1/api-keys")).json()["data"]}
    for event, role in ((by_role, "viewer"), (by_tenant, "server")):
        assert (event["tenant_id"], event["outcome"], event["source_address"]) == (
            None,
            "failure",
            "127.0.0.1",
        )
        assert (event["object_kind"], event["object_id"]) == ("api_key", known[role])
        assert event["actor"] == {"kind": "api_key", "id": known[role]}
    assert (by_role["data"]["reason"], by_role["data"]["count"], by_role["request_id"]) == ("role", 2, None)
    assert [each["route"] for each in by_role["data"]["requests"]] == [
        "GET /v1/credentials",
        "POST /v1/api-keys",
    ]
    (request,) = by_tenant["data"]["requests"]
    assert (by_tenant["data"]["reason"], request["tenant_id"]) == ("tenant", "org_acme")
    assert request["request_id"] == by_tenant["request_id"]


async def test_a_key_that_is_refused_adds_no_event_for_each_thing_it_names(api: Api) -> None:
    """Else a key that may do nothing could fill the disk: one for each key and reason in each second."""
    viewer = await api.new_key(api.environment_id, role=ApiKeyRole.VIEWER)
    elsewhere = await api.new_key(api.environment_id, role=ApiKeyRole.SERVER, tenant_id="org_other")
    for number in range(60):
        named = WANTED | {"user_id": f"user_{number}", "tenant_id": f"org_{number}"}
        await api.get("/v1/credentials", params=named, key=viewer)
        await api.get("/v1/credentials", params=named, key=elsewhere)
    assert await reads(api) == []
    events = await api.events("api_key.refused")
    assert sum(each["data"]["count"] for each in events) == 120
    assert len(events) < 20


async def test_what_names_nothing_is_no_read(api: Api) -> None:
    """A malformed request, or an unknown provider, asks for no credential there could be."""
    await api.get("/v1/credentials", params={"provider": "discord"})
    await api.get("/v1/credentials", params=WANTED | {"provider": "no\x00such"})
    await api.get("/v1/credentials", params=WANTED, key="apk_none_none")
    assert await reads(api) == []


async def test_reads_are_written_without_being_asked(api: Api) -> None:
    """Within about a second."""
    await api.scene.connected(await api.scene.config())
    await api.get("/v1/credentials", params=WANTED)
    async with asyncio.timeout(10):
        while not await api.events("credential.read"):
            await asyncio.sleep(0.02)
