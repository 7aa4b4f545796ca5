"""How each kind of fault is done to a request."""

from __future__ import annotations

import asyncio
import json

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from authpipe.sandbox.faults import Fault, FaultBoard, FaultOrder
from authpipe.sandbox.journal import FAULT_ID, OUTCOME, provider_of, read_parameters
from authpipe.sandbox.provider_errors import error_body, limited_answer
from authpipe.sandbox.wire import json_answer

#: A slow body is sent in at most this many pieces.
_PIECES = 20
_PADDING_PIECE = b"a" * 65_536


def fault_middleware(faults: FaultBoard) -> Middleware:
    """Apply the oldest matching fault to each request to a provider."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        provider = provider_of(request)
        if provider in {"", "_control"} or not len(faults):
            return await handler(request)
        grant_type = (await read_parameters(request)).get("grant_type")
        fault = faults.take(provider, request.method, request.path, grant_type)
        if fault is None:
            return await handler(request)
        request[FAULT_ID] = fault.id
        return await _apply(fault, request, handler)

    return middleware


async def _apply(fault: Fault, request: web.Request, handler: Handler) -> web.StreamResponse:
    order = fault.order
    match order.kind:
        case "latency":
            await fault.count()
            await fault.hold(order.seconds)
            return await handler(request)
        case "status":
            await _act(order, request, handler)
            await fault.count()
            return _failing_answer(order, provider_of(request))
        case "rate_limit":
            await _act(order, request, handler)
            await fault.count()
            return limited_answer(
                provider_of(request), order.retry_after, global_limit=order.global_limit, scope=order.scope
            )
        case "drop_before":
            return await _drop(fault, request, "dropped_before")
        case "drop_after":
            await handler(request)
            return await _drop(fault, request, "dropped_after")
        case "hang":
            await fault.count()
            await fault.hold(order.seconds)
            return _cut(request, "hung")
        case "hold":
            return await _hold(fault, request, handler)
        case "malformed_json":
            answer = await _act(order, request, handler)
            await fault.count()
            return _cut_in_the_middle(answer)
        case "slow_body":
            answer = await _answer(request, handler)
            await fault.count()
            return await _send_slowly(fault, request, answer)
        case "large_body":
            answer = await _act(order, request, handler)
            await fault.count()
            return await _send_padded(request, answer, order.bytes)


async def _answer(request: web.Request, handler: Handler) -> web.Response:
    response = await handler(request)
    if not isinstance(response, web.Response):
        raise TypeError("the simulator's handlers answer with whole bodies")
    return response


async def _act(order: FaultOrder, request: web.Request, handler: Handler) -> web.Response:
    """The provider's true answer, or an empty JSON object where it shall not act."""
    return await _answer(request, handler) if order.acting else json_answer({})


async def _hold(fault: Fault, request: web.Request, handler: Handler) -> web.StreamResponse:
    if fault.order.point == "before":
        await fault.count()
        await fault.hold(fault.order.seconds)
        return _cut(request, "dropped_before") if fault.drop_on_release else await handler(request)
    answer = await handler(request)
    await fault.count()
    await fault.hold(fault.order.seconds)
    return _cut(request, "dropped_after") if fault.drop_on_release else answer


async def _drop(fault: Fault, request: web.Request, outcome: str) -> web.Response:
    await fault.count()
    return _cut(request, outcome)


def _cut(request: web.Request, outcome: str) -> web.Response:
    """Reset the connection.  The response returned goes nowhere."""
    request[OUTCOME] = outcome
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


def _failing_answer(order: FaultOrder, provider: str) -> web.Response:
    status = order.status or 500
    body = order.body if order.body is not None else error_body(provider, status)
    answer = json_answer(body, status=status)
    answer.headers.update(order.headers)
    return answer


def _whole_body(answer: web.Response) -> bytes:
    return answer.body if isinstance(answer.body, bytes) else b""


def _cut_in_the_middle(answer: web.Response) -> web.Response:
    body = _whole_body(answer)
    return web.Response(
        status=answer.status, body=body[: max(1, len(body) // 2)] or b"{", content_type="application/json"
    )


async def _send_slowly(fault: Fault, request: web.Request, answer: web.Response) -> web.StreamResponse:
    body = _whole_body(answer)
    slow = web.StreamResponse(status=answer.status, headers=answer.headers)
    slow.content_length = len(body)
    await slow.prepare(request)
    pieces = max(1, min(_PIECES, len(body)))
    size = -(-len(body) // pieces)
    for start in range(0, len(body), size):
        await fault.hold((fault.order.seconds or 0.0) / pieces)
        await slow.write(body[start : start + size])
    await slow.write_eof()
    return slow


async def _send_padded(request: web.Request, answer: web.Response, total: int) -> web.StreamResponse:
    """The answer's own members behind so much padding, chunked, so that no length announces it."""
    document = json.loads(_whole_body(answer) or b"{}")
    members = json.dumps(document)[1:] if isinstance(document, dict) and document else '"end":true}'
    large = web.StreamResponse(status=answer.status, headers={"Content-Type": "application/json"})
    await large.prepare(request)
    try:
        await large.write(b'{"padding":"')
        left = total
        while left > 0:
            await large.write(_PADDING_PIECE[:left])
            left -= len(_PADDING_PIECE)
            await asyncio.sleep(0)
        await large.write(b'",' + members.encode())
        await large.write_eof()
    except ConnectionError:
        # A caller that limits what it reads hangs up: the very behaviour under test.
        request[OUTCOME] = "dropped_after"
    return large
