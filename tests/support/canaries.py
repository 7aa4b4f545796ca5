"""Marked secrets, every path they can go down, and the search for what is left of them."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterable, Iterator
from functools import cache
from urllib.parse import quote

import aiohttp
import pytest

from authpipe import AuthpipeError, ReauthorizationRequired
from authpipe.store.embedded import EmbeddedPostgres
from support.application import CLIENT_IDS, Application
from support.running import RETURN_URL

TOKEN = "CANARYtokenCANARY"  # inside every token, code and webhook the sandbox issues
CLIENT_SECRET = "canary-client-secret-7d1f"
BOT_TOKEN = "MTEwMDAwMDAwMDAwMDAwMDAwMQ.canary.bot-token-9e2c-000000000000000000"
WRONG_KEY = "canary-wrong-key-51ab"
MISPLACED = "canary-misplaced-secret-c0de"
CANARIES = (TOKEN, CLIENT_SECRET, BOT_TOKEN, WRONG_KEY, MISPLACED)


@cache
def forms(secret: str) -> tuple[bytes, ...]:
    """The secret as text, percent-encoded, in hex, at each alignment of both alphabets of Base64, in UTF-16,
    and each of them backwards."""
    found = dict.fromkeys(_forwards(secret))
    return tuple(found) + tuple(form[::-1] for form in found)


def _forwards(secret: str) -> Iterator[bytes]:
    plain = secret.encode()
    yield plain
    yield quote(secret, safe="").encode()
    # A form of every byte, as strict encoders make it.
    yield "".join(f"%{byte:02X}" for byte in plain).encode()
    yield plain.hex().encode()
    yield plain.hex().upper().encode()
    yield secret.encode("utf-16-le")
    yield secret.encode("utf-16-be")
    for text in (plain, secret.encode("utf-16-le")):
        for shift in range(3):
            padded = b"\0" * shift + text
            for encode in (base64.b64encode, base64.urlsafe_b64encode):
                # What stands beside it decides on the characters at both ends.
                yield encode(padded)[4 if shift else 0 : -4]


def found(where: bytes, *, secrets: Iterable[str] = CANARIES, apart_from: tuple[str, ...] = ()) -> list[str]:
    """The secrets of which ``where`` holds some form."""
    return [
        secret
        for secret in secrets
        if secret not in apart_from and any(form in where for form in forms(secret))
    ]


async def set_up(application: Application) -> None:
    """Three providers that hold and issue marked secrets."""
    for provider in ("discord", "dialpad", "clicksend"):
        client_id = CLIENT_IDS.get(provider)
        if client_id is not None:
            fields = {"token_marker": TOKEN, "client_secret": CLIENT_SECRET}
            if provider == "discord":
                fields["bot_token"] = BOT_TOKEN
            await application.control("PATCH", f"/{provider}/apps/{client_id}", json=fields)
    await application.configure("discord", client_secret=CLIENT_SECRET, app_credential=BOT_TOKEN)
    await application.configure("dialpad", client_secret=CLIENT_SECRET)
    await application.configure("clicksend")


async def good_paths(application: Application) -> None:
    async with application.browser() as person:
        await application.connect(person, "discord", kind="installation", scopes=["bot", "webhook.incoming"])
        await application.connect(person, "discord")
        await application.connect(person, "dialpad")
        await application.connect(
            person,
            "clicksend",
            fields={"username": "ada@example.com", "api_key": await clicksend_key(application)},
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


async def clicksend_key(application: Application) -> str:
    made = await application.control(
        "POST", "/clicksend/keys", json={"action": "regenerate", "token_marker": TOKEN}
    )
    return str(made["api_key"])


async def provider_faults(application: Application) -> None:
    """Every way a provider can misbehave while it holds our secrets, echoing them included."""
    echo = {"error": "server_error", "error_description": f"{CLIENT_SECRET} {BOT_TOKEN} {TOKEN}"}
    refused = {"error": "invalid_scope", "error_description": f"bad client {CLIENT_SECRET}"}
    for number, fault in enumerate(
        (
            {"kind": "status", "status": 503, "body": echo},
            {"kind": "status", "status": 400, "body": refused},
            {"kind": "malformed_json"},
            {"kind": "drop_after"},
            {"kind": "large_body"},
            {"kind": "rate_limit"},
        )
    ):
        # One connection each: after a failure the next attempt is put off.
        async with application.browser() as person:
            made = await application.connect(person, "discord", user_id=f"user_fault_{number}")
            application.answers += person.seen
        order = await application.control(
            "POST", "/faults", json=fault | {"provider": "discord", "path_contains": "token", "times": 1}
        )
        status, problem = await application.call("POST", f"/v1/connections/{made.connection.id}/refresh")
        assert (status, problem["code"]) == (503, "provider_unavailable"), problem
        shown = await application.control("GET", f"/faults/{order['id']}")
        assert shown["caught"] == 1, shown
        await application.control("DELETE", "/faults")


async def connect_failures(application: Application) -> None:
    """Sessions that fail at each point, and forms filled in wrongly."""
    for fault in (
        {"kind": "status", "status": 500},
        {"kind": "malformed_json"},
        {
            "kind": "status",
            "status": 400,
            "body": {"error": "invalid_grant", "error_description": f"{CLIENT_SECRET} is wrong"},
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
        page = await person.submit(page, username=MISPLACED, api_key=WRONG_KEY)
        page = await person.submit(page, username="", api_key=WRONG_KEY)
        page = await person.submit(page, username="ada@example.com", api_key=WRONG_KEY * 500)
        application.answers += person.seen


async def misplaced(application: Application) -> None:
    """A secret in every place of the API where it does not belong."""
    for method, path, body in (
        ("POST", "/v1/provider-configs", {"provider": "drift", "client_secret": [MISPLACED]}),
        ("POST", "/v1/provider-configs", {"provider": "drift", "unknown": MISPLACED}),
        ("POST", "/v1/provider-configs", {"provider": MISPLACED}),
        ("POST", "/v1/credentials", {"provider": "clicksend", "fields": MISPLACED, "tenant_id": "a"}),
        (
            "POST",
            "/v1/credentials",
            {"provider": "clicksend", "tenant_id": "a", "fields": {"username": "x", "api_key": WRONG_KEY}},
        ),
        ("POST", "/v1/connect-sessions", {"provider": "discord", "return_url": MISPLACED}),
    ):
        status, _ = await application.call(method, path, json=body)
        assert 400 <= status < 500, (path, body, status)
    await application.call("POST", "/v1/provider-configs", data=f'{{"client_secret": "{MISPLACED}')
    async with application.browser() as person:
        config = (await application.call("GET", "/v1/provider-configs"))[1]["data"][0]
        page = await person.open(
            f"{application.url}/oauth/callback/{config['id']}?code={TOKEN}&state={TOKEN}"
        )
        assert page.status >= 400
        application.answers += person.seen


async def database_outage(application: Application, postgres: EmbeddedPostgres) -> None:
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


async def revoked(application: Application) -> None:
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


async def sign_offs(application: Application) -> None:
    """A person who is disconnected, and one whose session another user tries to complete."""
    async with application.browser() as person:
        made = await application.connect(person, "dialpad", user_id="user_leaving")
        await application.authpipe.connections.disconnect(made.connection.id)
        session = await application.authpipe.connect_sessions.create(
            provider="dialpad",
            tenant_id="org_acme",
            user_id="user_attacker",
            kind="connection",
            return_url=RETURN_URL,
            return_mode="redirect",
        )
        page = await application.consent(person, await person.open(session.url))
        with pytest.raises(AuthpipeError):
            await application.authpipe.connect_sessions.complete(
                session.id,
                completion_code=page.query["completion_code"],
                tenant_id="org_acme",
                user_id="user_victim",
            )
        application.answers += person.seen


async def every_page_address(application: Application) -> None:
    """Each address below the pages' roots with a secret wherever a request can hold one."""
    headers = {
        "Cookie": f"__Host-authpipe_connect_{'0' * 32}={TOKEN}",
        "Referer": f"https://a.example/?code={TOKEN}",
        "Authorization": f"Bearer {WRONG_KEY}",
    }
    async with aiohttp.ClientSession(headers=headers) as session:
        for method in ("GET", "HEAD", "POST", "PUT"):
            for path in (
                f"/connect/{TOKEN}",
                f"/connect/session/{TOKEN}",
                f"/connect/session/{TOKEN}/key",
                f"/oauth/callback/{TOKEN}",
                f"/oauth/{TOKEN}",
                f"/pages/{TOKEN}",
                f"/v1/{TOKEN}",
                f"/v1/connections/{TOKEN}",
                f"/{TOKEN}",
            ):
                url = f"{application.url}{path}?state={TOKEN}&code={TOKEN}"
                async with session.request(method, url, data={"api_key": WRONG_KEY}) as response:
                    body = await response.read()
                    application.answers.append(repr(sorted(response.headers.items())).encode() + body)
