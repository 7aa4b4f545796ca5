"""The log line of a request."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import httpx2
import pytest
import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from authpipe.server.observation import Observation
from authpipe.telemetry.logs import configure
from authpipe.telemetry.metrics import Metrics

TOKEN = "CANARY" + "t0ken" * 7


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    configure("INFO", json=True, stream=stream)
    yield stream
    structlog.reset_defaults()


async def _fails(_request: Request) -> Response:
    raise RuntimeError("a defect")


async def _answers(_request: Request) -> Response:
    return Response(status_code=204, headers={"X-Request-Id": "req_1"})


def lines(log: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in log.getvalue().splitlines() if "access_log" in line]


async def test_a_request_is_logged_and_counted_by_its_route(log: io.StringIO) -> None:
    """Neither the token in a path nor the code in a query is written, and metrics have few labels."""
    metrics = Metrics()
    application = Starlette(
        routes=[Route("/connect/{token}", _answers), Route("/fails", _fails), Route("/healthz", _answers)]
    )
    transport = httpx2.ASGITransport(
        Observation(application, metrics), client=("203.0.113.9", 5), raise_app_exceptions=False
    )
    async with httpx2.AsyncClient(transport=transport, base_url="http://a") as client:
        for path in (f"/connect/{TOKEN}?code={TOKEN}", f"/nowhere/{TOKEN}", "/fails", "/healthz"):
            await client.get(path)
    assert [(line["route"], line["status"]) for line in lines(log)] == [
        ("/connect/{token}", 204),
        ("unmatched", 404),
        ("/fails", 500),
    ]
    first = lines(log)[0]
    assert (first["method"], first["address"], first["request_id"]) == ("GET", "203.0.113.9", "req_1")
    assert "CANARY" not in log.getvalue()
    assert 'authpipe_http_requests_total{route="/connect/{token}",status="204"} 1.0' in (
        metrics.render()[0].decode()
    )
    assert "CANARY" not in metrics.render()[0].decode()
