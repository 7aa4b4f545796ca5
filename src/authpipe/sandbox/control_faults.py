"""The control API of faults."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from authpipe.sandbox.control_fields import (
    Check,
    ControlError,
    anything,
    check_object,
    flag,
    headers,
    number,
    one_of,
    or_null,
    read_object,
    required,
    text,
    whole,
)
from authpipe.sandbox.faults import KINDS, Fault, FaultOrder
from authpipe.sandbox.seeds import PEOPLE
from authpipe.sandbox.state import SandboxState
from authpipe.sandbox.wire import json_answer

_DAY_S = 86_400

_FIELDS: dict[str, Check] = {
    "kind": one_of(*KINDS),
    "provider": or_null(one_of(*PEOPLE)),
    "path_contains": or_null(text),
    "method": or_null(one_of("GET", "POST", "PUT", "PATCH", "DELETE")),
    "grant_type": or_null(text),
    "times": or_null(whole(1, 1_000_000)),
    "probability": number(0, 1),
    "seconds": or_null(number(0, _DAY_S)),
    "status": whole(200, 599),
    "body": anything,
    "headers": headers,
    "retry_after": number(0, _DAY_S),
    "global": flag,
    "scope": one_of("user", "global", "shared"),
    "bytes": whole(1, 2_000_000_000),
    "point": one_of("before", "after"),
    "acts": flag,
}

#: What a kind cannot do without.
_REQUIRED = {"latency": "seconds", "slow_body": "seconds", "status": "status"}
#: Parameters that mean something only to some kinds.
_ONLY_FOR: dict[str, set[str]] = {
    "seconds": {"latency", "slow_body", "hang", "hold"},
    "status": {"status"},
    "body": {"status"},
    "headers": {"status"},
    "retry_after": {"rate_limit"},
    "global": {"rate_limit"},
    "scope": {"rate_limit"},
    "bytes": {"large_body"},
    "point": {"hold"},
    "acts": {"status", "rate_limit", "malformed_json", "large_body"},
}


class FaultControl:
    """Order, watch, release and end faults."""

    def __init__(self, state: SandboxState) -> None:
        self._state = state

    def routes(self) -> list[web.RouteDef]:
        """The routes to mount."""
        one = "/_control/faults/{fault_id}"
        return [
            web.post("/_control/faults", self._add),
            web.get("/_control/faults", self._list),
            web.delete("/_control/faults", self._clear),
            web.get(one, self._show),
            web.delete(one, self._remove),
            web.get(one + "/wait", self._wait),
            web.post(one + "/release", self._release),
        ]

    async def _add(self, request: web.Request) -> web.Response:
        fields = await read_object(request, _FIELDS)
        kind = required(fields, "kind", str)
        for name in fields:
            if kind not in _ONLY_FOR.get(name, {kind}):
                raise ControlError(400, "invalid_field", f"{name} means nothing for kind {kind}", name)
        needed = _REQUIRED.get(kind)
        if needed is not None and fields.get(needed) is None:
            raise ControlError(400, "invalid_field", f"{needed} is required for kind {kind}", needed)
        if "global" in fields:
            fields["global_limit"] = fields.pop("global")
        checked: dict[str, Any] = fields
        return json_answer(self._state.faults.add(FaultOrder(**checked)).shown(), status=201)

    async def _list(self, request: web.Request) -> web.Response:
        return json_answer({"faults": [fault.shown() for fault in self._state.faults.all()]})

    async def _clear(self, request: web.Request) -> web.Response:
        self._state.faults.clear()
        return web.Response(status=204)

    async def _show(self, request: web.Request) -> web.Response:
        return json_answer(self._find(request).shown())

    async def _remove(self, request: web.Request) -> web.Response:
        self._state.faults.remove(self._find(request).id)
        return web.Response(status=204)

    async def _wait(self, request: web.Request) -> web.Response:
        fault = self._find(request)
        count = _query_number(request, "count", 1, 1, 1_000_000)
        timeout = _query_number(request, "timeout", 10, 0, 600)
        if not await fault.wait_for(int(count), timeout):
            raise ControlError(408, "timeout", f"{fault.id} caught {fault.caught} of {int(count)} requests")
        return json_answer(fault.shown())

    async def _release(self, request: web.Request) -> web.Response:
        fault = self._find(request)
        fields = await read_object(request, {"drop": flag})
        fault.release(drop=bool(fields.get("drop", False)))
        return json_answer(fault.shown())

    def _find(self, request: web.Request) -> Fault:
        fault_id = request.match_info["fault_id"]
        fault = self._state.faults.get(fault_id)
        if fault is None:
            raise ControlError(404, "not_found", f"there is no fault {fault_id}", "fault_id")
        return fault


def _query_number(request: web.Request, name: str, default: float, low: float, high: float) -> float:
    try:
        value = float(request.query.get(name, default))
    except ValueError:
        value = float("nan")
    checked = check_object({name: value}, {name: number(low, high)})
    return required(checked, name, float)
