"""Many credentials in one request: each as the single read would have it."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from authpipe.credentials import batch as batch_module
from authpipe.domain.access import ApiKeyRole
from authpipe.sandbox import seeds
from authpipe.sandbox.faults import FaultOrder
from support.problems import is_invalid, is_problem

if TYPE_CHECKING:
    from conftest import Api

PATH = "/v1/credentials/batch"
HOUR = timedelta(hours=1)


def wanted(number: int, **changed: Any) -> dict[str, Any]:
    return {"provider": "discord", "tenant_id": "org_acme", "user_id": f"user_{number}"} | changed


async def batch(api: Api, *entries: dict[str, Any], **arguments: Any) -> list[dict[str, Any]]:
    answer = await api.post(PATH, {"credentials": list(entries)}, **arguments)
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    document = answer.json()
    assert document["object"] == "list"
    return list(document["data"])


async def test_the_order_is_the_one_asked_in(api: Api) -> None:
    """A hundred, all of them what the single read says; one twice is given twice."""
    config = await api.scene.config()
    stored = [await api.scene.connected(config, user_id=f"user_{number}") for number in range(99)]
    order = [*range(98, -1, -1), 7]
    got = await batch(api, *(wanted(number) for number in order))
    assert [each["credential"] for each in got] == [stored[number].issued.access_token for number in order]
    single = (await api.get("/v1/credentials", params=wanted(7))).json()
    assert got[-1] == got[-9] == single


async def test_one_that_cannot_be_had_is_an_error_in_its_place(api: Api) -> None:
    """The problem document of the single read, field by field; the others are given."""
    config = await api.scene.config()
    await api.scene.connected(config, user_id="user_1")
    dead = await api.scene.connected(config, user_id="user_2", refreshable=False)
    for label in ("work", "home"):
        double = await api.scene.connection(
            config, user_id="user_3", label=label, account_id=seeds.PEOPLE["discord"][1].id + label
        )
        await api.scene.token(config, double)
    api.clock.advance(HOUR)
    await api.scene.connected(config, user_id="user_4")
    entries = [
        wanted(2),
        wanted(3),
        wanted(4),
        wanted(5),
        wanted(5, provider="no-such-provider"),
        {"provider": "discord", "tenant_id": "org_acme", "credential_for": "user"},
        wanted(1),
    ]
    got = await batch(api, *entries, headers={"X-Request-Id": "req-batch"})
    codes = [each.get("code", each["object"]) for each in got]
    assert codes == [
        "reauthorization_required",
        "ambiguous_connection",
        "credential",
        "not_connected",
        "not_found",
        "invalid_input",
        "credential",
    ]
    assert (got[0]["reason"], got[0]["connection_id"]) == ("expired", str(dead.owner_id))
    assert len(got[1]["candidates"]) == 2
    for entry, each in zip(entries, got, strict=True):
        if each["object"] != "error":
            continue
        single = await api.get("/v1/credentials", params=entry, headers={"X-Request-Id": "req-batch"})
        assert each == {"object": "error"} | single.json()
        assert single.status_code == each["status"]


async def test_expired_ones_are_refreshed_once_each(api: Api) -> None:
    """Also one that is asked for twice; the others do not wait for a connection meanwhile."""
    config = await api.scene.config()
    for number in range(20):
        await api.scene.connected(config, user_id=f"user_{number}", lifetime=HOUR)
    api.clock.advance(HOUR)
    got = await batch(api, *(wanted(number % 20) for number in range(40)))
    assert {each["version"] for each in got} == {2}
    assert len(api.scene.refreshes()) == 20


async def test_the_whole_takes_no_longer_than_a_read_may(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not there in time is an error; what was begun is finished, and there the next time."""
    monkeypatch.setattr(batch_module, "WAIT_S", 0.5)
    config = await api.scene.config()
    await api.scene.connected(config, user_id="user_1", lifetime=HOUR)
    api.clock.advance(HOUR)
    await api.scene.connected(config, user_id="user_2")
    held = api.sandbox.state.faults.add(FaultOrder("hold", grant_type="refresh_token"))
    began = time.monotonic()
    slow, quick = await batch(api, wanted(1), wanted(2))
    assert time.monotonic() - began < 2
    assert (slow["code"], slow["retry_after_s"]) == ("provider_unavailable", 5)
    assert quick["object"] == "credential"
    held.release()
    async with asyncio.timeout(10):
        while (await batch(api, wanted(1)))[0]["object"] == "error":
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("entries", "field"),
    [
        ([], "credentials"),
        ([wanted(number) for number in range(101)], "credentials"),
        ([wanted(0), wanted(1), wanted(2), {"provider": "discord"}], "credentials[3].tenant_id"),
        ([wanted(0), wanted(1, tenant_id="a b")], "credentials[1].tenant_id"),
        ([wanted(0, credential_for="nobody")], "credentials[0].credential_for"),
        ([wanted(0, secret="CANARY")], "credentials[0].secret"),
        ([wanted(0, installation_id="CANARY")], "credentials[0].installation_id"),
    ],
)
async def test_a_malformed_one_is_named(api: Api, entries: list[dict[str, Any]], field: str) -> None:
    """By its place; nothing is read then, and nothing that was sent is repeated."""
    answer = await api.post(PATH, {"credentials": entries})
    is_invalid(answer, field)
    assert "CANARY" not in answer.text
    await api.rooms.credential_reads.flush()
    assert await api.events("credential.read") == []


async def test_who_may_not_read_one_may_not_read_many(api: Api) -> None:
    """A viewer is refused whole, a restricted key entry by entry."""
    config = await api.scene.config()
    await api.scene.connected(config, user_id="user_1")
    await api.scene.tenant("org_other")
    hers = await api.scene.connection(config, tenant_id="org_other", user_id="user_1", account_id="4")
    await api.scene.token(config, hers)
    entries = [wanted(1), wanted(1, tenant_id="org_other")]
    viewer = await api.new_key(api.environment_id, role=ApiKeyRole.VIEWER)
    is_problem(await api.post(PATH, {"credentials": entries}, key=viewer), 403, "forbidden")
    restricted = await api.new_key(api.environment_id, role=ApiKeyRole.SERVER, tenant_id="org_other")
    refused, own = await batch(api, *entries, key=restricted)
    assert (refused["code"], own["tenant_id"]) == ("forbidden", "org_other")


async def test_every_read_of_a_batch_is_on_record(api: Api) -> None:
    """As if it had been asked for alone: what was given, what was refused, and to whom."""
    stored = await api.scene.connected(await api.scene.config(), user_id="user_1")
    restricted = await api.new_key(api.environment_id, role=ApiKeyRole.SERVER, tenant_id="org_other")
    await batch(api, wanted(1), wanted(2), headers={"X-Request-Id": "req-batch"})
    await batch(api, wanted(1), key=restricted)
    await api.rooms.credential_reads.flush()
    given, missing = (await api.events("credential.read"))[::-1]
    (forbidden,) = await api.events("api_key.refused")
    assert (given["object_id"], given["outcome"]) == (str(stored.credential.credential_id), "success")
    assert given["request_id"] == missing["request_id"] == "req-batch"
    assert (missing["outcome"], missing["data"]["code"]) == ("failure", "not_connected")
    assert (forbidden["tenant_id"], forbidden["data"]["reason"]) == (None, "tenant")
    assert [each["tenant_id"] for each in forbidden["data"]["requests"]] == ["org_acme"]
    assert stored.issued.access_token not in str([given, missing, forbidden])


async def test_an_answer_is_not_remembered(api: Api) -> None:
    """It holds secrets, of several tenants perhaps, and would be stale when it is repeated."""
    config = await api.scene.config()
    stored = await api.scene.connected(config, user_id="user_1")
    headers = {"Idempotency-Key": "the-same"}
    (first,) = await batch(api, wanted(1), headers=headers)
    await api.post(f"/v1/connections/{stored.owner_id}/refresh")
    (second,) = await batch(api, wanted(1), headers=headers)
    assert (first["version"], second["version"]) == (1, 2)


async def test_an_absent_database_fails_the_whole(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """As 503, so that the caller tries again, rather than as a hundred errors."""

    async def away(*_: Any, **__: Any) -> None:
        raise ConnectionRefusedError

    monkeypatch.setattr(type(api.rooms.credential_reader), "get", away)
    is_problem(await api.post(PATH, {"credentials": [wanted(1)]}), 503, "unavailable")
