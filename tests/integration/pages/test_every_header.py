"""Every route of the application, pages and API alike, answers with the headers that seal it off."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from fastapi.routing import iter_route_contexts

from authpipe.domain.access import ApiKeyRole
from authpipe.domain.clock import ManualClock
from authpipe.sandbox.server import SandboxServer
from authpipe.server.asgi import build_application
from support.hosted import Hosted, host
from support.operators import COMMAND_LINE, PASSWORD, add, sign_in

if TYPE_CHECKING:
    from conftest import Dsns

PUBLIC = "https://connect.example.com"
#: Files that are the same for everybody may be kept.
KEPT = ("/pages/{name}", "/docs/reference.css")


@pytest.fixture
async def public(
    dsns: Dsns, tmp_path: Path, clock: ManualClock, sandbox: SandboxServer
) -> AsyncIterator[Hosted]:
    """A server that browsers reach over TLS."""
    async with host(dsns.owner, tmp_path, clock, sandbox, public_url=PUBLIC) as hosted:
        yield hosted


def _routes(hosted: Hosted) -> list[tuple[str, str]]:
    """Method and path of every route; the pages' own answer whatever the method is."""
    application: Any = build_application(hosted.rooms)
    while not hasattr(application, "router"):
        application = application._app
    found = []
    for context in iter_route_contexts(application.router.routes):
        is_page = str(getattr(context, "name", "")).startswith("pages:")
        methods = {"GET", "POST", "DELETE"} if is_page else set(getattr(context, "methods", None) or {"GET"})
        found += [(method, context.path) for method in sorted(methods - {"HEAD", "OPTIONS"})]
    return found


def _address(path: str) -> str:
    """The route's path with something in its places."""
    parts = [str(uuid.uuid4()) if "{" in part else part for part in path.split("/")]
    return "/".join(parts)


async def test_every_route_answers_with_the_headers(public: Hosted) -> None:
    """Whoever asks: nobody, an API key, a signed-in owner; success, refusal and redirect."""
    await add(public.rooms.signing_in)
    cookie = (await sign_in(public.rooms.signing_in)).cookie.reveal()
    _, key = await public.rooms.api_keys.create(
        public.scene.environment_id, name="test", role=ApiKeyRole.ADMIN, origin=COMMAND_LINE
    )
    callers = (
        {},
        {"Authorization": f"Bearer {key.reveal()}"},
        {"Cookie": f"__Host-authpipe_operator={cookie}"},
    )
    routes = _routes(public)
    assert len(routes) > 80
    assert len({path for _, path in routes}) > 60
    statuses = set()
    async with aiohttp.ClientSession(
        public.rooms.settings.local_url, cookie_jar=aiohttp.DummyCookieJar()
    ) as session:
        for method, path in routes:
            for caller in callers:
                async with session.request(
                    method, _address(path), headers=caller, allow_redirects=False
                ) as answer:
                    _check(answer, f"{method} {path}", path)
                    statuses.add(answer.status)
    assert {200, 303, 401, 404, 405} <= statuses
    assert not any(status >= 500 for status in statuses - {503})


def _check(answer: aiohttp.ClientResponse, shown: str, path: str) -> None:
    headers = answer.headers
    assert headers["X-Content-Type-Options"] == "nosniff", shown
    assert headers["Referrer-Policy"] == "no-referrer", shown
    assert headers["Strict-Transport-Security"] == "max-age=31536000", shown
    assert len(headers.getall("X-Request-Id")) == 1, shown
    for name in ("Content-Security-Policy", "Cache-Control", "Strict-Transport-Security"):
        assert len(headers.getall(name)) == 1, shown
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'"), shown
    assert "frame-ancestors 'none'" in policy, shown
    assert "unsafe" not in policy, shown
    if path not in KEPT or answer.status != 200:
        assert headers["Cache-Control"] == "no-store", shown
    if headers.get("Content-Type", "").startswith("text/html"):
        assert headers["Cross-Origin-Opener-Policy"] in ("same-origin", "unsafe-none"), shown
        assert headers["X-Frame-Options"] == "DENY", shown
    for cookie in headers.getall("Set-Cookie", []):
        assert cookie.startswith("__Host-"), shown
        assert {"secure", "httponly", "path=/"} <= {each.strip().lower() for each in cookie.split(";")}, shown


async def test_the_operators_pages_hold_no_script_and_no_style(hosted: Hosted) -> None:
    """And keep no opener; their forms lead nowhere but here."""
    await add(hosted.rooms.signing_in)
    async with hosted.person() as person:
        for page in (
            await person.open(hosted.url + "/sign-in"),
            await person.submit(
                await person.open(hosted.url + "/sign-in"), email="ada@example.com", password=PASSWORD
            ),
            await person.open(hosted.url + "/operators"),
        ):
            assert page.status == 200
            for word in ("<script", " style=", "<style", "javascript:", " onclick"):
                assert word not in page.text
        for seen in person.seen:
            assert b"form-action 'self'; frame-ancestors" in seen
            assert b"'Cross-Origin-Opener-Policy', 'same-origin'" in seen
            assert b"script-src" not in seen


async def test_plain_http_is_not_told_to_use_tls(hosted: Hosted) -> None:
    """A server on this machine would lock itself out."""
    async with aiohttp.ClientSession(hosted.url) as session:
        for path in ("/sign-in", "/v1/tenants", "/docs", "/healthz"):
            async with session.get(path) as answer:
                assert "Strict-Transport-Security" not in answer.headers
