"""Every page of a failure, asked for with secrets wherever a request can hold one."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from io import StringIO

import httpx2
import pytest
import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from authpipe.domain.errors import AuthpipeError, ConnectError, NotFound, ProviderRejected
from authpipe.pages.assets import Assets
from authpipe.pages.endpoint import Endpoint
from authpipe.pages.problems import PROBLEMS
from authpipe.pages.rendering import Rendering
from authpipe.server.observation import Observation
from authpipe.telemetry.logs import configure
from authpipe.telemetry.metrics import Metrics
from authpipe.telemetry.plain_route import PlainRoute
from support import canaries

_TOKEN, _KEY = canaries.TOKEN, canaries.WRONG_KEY


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[StringIO]:
    """What a server's process logs, at its fullest."""
    stream = StringIO()
    configure("DEBUG", json=True, stream=stream)
    # The caller is in this process, too, and logs its own address.
    monkeypatch.setattr(logging.getLogger("httpx2"), "disabled", True)
    yield stream
    structlog.reset_defaults()


async def _page(error: BaseException) -> tuple[int, bytes]:
    """What a browser gets: headers and body."""

    async def handler(request: Request) -> Response:
        held = f"{_TOKEN} {_KEY}"
        await request.body()
        try:
            raise ValueError(held)
        except ValueError:
            raise error  # noqa: B904  # the context is what may come along

    route = PlainRoute(
        "/connect/{token}",
        Endpoint(Rendering("https://auth.example.com", Assets()), get=handler, post=handler),
        methods=["GET", "POST"],
    )
    application = Observation(Starlette(routes=[route]), Metrics())
    headers = {
        "Cookie": f"__Host-authpipe_connect_{'0' * 32}={_TOKEN}",
        "Referer": f"https://a.example/?code={_TOKEN}",
        "Authorization": f"Bearer {_KEY}",
    }
    transport = httpx2.ASGITransport(application)
    async with httpx2.AsyncClient(transport=transport, base_url="https://auth.example.com") as client:
        answer = await client.post(
            f"/connect/{_TOKEN}?code={_TOKEN}&state={_TOKEN}", headers=headers, data={"api_key": _KEY}
        )
    return answer.status_code, repr(sorted(answer.headers.multi_items())).encode() + answer.content


@pytest.mark.parametrize("code", sorted(PROBLEMS))
async def test_the_page_of_a_refusal_shows_nothing_of_the_request(code: str, log: StringIO) -> None:
    """Neither its path, query, cookies, headers or form, nor the error that came before."""
    status, told = await _page(ConnectError("Start again.", code=code))
    assert status >= 400
    assert "a page refused" in log.getvalue()
    assert not canaries.found(told + log.getvalue().encode())


@pytest.mark.parametrize(
    "error",
    [
        NotFound("no such thing"),
        ProviderRejected("refused", error="invalid_grant", description=None, status=400),
        RuntimeError("a defect"),
        ExceptionGroup("defects", [RuntimeError("one")]),
        RecursionError("too deep"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_the_page_of_anything_else_shows_no_more(
    error: AuthpipeError | Exception, log: StringIO
) -> None:
    """Whatever it is that was not expected; its log line has a traceback without variables."""
    status, told = await _page(error)
    assert status >= 400
    assert b"Traceback" not in told
    assert not canaries.found(told)
    assert "a page" in log.getvalue()
    assert "held =" not in log.getvalue()
