"""The control API, and the simulator as a process."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from typing import Any

import aiohttp
import pytest

from authpipe.sandbox import seeds
from authpipe.sandbox.ledger import digest

BOT = {"Authorization": f"Bot {seeds.DISCORD_BOT_TOKEN}"}
APP = f"/discord/apps/{seeds.DISCORD_CLIENT_ID}"


async def test_redirect_uris_start_empty_and_are_added_once(visitor: Any) -> None:
    """Until then every authorization request is refused."""
    assert (await visitor.control("GET", APP))["redirect_uris"] == []
    for _ in range(2):
        app = await visitor.control("POST", APP + "/redirect-uris", {"uri": visitor.redirect_uri})
        assert app["redirect_uris"] == [visitor.redirect_uri]
    await visitor.open_consent("discord", "/discord/oauth2/authorize", scope="identify")


async def test_a_changed_client_secret_is_invalid_client(visitor: Any) -> None:
    """As after a reset in the developer's console."""
    await visitor.register("discord", client_secret="another")
    status, body = await visitor.token(
        "discord", "/discord/api/oauth2/token", grant_type="client_credentials"
    )
    assert (status, body["error"]) == (401, "invalid_client")


async def test_tokens_are_listed_by_digest_with_their_fate(visitor: Any) -> None:
    """Used, revoked and ending are told; no secret is."""
    await visitor.register("discord")
    tokens = await visitor.discord_tokens()
    await visitor.refresh(tokens["refresh_token"])
    listed = await visitor.control("GET", "/discord/tokens")
    assert tokens["access_token"] not in str(listed)
    by_digest = {token["sha256"]: token for token in listed["tokens"]}
    assert by_digest[digest(tokens["refresh_token"])]["used"] is True
    access = by_digest[digest(tokens["access_token"])]
    assert (access["kind"], access["scopes"], access["revoked"]) == ("access", ["identify"], False)
    assert access["expires_at"] > access["issued_at"]
    assert [entry["user"] for entry in listed["authorizations"]] == ["ada"]
    await visitor.control("POST", "/discord/revoke", {"all": True})
    listed = await visitor.control("GET", "/discord/tokens")
    assert all(token["revoked"] for token in listed["tokens"])


async def test_the_journal_filters_and_counts(visitor: Any) -> None:
    """By provider, path, method, grant, status and sequence; control calls are not in it."""
    await visitor.register("discord")
    tokens = await visitor.discord_tokens()
    await visitor.refresh(tokens["refresh_token"])
    await visitor.call("GET", "/clicksend/v3/account")
    report = await visitor.control("GET", "/requests?provider=discord&grant_type=refresh_token")
    assert report["count"] == 1
    assert report["by_route"] == {"POST /discord/api/oauth2/token": 1}
    [entry] = report["requests"]
    assert entry["refresh_token_sha256"] == digest(tokens["refresh_token"])
    assert tokens["refresh_token"] not in str(report)
    assert (await visitor.control("GET", "/requests?status=401"))["by_status"] == {"401": 1}
    everything = await visitor.control("GET", "/requests")
    assert not any("_control" in one["path"] for one in everything["requests"])
    last = everything["requests"][-1]["seq"]
    assert (await visitor.control("GET", f"/requests?since={last}"))["count"] == 0
    await visitor.control("DELETE", "/requests")
    assert (await visitor.control("GET", "/requests"))["count"] == 0


async def test_the_clock_moves_both_ways_and_is_set(visitor: Any) -> None:
    """Skew is an offset to the true time."""
    assert (await visitor.control("POST", "/clock", {"advance_s": 100}))["offset_s"] == 100
    assert (await visitor.control("POST", "/clock", {"advance_s": -30}))["offset_s"] == 70
    assert (await visitor.control("POST", "/clock", {"offset_s": -5}))["offset_s"] == -5
    assert (await visitor.control("GET", "/clock"))["offset_s"] == -5


async def test_reset_goes_back_to_the_seeds(visitor: Any) -> None:
    """Applications, installations, tokens, faults, journal and clock."""
    await visitor.register("discord", token_marker="X")
    await visitor.discord_tokens("bot webhook.incoming")
    await visitor.control("POST", "/clock", {"advance_s": 100})
    await visitor.control("POST", "/faults", {"kind": "hang", "times": 1, "provider": "drift"})
    await visitor.control("POST", "/clicksend/keys", {"action": "delete"})
    assert await visitor.control("POST", "/reset") == {"reset": True}
    overview = await visitor.control("GET", "")
    assert (overview["faults"], overview["requests"], overview["offset_s"]) == (0, 0, 0)
    discord = await visitor.control("GET", "/discord")
    assert discord["apps"][0]["redirect_uris"] == []
    assert (discord["webhooks"], [guild["bots"] for guild in discord["guilds"]]) == ([], [{}, {}, {}])
    assert (await visitor.control("GET", "/discord/tokens"))["tokens"] == []
    auth = ("ada@example.com", seeds.CLICKSEND_API_KEYS["ada@example.com"])
    assert (await visitor.call("GET", "/clicksend/v3/account", auth=auth))[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "field"),
    [
        ("PATCH", APP, {"client_secret": ""}, 400, "client_secret"),
        ("PATCH", APP, {"redirect_uris": ["http://a/", 5]}, 400, "redirect_uris[1]"),
        ("PATCH", APP, {"token_lifetime_s": True}, 400, "token_lifetime_s"),
        ("PATCH", APP, {"token_marker": "a b"}, 400, "token_marker"),
        ("PATCH", APP, {"kicked_guild_code": 1}, 400, "kicked_guild_code"),
        ("PATCH", APP, {"client_id": "2"}, 400, "client_id"),
        ("PATCH", "/discord/apps/7", {}, 404, "client_id"),
        ("POST", APP + "/redirect-uris", {}, 400, "uri"),
        ("GET", "/myspace/apps", None, 404, "provider"),
        ("POST", "/discord/revoke", {}, 400, "user"),
        ("POST", "/discord/revoke", {"user": "ada", "all": True}, 400, "user"),
        ("POST", "/discord/revoke", {"user": "nobody"}, 404, "user"),
        ("POST", "/discord/kick", {"guild_id": "5"}, 404, "guild_id"),
        ("POST", "/discord/rate-limit", {"limit": 5}, 400, "window_s"),
        ("POST", "/clicksend/keys", {"action": "burn"}, 400, "action"),
        ("POST", "/clicksend/keys", {"action": "delete", "username": "x"}, 404, "username"),
        ("POST", "/clock", {"advance_s": 1, "offset_s": 1}, 400, "advance_s"),
        ("POST", "/clock", {"advance": 1}, 400, "advance"),
        ("GET", "/requests?colour=red", None, 400, "colour"),
        ("GET", "/requests?status=x", None, 400, "status"),
        ("GET", "/faults/none", None, 404, "fault_id"),
        ("GET", "/discord/nothing/here", None, 404, None),
        ("DELETE", "/clock", None, 405, None),
    ],
)
async def test_errors_name_the_field(
    visitor: Any, method: str, path: str, body: Any, status: int, field: str | None
) -> None:
    """Unknown and wrong fields alike."""
    answer, document, _ = await visitor.call(method, f"/_control{path}", json=body)
    assert (answer, document["error"]["field"]) == (status, field)


async def test_control_bodies_must_be_json_objects(visitor: Any) -> None:
    """Neither text nor a list."""
    for raw in ("{", "[]", "5"):
        status, body, _ = await visitor.call("POST", "/_control/clock", data=raw)
        assert (status, body["error"]["code"]) == (400, "invalid_json")


async def test_the_front_page_lists_the_providers(visitor: Any) -> None:
    """And says where the control API is."""
    _, page, _ = await visitor.call("GET", "/")
    for provider in seeds.PEOPLE:
        assert f"{visitor.sandbox.url}/{provider}" in page


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_the_command_serves_until_it_is_interrupted(number: signal.Signals) -> None:
    """One line when ready, exit code 0 soon after the signal, nothing on standard error."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "authpipe.sandbox", "--port", "0"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        line = (await asyncio.wait_for(process.stdout.readline(), 20)).decode()
        url = line.removeprefix("sandbox ready at ").strip()
        async with aiohttp.ClientSession() as session, session.get(url + "/_control") as response:
            assert response.status == 200
            started = time.monotonic()
            process.send_signal(number)
            out, err = await asyncio.wait_for(process.communicate(), 10)
        assert time.monotonic() - started < 3
        assert (process.returncode, out, err) == (0, b"", b"")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_a_taken_port_is_an_error_of_the_operating_system(visitor: Any) -> None:
    """The caller can say so in one line."""
    from authpipe.sandbox.server import SandboxServer

    port = int(visitor.sandbox.url.rsplit(":", 1)[1])
    with pytest.raises(OSError, match="in use"):
        await SandboxServer(port=port).__aenter__()
