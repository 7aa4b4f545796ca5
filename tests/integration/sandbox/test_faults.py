"""Each kind of fault, seen from the caller's side and in the journal."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import aiohttp
import pytest

from authpipe.sandbox import seeds
from authpipe.sandbox.ledger import digest
from authpipe.sandbox.server import SandboxServer

ME = "/discord/api/v10/users/@me"
BOT = {"Authorization": f"Bot {seeds.DISCORD_BOT_TOKEN}"}
TOKEN_PATH = "/discord/api/oauth2/token"


async def order(visitor: Any, **fields: Any) -> str:
    """Order a fault and return its id."""
    return str((await visitor.control("POST", "/faults", fields))["id"])


async def outcomes(visitor: Any, path: str = "users/@me") -> dict[str, int]:
    """The journal's counts by outcome for a path."""
    return dict((await visitor.control("GET", f"/requests?path={path}"))["by_outcome"])


async def test_latency_delays_the_answer(visitor: Any) -> None:
    """The answer itself is untouched."""
    await order(visitor, kind="latency", seconds=0.2)
    started = time.monotonic()
    assert (await visitor.call("GET", ME, headers=BOT))[0] == 200
    assert time.monotonic() - started >= 0.2


async def test_status_answers_without_acting(visitor: Any) -> None:
    """The refresh token sent is still good; body and headers may be chosen."""
    await visitor.register("discord")
    tokens = await visitor.discord_tokens()
    await order(visitor, kind="status", status=503, grant_type="refresh_token", times=1)
    status, body = await visitor.refresh(tokens["refresh_token"])
    assert (status, body["code"]) == (503, 0)
    assert (await visitor.refresh(tokens["refresh_token"]))[0] == 200
    await order(
        visitor, kind="status", status=401, body={"error": "invalid_client"}, headers={"X-Why": "test"}
    )
    status, body, response = await visitor.call("GET", ME, headers=BOT)
    assert (status, body, response.headers["X-Why"]) == (401, {"error": "invalid_client"}, "test")


async def test_status_may_act_first(visitor: Any) -> None:
    """With acts, the refresh token was rotated although the answer says 502."""
    await visitor.register("discord")
    tokens = await visitor.discord_tokens()
    await order(visitor, kind="status", status=502, grant_type="refresh_token", times=1, acts=True)
    assert (await visitor.refresh(tokens["refresh_token"]))[0] == 502
    assert (await visitor.refresh(tokens["refresh_token"]))[0] == 400


@pytest.mark.parametrize(
    ("kind", "outcome", "afterwards"),
    [("drop_before", "dropped_before", 200), ("drop_after", "dropped_after", 400)],
)
async def test_dropped_connections(visitor: Any, kind: str, outcome: str, afterwards: int) -> None:
    """Cut before acting the refresh token lives; cut after, its successor is lost."""
    await visitor.register("discord")
    tokens = await visitor.discord_tokens()
    await order(visitor, kind=kind, grant_type="refresh_token", times=1)
    with pytest.raises(aiohttp.ClientConnectionError):
        await visitor.refresh(tokens["refresh_token"])
    report = await visitor.control("GET", "/requests?grant_type=refresh_token")
    [entry] = report["requests"]
    assert (entry["outcome"], entry["status"]) == (outcome, None)
    assert entry["refresh_token_sha256"] == digest(tokens["refresh_token"])
    assert (await visitor.refresh(tokens["refresh_token"]))[0] == afterwards


async def test_malformed_json_is_cut_in_the_middle(visitor: Any) -> None:
    """Status and type promise JSON, the body does not keep it."""
    await order(visitor, kind="malformed_json", times=1)
    async with visitor.session.get(visitor.sandbox.url + ME, headers=BOT) as response:
        assert (response.status, response.content_type) == (200, "application/json")
        with pytest.raises(json.JSONDecodeError):
            json.loads(await response.read())


async def test_rate_limit_in_each_shape(visitor: Any) -> None:
    """Discord's carries scope, global and body; the others Retry-After."""
    await order(visitor, kind="rate_limit", retry_after=2.5, **{"global": True})
    status, body, response = await visitor.call("GET", ME, headers=BOT)
    assert (status, body["retry_after"], body["global"]) == (429, 2.5, True)
    assert response.headers["X-RateLimit-Global"] == "true"
    assert response.headers["X-RateLimit-Scope"] == "global"
    assert response.headers["Retry-After"] == "3"
    for path in (
        "/aircall/v1/ping",
        "/clicksend/v3/account",
        "/dialpad/api/v2/users/me",
        "/drift/users/list",
    ):
        status, _, response = await visitor.call("GET", path)
        assert (status, response.headers["Retry-After"]) == (429, "3")


async def test_hang_never_answers_until_released(visitor: Any) -> None:
    """The caller's own timeout must save it; the provider did not act."""
    fault = await order(visitor, kind="hang")
    with pytest.raises(TimeoutError):
        await visitor.call("GET", ME, headers=BOT, timeout=aiohttp.ClientTimeout(total=0.1))
    await visitor.control("POST", f"/faults/{fault}/release")
    assert (await visitor.call("GET", ME, headers=BOT))[0] == 200
    assert await outcomes(visitor) == {"hung": 1, "answered": 1}


async def test_slow_body_arrives_in_pieces_and_whole(visitor: Any) -> None:
    """Headers come at once, the body over the time ordered."""
    await order(visitor, kind="slow_body", seconds=0.3)
    started = time.monotonic()
    async with visitor.session.get(visitor.sandbox.url + ME, headers=BOT) as response:
        headers_after = time.monotonic() - started
        body = await response.json()
    assert body["id"] == seeds.DISCORD_CLIENT_ID
    assert headers_after < 0.2
    assert time.monotonic() - started >= 0.28


async def test_large_body_is_valid_json_of_that_size(visitor: Any) -> None:
    """No Content-Length announces it."""
    await order(visitor, kind="large_body", bytes=1_000_000)
    async with visitor.session.get(visitor.sandbox.url + ME, headers=BOT) as response:
        assert "Content-Length" not in response.headers
        raw = await response.read()
    assert len(raw) > 1_000_000
    assert json.loads(raw)["id"] == seeds.DISCORD_CLIENT_ID


async def test_large_body_survives_a_caller_that_hangs_up(visitor: Any) -> None:
    """A reader with a limit closes; the simulator goes on."""
    await order(visitor, kind="large_body", bytes=50_000_000, times=1)
    async with visitor.session.get(visitor.sandbox.url + ME, headers=BOT) as response:
        await response.content.read(1000)
        response.close()
    assert (await visitor.call("GET", ME, headers=BOT))[0] == 200


async def test_hold_acts_then_withholds_until_release(visitor: Any) -> None:
    """While held, the new tokens exist and nobody has them; the release delivers them."""
    await visitor.register("discord")
    tokens = await visitor.discord_tokens()
    fault = await order(visitor, kind="hold", grant_type="refresh_token")
    refreshing = asyncio.create_task(visitor.refresh(tokens["refresh_token"]))
    held = await visitor.control("GET", f"/faults/{fault}/wait?count=1&timeout=10")
    assert (held["caught"], held["holding"], held["released"]) == (1, 1, False)
    assert not refreshing.done()
    listed = (await visitor.control("GET", "/discord/tokens"))["tokens"]
    assert [token["used"] for token in listed if token["kind"] == "refresh"] == [True, False]
    released = await visitor.control("POST", f"/faults/{fault}/release")
    assert released["released"] is True
    status, fresh = await refreshing
    assert status == 200
    assert (await visitor.refresh(fresh["refresh_token"]))[0] == 200


async def test_hold_before_acting_and_release_by_dropping(visitor: Any) -> None:
    """Held before acting and cut, the refresh token was never used."""
    await visitor.register("discord")
    tokens = await visitor.discord_tokens()
    fault = await order(visitor, kind="hold", point="before", grant_type="refresh_token")
    refreshing = asyncio.create_task(visitor.refresh(tokens["refresh_token"]))
    await visitor.control("GET", f"/faults/{fault}/wait")
    await visitor.control("POST", f"/faults/{fault}/release", {"drop": True})
    with pytest.raises(aiohttp.ClientConnectionError):
        await refreshing
    assert (await visitor.refresh(tokens["refresh_token"]))[0] == 200


async def test_held_request_acts_although_its_caller_is_gone(visitor: Any) -> None:
    """A killed worker does not stop the provider."""
    await visitor.register("discord")
    tokens = await visitor.discord_tokens()
    fault = await order(visitor, kind="hold", point="before", grant_type="refresh_token")
    refreshing = asyncio.create_task(visitor.refresh(tokens["refresh_token"]))
    await visitor.control("GET", f"/faults/{fault}/wait")
    refreshing.cancel()
    await asyncio.wait([refreshing])
    await visitor.control("POST", f"/faults/{fault}/release")
    assert (await visitor.refresh(tokens["refresh_token"]))[0] == 400


async def test_deleting_a_hold_or_resetting_answers_its_requests(visitor: Any) -> None:
    """Nothing stays stuck."""
    for end in (("DELETE", "/faults/{}"), ("DELETE", "/faults"), ("POST", "/reset")):
        fault = await order(visitor, kind="hold")
        call = asyncio.create_task(visitor.call("GET", ME, headers=BOT))
        await visitor.control("GET", f"/faults/{fault}/wait")
        await visitor.control(end[0], end[1].format(fault))
        assert (await call)[0] == 200
        assert (await visitor.control("GET", "/faults"))["faults"] == []


async def test_waiting_for_requests_that_do_not_come_is_408(visitor: Any) -> None:
    """So that a script fails instead of going on."""
    fault = await order(visitor, kind="hold")
    status, body, _ = await visitor.call("GET", f"/_control/faults/{fault}/wait?count=2&timeout=0.05")
    assert (status, body["error"]["code"]) == (408, "timeout")


async def test_filters_choose_the_requests(visitor: Any) -> None:
    """Provider, path, method and times all have to fit."""
    await order(
        visitor, kind="status", status=500, provider="discord", path_contains="users", method="GET", times=2
    )
    assert (await visitor.call("GET", "/discord/api/v10/applications/@me", headers=BOT))[0] == 200
    assert (await visitor.call("GET", "/clicksend/v3/users"))[0] == 404
    assert (await visitor.call("DELETE", ME + "/guilds/1", headers=BOT))[0] == 404
    assert [(await visitor.call("GET", ME, headers=BOT))[0] for _ in range(3)] == [500, 500, 200]


async def test_probability_catches_some(visitor: Any) -> None:
    """Zero catches none; a half catches some of a hundred and not all."""
    await order(visitor, kind="status", status=500, probability=0)
    assert (await visitor.call("GET", ME, headers=BOT))[0] == 200
    await order(visitor, kind="status", status=500, probability=0.5)
    statuses = {(await visitor.call("GET", ME, headers=BOT))[0] for _ in range(100)}
    assert statuses == {200, 500}


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "kind"),
        ({"kind": "explode"}, "kind"),
        ({"kind": "latency"}, "seconds"),
        ({"kind": "latency", "seconds": "1"}, "seconds"),
        ({"kind": "status"}, "status"),
        ({"kind": "status", "status": 99}, "status"),
        ({"kind": "hold", "status": 500}, "status"),
        ({"kind": "hold", "provider": "myspace"}, "provider"),
        ({"kind": "hold", "times": 0}, "times"),
        ({"kind": "hold", "probability": 2}, "probability"),
        ({"kind": "hold", "path": "/x"}, "path"),
        ({"kind": "status", "status": 500, "headers": {"X": "a\r\nB: c"}}, "headers.X"),
        ({"kind": "drop_after", "acts": False}, "acts"),
    ],
)
async def test_wrong_orders_name_the_field(visitor: Any, fields: dict[str, Any], field: str) -> None:
    """Nothing is guessed."""
    status, body, _ = await visitor.call("POST", "/_control/faults", json=fields)
    assert (status, body["error"]["field"]) == (400, field)


async def test_faults_do_not_touch_the_control_api(visitor: Any) -> None:
    """One can always get out."""
    await order(visitor, kind="drop_before")
    assert (await visitor.control("GET", ""))["faults"] == 1
    await visitor.control("DELETE", "/faults")
    assert (await visitor.call("GET", ME, headers=BOT))[0] == 200


async def test_the_server_stops_at_once_while_requests_hang(visitor: Any) -> None:
    """Held, hung and waiting requests do not keep it."""
    async with SandboxServer() as other, aiohttp.ClientSession() as session:
        hold = other.state.faults
        async with session.post(
            other.url + "/_control/faults", json={"kind": "hang", "provider": "discord"}
        ) as response:
            fault = hold.get((await response.json())["id"])
        assert fault is not None
        hanging = asyncio.create_task(session.get(other.url + ME))
        watching = asyncio.create_task(session.get(f"{other.url}/_control/faults/{fault.id}/wait?count=5"))
        assert await fault.wait_for(1, 10)
        started = time.monotonic()
        await other.__aexit__(None, None, None)
        assert time.monotonic() - started < 2
        await asyncio.wait([hanging, watching])
        assert isinstance(hanging.exception(), aiohttp.ClientConnectionError)
        watching.exception()
