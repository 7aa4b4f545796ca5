"""Addresses that do not exist, methods that do not fit, and defects of ours: always a page, never a stack."""

from __future__ import annotations

import asyncpg
import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from authpipe.pages.assets import Assets
from authpipe.pages.endpoint import Endpoint
from authpipe.pages.rendering import Rendering

SECRET = "secret-in-an-exception"


async def _ask(handler: object, method: str = "GET") -> httpx2.Response:
    endpoint = Endpoint(Rendering("http://test", Assets()), get=handler)  # type: ignore[arg-type]
    transport = httpx2.ASGITransport(Starlette(routes=[Route("/connect/x", endpoint)]))
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.request(method, "/connect/x")


async def test_a_defect_shows_a_reference_and_nothing_else() -> None:
    """Not the exception, not its text, not where it was raised."""

    async def handler(_request: Request) -> Response:
        raise RuntimeError(SECRET)

    answer = await _ask(handler)
    assert answer.status_code == 500
    assert "<h1>Something went wrong here</h1>" in answer.text
    assert answer.headers["X-Request-Id"] in answer.text
    assert not any(word in answer.text for word in (SECRET, "RuntimeError", "Traceback", ".py"))
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")


async def test_an_absent_database_is_told_as_such() -> None:
    """It is worth another try, and the answer says when."""

    async def handler(_request: Request) -> Response:
        raise asyncpg.CannotConnectNowError(SECRET)

    answer = await _ask(handler)
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "5"
    assert "Try again in a moment" in answer.text
    assert SECRET not in answer.text


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "TRACE"])
async def test_a_method_that_does_not_fit(method: str) -> None:
    """405, with what would."""

    async def handler(_request: Request) -> Response:
        return Response()

    answer = await _ask(handler, method)
    assert answer.status_code == 405
    assert answer.headers["Allow"] == "GET, HEAD"
    assert "<h1>This page does not work that way</h1>" in answer.text
