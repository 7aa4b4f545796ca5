"""One log line, one count and one span for every request, without what a URL may carry."""

from __future__ import annotations

import logging
import time
from functools import lru_cache

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from authpipe.telemetry import traces
from authpipe.telemetry.logs import get_logger
from authpipe.telemetry.metrics import Metrics

_NAME = "authpipe.access_log"
_log = get_logger(_NAME)
#: Asked first: to find out through the other that a line is not wanted takes ten times as long.
_level = logging.getLogger(_NAME)

#: Asked for every few seconds by machines: worth a line only to those who look for it.
_QUIET = frozenset({"/healthz", "/readyz", "/metrics"})


class Observation:
    """Logs, counts and traces requests by their route.

    Paths of connect links hold a token and queries hold codes, so only the route's template is written:
    ``/connect/{token}``.  What no route took is counted under one name.  A caller's ``traceparent`` makes the
    span part of the caller's trace.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        # Routes and statuses are few.
        self._count = lru_cache(maxsize=1024)(
            lambda route, status: metrics.http_requests.labels(route, str(status))
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif traces.are_on() and scope["path"] not in _QUIET:
            with traces.request(scope["method"], _header(scope, b"traceparent")) as span:
                await self._observed(scope, receive, send, span)
        else:
            await self._observed(scope, receive, send, None)

    async def _observed(
        self, scope: Scope, receive: Receive, send: Send, span: traces.RequestSpan | None
    ) -> None:
        begun = time.perf_counter()
        started: Message = {"status": 500}

        async def noting(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = message
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            route, status = getattr(scope.get("route"), "path", "unmatched"), started["status"]
            self._count(route, status).inc()
            if span is not None:
                span.answered(route=route, status=status, request_id=_header(started, b"x-request-id"))
            level = logging.DEBUG if route in _QUIET else logging.INFO
            if _level.isEnabledFor(level):
                _log.log(
                    level,
                    "request",
                    method=scope["method"],
                    route=route,
                    status=status,
                    duration_ms=round((time.perf_counter() - begun) * 1000, 1),
                    address=scope["client"][0] if scope.get("client") else None,
                    request_id=_header(started, b"x-request-id"),
                )


def _header(carrier: Message | Scope, name: bytes) -> str | None:
    for key, value in carrier.get("headers", ()):
        if key.lower() == name:
            return str(value, "latin-1")
    return None
