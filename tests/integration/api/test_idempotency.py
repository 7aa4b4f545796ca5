"""A POST with an Idempotency-Key does its work once, whoever asks again and however soon."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from authpipe.domain.access import ApiKeyRole
from support.problems import is_invalid, is_problem

if TYPE_CHECKING:
    from conftest import Api, Dsns


def keyed(key: str) -> dict[str, dict[str, str]]:
    """The argument that sends a key."""
    return {"headers": {"Idempotency-Key": key}}


async def test_the_same_request_gets_the_first_answer(api: Api) -> None:
    """The same key text, though it is stored nowhere else; one API key was made; the request id is new."""
    first = await api.post("/v1/api-keys", {"name": "x"}, **keyed("k1"))
    second = await api.post("/v1/api-keys", {"name": "x"}, **keyed("k1"))
    assert (first.status_code, second.status_code) == (201, 201)
    assert second.content == first.content
    assert second.headers["content-type"] == first.headers["content-type"]
    assert second.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    assert second.headers["x-request-id"] != first.headers["x-request-id"]
    assert len((await api.get("/v1/api-keys")).json()["data"]) == 2


async def test_a_remembered_secret_is_not_in_the_database(api: Api, dsns: Dsns) -> None:
    """The stored answer is ciphertext."""
    made = await api.made("/v1/api-keys", {"name": "x"}, **keyed("k1"))
    connection = await asyncpg.connect(dsns.superuser)
    try:
        rows = await connection.fetch("SELECT * FROM idempotency_keys")
    finally:
        await connection.close()
    assert rows[0]["response_status"] == 201
    secret = made["key"].split("_", 2)[2].encode()
    assert secret not in b"".join(value for value in rows[0].values() if isinstance(value, bytes))


async def test_a_link_that_is_shown_once_comes_again(api: Api) -> None:
    """A connect session whose answer was lost is not lost."""
    await api.made("/v1/provider-configs", api.config_body("discord"))
    body = {
        "provider": "discord",
        "tenant_id": "org_acme",
        "user_id": "user_123",
        "kind": "connection",
        "return_url": "https://app.example.com/connected",
    }
    first = await api.made("/v1/connect-sessions", body, **keyed("s1"))
    assert await api.made("/v1/connect-sessions", body, **keyed("s1")) == first
    assert first["url"]
    assert len(await api.events("connect_session.created")) == 1


async def test_the_key_stands_for_one_request_alone(api: Api) -> None:
    """Another body or address with the same key is refused; another API key may use the same text."""
    await api.made("/v1/api-keys", {"name": "x"}, **keyed("k1"))
    is_problem(await api.post("/v1/api-keys", {"name": "y"}, **keyed("k1")), 422, "idempotency_key_reused")
    is_problem(
        await api.post("/v1/connect-sessions", {"name": "x"}, **keyed("k1")), 422, "idempotency_key_reused"
    )
    another = await api.new_key(api.environment_id)
    made = await api.post("/v1/api-keys", {"name": "y"}, key=another, **keyed("k1"))
    assert made.status_code == 201
    assert "idempotent-replayed" not in made.headers


async def test_two_at_once_do_the_work_once(api: Api) -> None:
    """One is served; the others hear that it is running, or get its answer."""
    answers = await asyncio.gather(
        *(api.post("/v1/api-keys", {"name": "x"}, **keyed("k1")) for _ in range(8))
    )
    made = [answer for answer in answers if answer.status_code == 201]
    assert len({answer.content for answer in made}) == 1
    for answer in answers:
        if answer not in made:
            is_problem(answer, 409, "idempotency_in_progress")
            assert answer.headers["retry-after"] == "1"
    assert len((await api.get("/v1/api-keys")).json()["data"]) == 2


async def test_a_refusal_is_remembered_and_a_failure_is_not(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A 4xx comes again; after a 500 the same key does the work."""
    first = await api.post("/v1/api-keys", {"name": ""}, **keyed("bad"))
    is_invalid(first, "name")
    second = await api.post("/v1/api-keys", {"name": ""}, **keyed("bad"))
    assert (second.status_code, second.content) == (422, first.content)
    assert second.headers["idempotent-replayed"] == "true"
    assert second.headers["content-type"] == "application/problem+json"

    async def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError

    with monkeypatch.context() as patch:
        patch.setattr(type(api.rooms.api_keys), "create", fail)
        is_problem(await api.post("/v1/api-keys", {"name": "x"}, **keyed("k1")), 500, "internal")
    assert (await api.post("/v1/api-keys", {"name": "x"}, **keyed("k1"))).status_code == 201


async def test_a_request_that_died_gives_its_key_back(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a minute; before that it counts as running."""
    begun = asyncio.Event()

    async def hang(*_: Any, **__: Any) -> None:
        begun.set()
        await asyncio.Event().wait()

    with monkeypatch.context() as patch:
        patch.setattr(type(api.rooms.api_keys), "create", hang)
        hanging = asyncio.create_task(api.post("/v1/api-keys", {"name": "x"}, **keyed("k1")))
        await asyncio.wait_for(begun.wait(), 10)
    is_problem(await api.post("/v1/api-keys", {"name": "x"}, **keyed("k1")), 409, "idempotency_in_progress")
    api.clock.advance(timedelta(seconds=61))
    made = await api.made("/v1/api-keys", {"name": "x"}, **keyed("k1"))
    assert await api.made("/v1/api-keys", {"name": "x"}, **keyed("k1")) == made
    hanging.cancel()


async def test_a_key_that_is_none_is_refused(api: Api) -> None:
    """Too long, empty or with spaces."""
    for key in ("x" * 256, "a b", ""):
        is_invalid(await api.post("/v1/api-keys", {"name": "x"}, **keyed(key)), "Idempotency-Key")
    assert len((await api.get("/v1/api-keys")).json()["data"]) == 1


async def test_other_methods_take_no_notice_of_it(api: Api) -> None:
    """GET, PUT and PATCH are what they are anyway."""
    for name in ("one", "two"):
        answer = await api.call("PUT", "/v1/tenants/org_b", json={"name": name}, **keyed("k1"))
        assert answer.json()["name"] == name


async def test_that_a_key_may_not_is_not_remembered(api: Api, dsns: Dsns) -> None:
    """It did no work, and each would be a row of whatever size for a day."""
    viewer = await api.new_key(api.environment_id, role=ApiKeyRole.VIEWER)
    for number in range(3):
        answer = await api.post("/v1/api-keys", {"name": "x"}, key=viewer, **keyed(f"k{number}"))
        is_problem(answer, 403, "forbidden")
    connection = await asyncpg.connect(dsns.superuser)
    try:
        assert await connection.fetchval("SELECT count(*) FROM idempotency_keys") == 0
    finally:
        await connection.close()
