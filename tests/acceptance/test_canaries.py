"""Marked secrets go down every path, good and bad; afterwards no trace of them is where it should not be."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import aiohttp
import pytest

from authpipe import AuthpipeError, ReauthorizationRequired
from authpipe.sandbox import seeds
from authpipe.store.embedded import EmbeddedPostgres
from support.application import CLIENT_IDS, Application
from support.running import Running

_TOKEN = "CANARYtokenCANARY"  # inside every token, code and webhook the sandbox issues
_CLIENT_SECRET = "canary-client-secret-7d1f"
_BOT_TOKEN = "MTEwMDAwMDAwMDAwMDAwMDAwMQ.canary.bot-token-9e2c-000000000000000000"
_WRONG_KEY = "canary-wrong-key-51ab"
_MISPLACED = "canary-misplaced-secret-c0de"
_CANARIES = (_TOKEN, _CLIENT_SECRET, _BOT_TOKEN, _WRONG_KEY, _MISPLACED)


def _forms(secret: str) -> Iterator[bytes]:
    """The secret as text, percent-encoded, and at each alignment of Base64."""
    yield secret.encode()
    yield quote(secret, safe="").encode()
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + secret.encode()).decode()
        yield encoded[4 if shift else 0 : -4].encode()


def _found(where: bytes, *, apart_from: tuple[str, ...] = ()) -> list[str]:
    return [
        canary
        for canary in _CANARIES
        if canary not in apart_from and any(form in where for form in _forms(canary))
    ]


async def _good_paths(application: Application) -> None:
    async with application.browser() as person:
        await application.connect(person, "discord", kind="installation", scopes=["bot", "webhook.incoming"])
        await application.connect(person, "discord")
        await application.connect(person, "dialpad")
        await application.connect(
            person,
            "clicksend",
            fields={"username": "ada@example.com", "api_key": await _clicksend_key(application)},
        )
        application.answers += person.seen
    for request in (
        {"credential_for": "installation"},
        {"credential_for": "installation", "kind": "webhook_secret"},
        {"credential_for": "user", "user_id": "user_123"},
    ):
        credential = await application.authpipe.get_credential(
            provider="discord", tenant_id="org_acme", **request
        )
        application.answers.append(f"{credential!r} {credential} {credential:s}".encode())
    for connection in (await application.authpipe.connections.list(tenant_id="org_acme")).data:
        if connection.provider in ("discord", "dialpad"):
            await application.authpipe.connections.refresh(connection.id)


async def _clicksend_key(application: Application) -> str:
    made = await application.control(
        "POST", "/clicksend/keys", json={"action": "regenerate", "token_marker": _TOKEN}
    )
    return str(made["api_key"])


async def _provider_faults(application: Application) -> None:
    """Every way a provider can misbehave while it holds our secrets, echoing them included."""
    status, connections = await application.call("GET", "/v1/connections?provider=discord")
    assert status == 200
    refresh = f"/v1/connections/{connections['data'][0]['id']}/refresh"
    echo = {"error": "server_error", "error_description": f"{_CLIENT_SECRET} {_BOT_TOKEN} {_TOKEN}"}
    refused = {"error": "invalid_scope", "error_description": f"bad client {_CLIENT_SECRET}"}
    for fault in (
        {"kind": "status", "status": 503, "body": echo},
        {"kind": "status", "status": 400, "body": refused},
        {"kind": "malformed_json"},
        {"kind": "drop_after"},
        {"kind": "large_body"},
        {"kind": "rate_limit"},
    ):
        await application.control(
            "POST", "/faults", json=fault | {"provider": "discord", "path_contains": "token", "times": 1}
        )
        await application.call("POST", refresh)
    await application.control("DELETE", "/faults")


async def _connect_failures(application: Application) -> None:
    """Sessions that fail at each point, and forms filled in wrongly."""
    for fault in (
        {"kind": "status", "status": 500},
        {"kind": "malformed_json"},
        {
            "kind": "status",
            "status": 400,
            "body": {"error": "invalid_grant", "error_description": f"{_CLIENT_SECRET} is wrong"},
        },
    ):
        await application.control(
            "POST",
            "/faults",
            json=fault | {"provider": "discord", "grant_type": "authorization_code", "times": 1},
        )
        async with application.browser() as person:
            with pytest.raises((AuthpipeError, KeyError)):
                await application.connect(person, "discord", user_id="user_9")
            application.answers += person.seen
    async with application.browser() as person:
        made = await application.authpipe.connect_sessions.create(
            provider="clicksend",
            tenant_id="org_b",
            user_id="user_9",
            kind="connection",
            return_url="http://127.0.0.1:9/connected",
            return_mode="redirect",
        )
        page = await person.open(made.url)
        page = await person.submit(page, username=_MISPLACED, api_key=_WRONG_KEY)
        page = await person.submit(page, username="", api_key=_WRONG_KEY)
        page = await person.submit(page, username="ada@example.com", api_key=_WRONG_KEY * 500)
        application.answers += person.seen


async def _misplaced(application: Application) -> None:
    """A secret in every place of the API where it does not belong."""
    for method, path, body in (
        ("POST", "/v1/provider-configs", {"provider": "drift", "client_secret": [_MISPLACED]}),
        ("POST", "/v1/provider-configs", {"provider": "drift", "unknown": _MISPLACED}),
        ("POST", "/v1/provider-configs", {"provider": _MISPLACED}),
        ("POST", "/v1/credentials", {"provider": "clicksend", "fields": _MISPLACED, "tenant_id": "a"}),
        (
            "POST",
            "/v1/credentials",
            {"provider": "clicksend", "tenant_id": "a", "fields": {"username": "x", "api_key": _WRONG_KEY}},
        ),
        ("POST", "/v1/connect-sessions", {"provider": "discord", "return_url": _MISPLACED}),
    ):
        status, _ = await application.call(method, path, json=body)
        assert 400 <= status < 500, (path, body, status)
    await application.call("POST", "/v1/provider-configs", data=f'{{"client_secret": "{_MISPLACED}')
    async with application.browser() as person:
        config = (await application.call("GET", "/v1/provider-configs"))[1]["data"][0]
        page = await person.open(
            f"{application.url}/oauth/callback/{config['id']}?code={_TOKEN}&state={_TOKEN}"
        )
        assert page.status >= 400
        application.answers += person.seen


async def _database_outage(application: Application, postgres: EmbeddedPostgres) -> None:
    """The database goes away under reads and refreshes: whatever that logs or answers is searched too."""
    _, connections = await application.call("GET", "/v1/connections?provider=discord")
    refresh = f"/v1/connections/{connections['data'][0]['id']}/refresh"
    read = "/v1/credentials?provider=discord&tenant_id=org_acme&user_id=user_123"
    statuses: set[int] = set()

    async def keep_asking() -> None:
        while 503 not in statuses:
            answer, _ = await application.call("POST", refresh)
            statuses.add(answer)
            async with aiohttp.ClientSession() as session:
                key = {"Authorization": f"Bearer {application.running.api_key}"}
                async with session.get(application.url + read, headers=key) as response:
                    statuses.add(response.status)

    asking = asyncio.create_task(keep_asking())
    async with asyncio.timeout(60):
        while not asking.done():
            await postgres.stop()
            await postgres.start()
            await asyncio.wait([asking], timeout=0.3)
    await asking
    assert 500 not in statuses


async def _revoked(application: Application) -> None:
    await application.control("POST", "/discord/revoke", json={"all": True})
    for connection in (await application.authpipe.connections.list(provider="discord")).data:
        with pytest.raises(AuthpipeError) as caught:
            await application.authpipe.connections.refresh(connection.id)
        application.answers.append(repr(caught.value).encode() + str(caught.value).encode())
    fresh = Application(application.running)
    with pytest.raises(ReauthorizationRequired) as refused:
        await fresh.authpipe.get_credential(provider="discord", tenant_id="org_acme", user_id="user_123")
    application.answers.append(repr(refused.value).encode())
    await fresh.close()


@pytest.mark.timeout(240)
async def test_no_marked_secret_is_found_anywhere(tmp_path: Path) -> None:
    """Not in a log, a database file, the spool, an HTTP answer, an event, a metric or an exception."""
    data_dir = tmp_path / "data"
    async with EmbeddedPostgres(data_dir) as postgres, Running(data_dir) as running:
        application = Application(running)
        for provider in ("discord", "dialpad", "clicksend"):
            client_id = CLIENT_IDS.get(provider)
            if client_id is not None:
                fields = {"token_marker": _TOKEN, "client_secret": _CLIENT_SECRET}
                if provider == "discord":
                    fields["bot_token"] = _BOT_TOKEN
                await application.control("PATCH", f"/{provider}/apps/{client_id}", json=fields)
        await application.configure("discord", client_secret=_CLIENT_SECRET, app_credential=_BOT_TOKEN)
        await application.configure("dialpad", client_secret=_CLIENT_SECRET)
        await application.configure("clicksend")

        await _good_paths(application)
        await _provider_faults(application)
        await _connect_failures(application)
        await _misplaced(application)
        await _database_outage(application, postgres)
        await _revoked(application)
        _, events = await application.call("GET", "/v1/events?limit=200")
        assert len(events["data"]) > 30
        await application.call("GET", "/metrics")
        await application.close()
        logs = running.logs()
    assert any(b"refresh step" in text for text in logs.values()), "debug logs were on"

    for text in application.answers:
        assert not _found(text)
    for name, text in logs.items():
        assert not _found(text), name
        assert running.api_key.encode() not in text, name
    searched = 0
    for path in data_dir.rglob("*"):
        if path.is_file():
            searched += 1
            assert not _found(path.read_bytes()), path
    assert searched > 900, "the cluster's own files were searched"


def test_the_search_itself_finds_a_secret_in_each_form() -> None:
    """Plain, inside JSON, percent-encoded, and in a Basic header."""
    header = base64.b64encode(f"ada@example.com:{_WRONG_KEY}".encode())
    assert _found(b"Authorization: Basic " + header) == [_WRONG_KEY]
    assert _found(json.dumps({"token": f"x{_TOKEN}y"}).encode()) == [_TOKEN]
    assert _found(b"client_secret=" + quote(_BOT_TOKEN).encode()) == [_BOT_TOKEN]
    assert seeds.DISCORD_BOT_TOKEN not in _CANARIES
