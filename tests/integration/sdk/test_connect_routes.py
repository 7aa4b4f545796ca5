"""The two connect endpoints: who may call them, what passes through, what never does."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from authpipe import AsyncAuthpipe, ConfigurationError
from authpipe.adapters.asgi import ConnectRoutes, Identity, connect_routes

OWN = {"Origin": "https://app.example", "Host": "app.example", "Content-Type": "application/json"}
NEW = {"provider": "discord", "kind": "connection"}
DONE = {"connect_session_id": "s1", "completion_code": "cc_1"}
SESSION = {
    "id": "s1",
    "status": "pending",
    "url": "https://authpipe.example/connect/t",
    "expires_at": "2026-11-24T16:10:00Z",
}
CONNECTION = {
    "id": "c1",
    "provider": "discord",
    "tenant_id": "org_acme",
    "user_id": "user_123",
    "installation_id": "i1",
    "status": "active",
    "label": "work",
    "is_primary": True,
    "account_name": "ada",
    "scopes": ["identify"],
    "metadata": {"internal": "canary-metadata"},
}
INSTALLATION = {
    "id": "i1",
    "provider": "discord",
    "tenant_id": "org_acme",
    "status": "active",
    "external_name": "Club",
    "scopes": ["bot"],
    "metadata": {"internal": "canary-metadata"},
}


async def somebody(request):
    """Signed in by cookie."""
    return Identity("org_acme", "user_123") if request.cookies.get("session") == "s-ada" else None


@pytest.fixture
def reply(server):
    """A reply with this body."""
    return lambda body, status=200: type(server.credential())(status=status, body=body)


@pytest.fixture
def serve(server, clock, api_key):
    """A browser's HTTP client in front of the routes, mounted as asked."""

    @asynccontextmanager
    async def serving(*, wrap=lambda app: app, cookie="session=s-ada", **options):
        async with AsyncAuthpipe(server.url, api_key, clock=clock, timeout_s=2.0) as client:
            told = {"identify": somebody, "return_url": "https://app.example/connected"} | options
            app = wrap(connect_routes(client=client, **told))
            async with httpx2.AsyncClient(
                transport=httpx2.ASGITransport(app=app),
                base_url="https://app.example",
                headers={"Cookie": cookie} if cookie else {},
            ) as browser:
                yield browser

    return serving


async def test_a_session_is_made_for_the_signed_in_user(serve, server, reply):
    """Tenant and user come from identify, the return URL from the developer; three fields go back."""
    server.script(reply(SESSION, 201))
    async with serve() as browser:
        answer = await browser.post(
            "/sessions", json=NEW | {"label": "work", "connection_id": "c1"}, headers=OWN
        )
    assert answer.status_code == 201
    assert answer.json() == {
        "id": "s1",
        "url": "https://authpipe.example/connect/t",
        "expires_at": "2026-11-24T16:10:00+00:00",
    }
    assert answer.headers["cache-control"] == "no-store"
    assert server.seen[0].path == "/v1/connect-sessions"
    assert server.seen[0].body == {
        "provider": "discord",
        "kind": "connection",
        "tenant_id": "org_acme",
        "user_id": "user_123",
        "return_url": "https://app.example/connected",
        "return_mode": "popup",
        "label": "work",
        "connection_id": "c1",
    }


async def test_a_completion_is_confirmed_in_the_signed_in_users_name(serve, server, reply):
    """And answered with what a browser may see, without metadata."""
    server.script(
        reply({**SESSION, "status": "completed", "connection": CONNECTION}),
        reply({**SESSION, "status": "completed", "installation": INSTALLATION}),
    )
    async with serve() as browser:
        first = await browser.post("/complete", json=DONE, headers=OWN)
        second = await browser.post("/complete", json=DONE, headers=OWN)
    assert server.seen[0].path == "/v1/connect-sessions/s1/complete"
    assert server.seen[0].body == {
        "completion_code": "cc_1",
        "tenant_id": "org_acme",
        "user_id": "user_123",
    }
    assert first.json() == {
        "connection": {
            "id": "c1",
            "provider": "discord",
            "status": "active",
            "label": "work",
            "is_primary": True,
            "account_name": "ada",
            "installation_id": "i1",
            "scopes": ["identify"],
        }
    }
    assert second.json()["installation"]["external_name"] == "Club"
    assert "canary-metadata" not in first.text + second.text


@pytest.mark.parametrize(
    "extra",
    [{"tenant_id": "org_b"}, {"user_id": "u"}, {"return_url": "https://evil.example"}, {"scopes": ["all"]}],
    ids=lambda extra: next(iter(extra)),
)
async def test_the_body_cannot_name_a_tenant_a_user_or_a_return_url(serve, server, extra):
    """Refused by name rather than ignored, and nothing is sent on."""
    async with serve() as browser:
        for path, body in (("/sessions", NEW), ("/complete", DONE)):
            answer = await browser.post(path, json=body | extra, headers=OWN)
            assert answer.status_code == 422
            assert next(iter(extra)) in answer.json()["title"]
    assert server.asked == 0


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "https://app.example.evil.example"},
        {"Origin": "https://evil.app.example"},
        {"Origin": "null"},
        {"Origin": "https://app.example:8443"},
        {"Origin": "https://app.example", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "https://app.example", "Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example", "Sec-Fetch-Site": "none"},
        {},
    ],
    ids=str,
)
async def test_a_foreign_page_is_refused(serve, server, headers):
    """By the browser's own verdict, else by Origin against Host; with neither, too."""
    async with serve() as browser:
        sent = {"Host": "app.example", "Content-Type": "application/json", **headers}
        answer = await browser.post("/sessions", content=json.dumps(NEW), headers=sent)
    assert (answer.status_code, answer.json()["code"]) == (403, "foreign_origin")
    assert server.asked == 0


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://app.example"},
        {"Origin": "https://APP.example", "Host": "app.EXAMPLE"},
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "same-origin", "Origin": "https://app.example", "Host": "internal:8000"},
        {"Sec-Fetch-Site": "same-site", "Origin": "https://www.app.example"},
    ],
    ids=str,
)
async def test_an_own_page_is_served(serve, server, reply, headers):
    """Behind a proxy, on an allowed further origin, and in browsers with or without Fetch Metadata."""
    server.script(reply(SESSION, 201))
    async with serve(allowed_origins=["https://www.app.example"]) as browser:
        sent = {"Host": "app.example", "Content-Type": "application/json; charset=utf-8", **headers}
        answer = await browser.post("/sessions", content=json.dumps(NEW), headers=sent)
    assert answer.status_code == 201


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", None]
)
async def test_a_form_cannot_pose_as_json(serve, kind):
    """Only application/json, which a foreign form cannot send."""
    async with serve() as browser:
        headers = {name: value for name, value in OWN.items() if name != "Content-Type"}
        answer = await browser.post(
            "/sessions", content=json.dumps(NEW), headers=headers | ({"Content-Type": kind} if kind else {})
        )
    assert answer.status_code == 415


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"[]", 400),
        (b"{", 400),
        (b"\xff", 400),
        (b"[" * 16_000, 400),
        (b'{"provider": "discord", "kind": "' + b"x" * 20_000 + b'"}', 413),
        (b'{"provider": "discord"}', 422),
        (b'{"provider": "discord", "kind": "everything"}', 422),
        (b'{"provider": "", "kind": "connection"}', 422),
        (b'{"provider": ["discord"], "kind": "connection"}', 422),
        (b'{"provider": "discord", "kind": "connection", "label": 3}', 422),
    ],
    ids=lambda value: str(value)[:30],
)
async def test_an_unusable_body_is_refused(serve, server, body, status):
    """Too large, too deep, not JSON, wrong types."""
    async with serve() as browser:
        answer = await browser.post("/sessions", content=body, headers=OWN)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert server.asked == 0


async def test_a_body_in_many_pieces_is_bounded_too():
    """Chunks are counted as they come; a client that leaves gets nothing done."""
    app = connect_routes(
        identify=somebody, client=AsyncAuthpipe("http://127.0.0.1:1", "k"), return_url="https://app.example"
    )
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/sessions",
        "headers": [(name.lower().encode(), value.encode()) for name, value in OWN.items()],
    }
    for pieces, expected in (
        ([{"type": "http.request", "body": b"x" * 1000, "more_body": True}] * 100, 413),
        ([{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}], 400),
    ):
        rest, sent = list(pieces), []

        async def receive(rest=rest):
            return rest.pop(0)

        async def send(message, sent=sent):
            sent.append(message)

        await app(dict(scope), receive, send)
        assert sent[0]["status"] == expected
    assert len(rest) == 0


def _fails(request):
    raise KeyError("canary-identify")


async def _fails_later(request):
    raise RuntimeError("canary-identify")


@pytest.mark.parametrize(
    "identify",
    [
        lambda request: None,
        _fails,
        _fails_later,
        lambda request: ("org_acme", "user_123"),
        lambda request: Identity("", "user_123"),
    ],
    ids=["none", "raises", "raises async", "not an Identity", "empty tenant"],
)
async def test_nobody_signed_in_is_401(serve, server, identify):
    """Whatever identify does other than naming somebody; why stays in the log."""
    async with serve(identify=identify) as browser:
        answer = await browser.post("/complete", json=DONE, headers=OWN)
    assert (answer.status_code, answer.json()["code"]) == (401, "not_signed_in")
    assert "canary" not in answer.text
    assert server.asked == 0


@pytest.mark.parametrize(
    "identify",
    [
        somebody,
        lambda request: Identity("org_acme", request.cookies["session"]),
        lambda request: asyncio.sleep(0, Identity("org_acme", None)),
        lambda request: Identity(request.headers["host"], None),
        lambda request: Identity("org_acme", request.scope["path"]),
    ],
    ids=["async", "sync", "returns awaitable", "headers", "scope"],
)
async def test_identify_may_be_written_either_way(serve, server, reply, identify):
    """A coroutine function, a plain one, or one that returns an awaitable."""
    server.script(reply(SESSION, 201))
    async with serve(identify=identify) as browser:
        assert (await browser.post("/sessions", json=NEW, headers=OWN)).status_code == 201


async def test_paths_and_methods_other_than_the_two_are_refused(serve):
    """404 and 405 with Allow."""
    async with serve() as browser:
        assert (await browser.post("/other", json=NEW, headers=OWN)).status_code == 404
        answer = await browser.get("/sessions", headers=OWN)
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize(
    ("options", "wrap", "path"),
    [
        ({}, lambda app: Starlette(routes=[Mount("/authpipe", app=app)]), "/authpipe/sessions"),
        ({"prefix": "/authpipe"}, lambda app: app, "/authpipe/sessions"),
        ({"prefix": "/b"}, lambda app: Starlette(routes=[Mount("/a", app=app)]), "/a/b/sessions"),
    ],
    ids=["mounted", "prefix", "both"],
)
async def test_it_can_be_mounted_or_prefixed(serve, server, reply, options, wrap, path):
    """Starlette and FastAPI leave the mount path in ``path``; a bare server has none."""
    server.script(reply(SESSION, 201))
    async with serve(wrap=wrap, **options) as browser:
        assert (await browser.post(path, json=NEW, headers=OWN)).status_code == 201
        assert (await browser.post("/elsewhere/sessions", json=NEW, headers=OWN)).status_code == 404


@pytest.mark.parametrize(
    ("status", "code", "told", "seen_code"),
    [
        (409, "completion_mismatch", 409, "completion_mismatch"),
        (410, "session_expired", 410, "session_expired"),
        (422, "invalid_input", 422, "invalid_input"),
        (401, "unauthenticated", 502, "misconfigured"),
        (403, "forbidden", 502, "misconfigured"),
        (500, "internal", 503, "internal"),
    ],
)
async def test_the_servers_refusals_reach_the_browser_without_our_own_troubles(
    serve, server, status, code, told, seen_code
):
    """A wrong API key is the application's problem, not the browser's: never 401 or 403."""
    server.script(server.problem(status, code))
    async with serve() as browser:
        answer = await browser.post("/complete", json=DONE, headers=OWN)
    assert (answer.status_code, answer.json()["code"]) == (told, seen_code)
    if told >= 500:
        assert "detail of" not in answer.text


async def test_a_missing_setting_is_named(monkeypatch):
    """At construction, not in the first user's request."""
    client = AsyncAuthpipe("http://x", "k")
    monkeypatch.delenv("AUTHPIPE_RETURN_URL", raising=False)
    with pytest.raises(ConfigurationError, match="AUTHPIPE_RETURN_URL"):
        connect_routes(identify=somebody, client=client)
    for wrong in (
        {"prefix": "authpipe"},
        {"prefix": "/a/"},
        {"return_mode": "tab"},
        {"allowed_origins": "https://x"},
    ):
        with pytest.raises(ConfigurationError):
            connect_routes(identify=somebody, client=client, return_url="https://app.example", **wrong)
    for origin in ("app.example", "https://app.example/path", "*"):
        with pytest.raises(ConfigurationError, match="allowed_origins"):
            connect_routes(
                identify=somebody, client=client, return_url="https://app.example", allowed_origins=[origin]
            )
    monkeypatch.setenv("AUTHPIPE_RETURN_URL", "https://app.example/connected")
    assert isinstance(connect_routes(identify=somebody, client=client), ConnectRoutes)


async def test_served_by_itself_it_closes_the_client_it_made(monkeypatch):
    """The lifespan protocol; a websocket is turned away."""
    monkeypatch.setenv("AUTHPIPE_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AUTHPIPE_API_KEY", "k")
    app = connect_routes(identify=somebody, return_url="https://app.example")
    messages = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    sent = []

    async def receive():
        return messages.pop(0)

    async def send(message):
        sent.append(message["type"])

    await app({"type": "lifespan"}, receive, send)
    await app({"type": "websocket", "path": "/sessions"}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete", "websocket.close"]
    with pytest.raises(RuntimeError, match="closed"):
        await app._client.get_credential(provider="p", tenant_id="t")
