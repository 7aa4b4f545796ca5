"""The control API: clock, journal and reset.  It is open; the simulator belongs on loopback."""

from __future__ import annotations

from datetime import timedelta

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from authpipe.sandbox.control_fields import ControlError, invalid, number, read_object
from authpipe.sandbox.seeds import PEOPLE
from authpipe.sandbox.state import SandboxState
from authpipe.sandbox.wire import json_answer

_TEN_YEARS_S = 10 * 365 * 86_400
_REQUEST_FILTERS = frozenset({"provider", "path", "method", "grant_type", "status", "since"})


def control_errors_middleware() -> Middleware:
    """Answer :class:`ControlError` and unknown control paths in one shape."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not request.path.startswith("/_control"):
            return await handler(request)
        try:
            return await handler(request)
        except ControlError as error:
            return error.answer()
        except web.HTTPClientError as error:
            code = "method_not_allowed" if error.status == 405 else "not_found"
            message = f"{request.method} {request.path} is no control call"
            return ControlError(error.status, code, message).answer()

    return middleware


class Control:
    """The calls that concern the whole simulator."""

    def __init__(self, state: SandboxState) -> None:
        self._state = state

    def routes(self) -> list[web.RouteDef]:
        """The routes to mount."""
        return [
            web.get("/_control", self._overview),
            web.get("/_control/clock", self._clock),
            web.post("/_control/clock", self._move_clock),
            web.post("/_control/reset", self._reset),
            web.get("/_control/requests", self._requests),
            web.delete("/_control/requests", self._forget_requests),
        ]

    async def _overview(self, request: web.Request) -> web.Response:
        overview = {
            "providers": list(PEOPLE),
            "faults": len(self._state.faults),
            "requests": len(self._state.journal),
        }
        return json_answer(overview | self._time())

    def _time(self) -> dict[str, object]:
        offset = self._state.clock.offset.total_seconds()
        return {"now": self._state.now().isoformat(), "offset_s": offset}

    async def _clock(self, request: web.Request) -> web.Response:
        return json_answer(self._time())

    async def _move_clock(self, request: web.Request) -> web.Response:
        seconds = number(-_TEN_YEARS_S, _TEN_YEARS_S)
        fields = await read_object(request, {"advance_s": seconds, "offset_s": seconds})
        if len(fields) != 1:
            raise ControlError(400, "invalid_field", 'give either "advance_s" or "offset_s"', "advance_s")
        [(name, value)] = fields.items()
        moved = timedelta(seconds=float(str(value)))
        self._state.clock.offset = moved + (self._state.clock.offset if name == "advance_s" else timedelta(0))
        return json_answer(self._time())

    async def _reset(self, request: web.Request) -> web.Response:
        await read_object(request, {})
        self._state.reset()
        return json_answer({"reset": True})

    async def _requests(self, request: web.Request) -> web.Response:
        query = request.query
        for name in query:
            if name not in _REQUEST_FILTERS:
                raise ControlError(400, "unknown_field", f"{name} is not a filter here", name)
        status = _whole(query.get("status"), "status")
        report = self._state.journal.report(
            provider=query.get("provider"),
            path=query.get("path"),
            method=query.get("method"),
            grant_type=query.get("grant_type"),
            status=status,
            since=_whole(query.get("since"), "since") or 0,
        )
        return json_answer(report)

    async def _forget_requests(self, request: web.Request) -> web.Response:
        self._state.journal.clear()
        return web.Response(status=204)


def _whole(value: str | None, field: str) -> int | None:
    if value is None:
        return None
    if not value.isascii() or not value.isdigit():
        raise invalid(field, "a whole number")
    return int(value)
