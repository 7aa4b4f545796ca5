"""One address: its methods, and a page for everything that can go wrong at it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from authpipe.domain.errors import AuthpipeError, ConnectError
from authpipe.pages.browser_request import request_id
from authpipe.pages.rendering import Rendering
from authpipe.store.database import is_outage
from authpipe.telemetry.logs import get_logger, log_context

Handler = Callable[[Request], Awaitable[Response]]

_log = get_logger(__name__)


class Endpoint:
    """An ASGI application that never raises.

    HEAD reaches no handler, so that programs that look at links use none up.
    """

    def __init__(
        self, rendering: Rendering, *, get: Handler | None = None, post: Handler | None = None
    ) -> None:
        self._rendering = rendering
        self._handlers = {name: handler for name, handler in (("GET", get), ("POST", post)) if handler}
        self._allowed = ", ".join([*self._handlers, *(["HEAD"] if get else [])])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        # Who gave the request its id also writes it on the answer.
        is_ours = "request_id" not in scope.get("state", {})
        with log_context(request_id=request_id(request)):
            response = await self._answer(request)
        if is_ours:
            response.headers["X-Request-Id"] = request_id(request)
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        if request.method == "HEAD" and "GET" in self._handlers:
            return self._rendering.empty()
        handler = self._handlers.get(request.method)
        if handler is None:
            unsupported = ConnectError(
                "Go back to the application and start again.", code="method_unsupported"
            )
            return self._rendering.problem(request, unsupported, headers={"Allow": self._allowed})
        try:
            return await handler(request)
        except AuthpipeError as error:
            _log.info("a page refused", error=error.code, detail=error.detail)
            return self._rendering.problem(request, error)
        except ClientDisconnect:
            return self._rendering.empty(400)
        except Exception as error:  # noqa: BLE001  # whatever it is, the person gets a page
            if is_outage(error):
                _log.warning("a page has no database", error=type(error).__name__)
                away = ConnectError("Try again in a moment.", code="database_unavailable")
                return self._rendering.problem(request, away, headers={"Retry-After": "5"})
            _log.error("a page failed", exc_info=error)
            return self._rendering.failure(request)
