"""``DELETE /v1/tenants/{tenant_id}``: the certificate, who may ask for it, and what remains."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from authpipe.api import tenants
from authpipe.api.idempotency import Idempotency
from authpipe.connect.erase import REQUEST, UNHURRIED, Patience
from authpipe.domain.access import ApiKeyRole
from authpipe.domain.event import ActorKind, Origin
from authpipe.domain.secret import Secret
from authpipe.sandbox import seeds
from authpipe.sandbox.faults import FaultOrder
from support.erasing import begin_erasure, left_of
from support.problems import is_problem

if TYPE_CHECKING:
    from conftest import Api, Dsns

ORIGIN = Origin(actor_kind=ActorKind.COMMAND_LINE)
PATH = "/v1/tenants/org_acme"


async def _key(api: Api, role: ApiKeyRole, tenant_id: str | None) -> str:
    _, text = await api.rooms.api_keys.create(
        api.environment_id, name="another", role=role, tenant_id=tenant_id, origin=ORIGIN
    )
    return text.reveal()


async def test_the_answer_is_the_certificate(api: Api, dsns: Dsns) -> None:
    """With the counts, and the id of the audit record; afterwards the tenant is not found."""
    await api.made("/v1/provider-configs", api.config_body("clicksend"))
    username, key = next(iter(seeds.CLICKSEND_API_KEYS.items()))
    stored = {
        "provider": "clicksend", "tenant_id": "org_acme", "user_id": "user_123",
        "fields": {"username": username, "api_key": key},
    }  # fmt: skip
    made = await api.post("/v1/credentials", stored, headers={"Idempotency-Key": "one"})
    assert made.status_code in (200, 201), made.text
    answer = await api.call("DELETE", PATH)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert told["object"] == "tenant_erasure"
    assert (told["tenant_id"], told["connections"], told["credentials"]) == ("org_acme", 1, 1)
    assert (told["not_revocable"], told["remembered_answers"], told["data_keys"]) == (1, 1, 1)
    [event] = await api.events("tenant.erased")
    assert event["id"] == told["id"]
    assert event["data"]["connections"] == 1
    assert await left_of(dsns.superuser, api.environment_id, "org_acme") == {}
    is_problem(await api.call("DELETE", PATH), 404, "not_found")
    is_problem(await api.get(PATH), 404, "not_found")


async def test_only_an_admin_of_the_environment_erases(api: Api, other: Api) -> None:
    """Not a server's key, not one restricted to the tenant, not another environment's."""
    for role, tenant_id in (
        (ApiKeyRole.SERVER, None),
        (ApiKeyRole.VIEWER, None),
        (ApiKeyRole.ADMIN, "org_acme"),
        (ApiKeyRole.ADMIN, "org_other"),
    ):
        key = await _key(api, role, tenant_id)
        is_problem(await api.call("DELETE", PATH, key=key), 403, "forbidden")
    is_problem(await other.call("DELETE", PATH), 404, "not_found")
    is_problem(await api.call("DELETE", "/v1/tenants/*"), 422, "invalid_input")
    assert (await api.get(PATH)).status_code == 200


async def test_a_tenant_that_is_being_erased_says_so(api: Api) -> None:
    """It is shown with the time; what would begin for it is refused with one code."""
    await begin_erasure(api.rooms.database, api.clock, api.environment_id, "org_acme")
    async with api.rooms.database.tenant(api.environment_id, "org_acme") as transaction:
        now = api.clock.now()
        assert await transaction.erasures.claim(
            api.environment_id, "org_acme", now=now, lease_until=now.replace(year=now.year + 1)
        )
    assert (await api.get(PATH)).json()["erasing_at"] is not None
    is_problem(await api.call("DELETE", PATH), 409, "tenant_erasing")
    is_problem(await api.call("PUT", PATH, json={"name": "Acme"}), 409, "tenant_erasing")
    read = {"provider": "discord", "tenant_id": "org_acme"}
    is_problem(await api.get("/v1/credentials", params=read), 409, "tenant_erasing")


async def test_an_answer_that_comes_after_the_erasure_is_not_remembered(api: Api, dsns: Dsns) -> None:
    """It would bring back what is gone; whoever sends the request again has it done again."""
    answers = []

    async def work(scope: Any, receive: Any, send: Any) -> None:
        if not answers:
            await api.rooms.connecting.tenant_erasure.erase(
                api.environment_id, "org_acme", origin=ORIGIN, patience=UNHURRIED
            )
        body = json.dumps({"object": "connection", "tenant_id": "org_acme"}).encode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"{}"}

    async def send(message: Any) -> None:
        answers.append(message)

    rooms = api.rooms
    found = await rooms.authenticator.authenticate(Secret(api.key))
    scope = {
        "type": "http", "method": "POST", "path": "/v1/work", "query_string": b"",
        "headers": [(b"idempotency-key", b"one")],
        "state": {
            "request_id": "r",
            "caller": SimpleNamespace(environment_id=api.environment_id, api_key=found.api_key),
        },
    }  # fmt: skip
    middleware = Idempotency(work, database=rooms.database, vault=rooms.vault, clock=rooms.clock)
    for _ in range(2):
        await middleware(scope, receive, send)
    assert [message["status"] for message in answers if "status" in message] == [200, 200]
    assert all(b"idempotent-replayed" not in dict(message.get("headers", ())) for message in answers)
    assert await left_of(dsns.superuser, api.environment_id, "org_acme") == {}


async def test_a_slow_provider_does_not_hold_the_answer_up(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """The work goes on in the worker, which waits for the provider for longer."""
    assert (REQUEST.upstream_s, REQUEST.total_s) == (15, 25)
    monkeypatch.setattr(tenants, "REQUEST", Patience(upstream_s=0.5, total_s=25))
    await api.scene.connected(await api.scene.config("discord"))
    api.sandbox.state.faults.add(FaultOrder("hang", path_contains="revoke", times=1))
    is_problem(await api.call("DELETE", PATH), 409, "tenant_erasing")
    certificate = await api.rooms.connecting.tenant_erasure.resume()
    assert certificate is not None
    assert (certificate.counts.not_revoked, certificate.counts.connections) == (0, 1)
    is_problem(await api.get(PATH), 404, "not_found")


async def test_what_a_provider_does_not_confirm_is_counted(api: Api) -> None:
    """It stops nothing."""
    scene = api.scene
    config = await scene.config("discord")
    await scene.connected(config)
    api.sandbox.state.faults.add(FaultOrder("status", path_contains="revoke", status=503))
    told = (await api.call("DELETE", PATH)).json()
    assert (told["not_revoked"], told["revoked_upstream"]) == (1, 0)
