"""``GET /v1/stream``: tells the keepers of caches which of their entries are stale."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from starlette.types import Receive, Scope, Send

from authpipe.access.key_text import refused
from authpipe.api import examples
from authpipe.api.caller import Caller
from authpipe.api.documented import problems
from authpipe.api.rules import EXTENSION, AccessRule, Reach
from authpipe.api.services import ApiServices
from authpipe.credentials.stream import ChangeStreams, KeyEnded
from authpipe.credentials.subscription import Subscription
from authpipe.domain.access import ApiKeyRole
from authpipe.domain.errors import InvalidInput

PATH = "/v1/stream"
RULE = AccessRule(ApiKeyRole.SERVER, Reach.TENANT)
CONTENT_TYPE = "text/event-stream"

#: Seconds in which a reader must take what it is sent: one that is gone without a word takes nothing.
_SEND_S = 30.0
#: Seconds the end of a stream may take.
_END_S = 1.0
_HEADERS = [
    (b"content-type", CONTENT_TYPE.encode()),
    (b"cache-control", b"no-store"),
    # nginx holds answers back unless it is told not to.
    (b"x-accel-buffering", b"no"),
]


class Stream:
    """An ASGI application for one route, behind :data:`RULE`.

    It ends when the reader is gone, its API key ends, or the server stops.
    """

    def __init__(self, services: ApiServices) -> None:
        self._streams: ChangeStreams = services.change_streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        caller: Caller = scope["state"]["caller"]
        if scope["query_string"]:
            raise InvalidInput("this address takes no parameters", field="query")
        if scope["method"] == "HEAD":
            await _begin(send)
            await _finish(send)
            return
        try:
            async with self._streams.subscribe(caller.api_key) as subscription:
                await self._serve(subscription, _last_event_id(scope), receive, send)
        except KeyEnded:
            raise refused() from None

    async def _serve(
        self, subscription: Subscription, last_event_id: str | None, receive: Receive, send: Send
    ) -> None:
        gone = asyncio.create_task(_until_gone(receive, subscription))
        try:
            async with (
                subscription.until_ended(),
                contextlib.aclosing(self._streams.frames(subscription, last_event_id)) as frames,
            ):
                await _begin(send)
                async for frame in frames:
                    if not await _is_taken(send, frame):
                        break
        finally:
            gone.cancel()
            await asyncio.wait([gone])
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_END_S):
                await _finish(send)


async def _begin(send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": list(_HEADERS)})


async def _is_taken(send: Send, frame: bytes) -> bool:
    """Send it; False when the reader does not take it in time."""
    try:
        async with asyncio.timeout(_SEND_S):
            await send({"type": "http.response.body", "body": frame, "more_body": True})
    except TimeoutError:
        return False
    return True


async def _finish(send: Send) -> None:
    await send({"type": "http.response.body", "body": b""})


async def _until_gone(receive: Receive, subscription: Subscription) -> None:
    """End the subscription when the reader hangs up."""
    while (await receive())["type"] != "http.disconnect":
        pass
    subscription.end()


def _last_event_id(scope: Scope) -> str | None:
    """What the reader heard last.  Empty means nothing yet, as in the standard."""
    sent = next((value for name, value in scope["headers"] if name == b"last-event-id"), b"")
    return sent.decode("latin-1") or None


#: One event by its fields, as the HTML standard names them (section 9.2.6).
_EVENT: dict[str, Any] = {
    "type": "object",
    "description": "An event of the stream, by its fields.",
    "required": ["event", "data"],
    "properties": {
        "id": {"type": "string", "format": "uuid"},
        "event": {"type": "string", "enum": ["hello", "change", "reset"]},
        "data": {"type": "string", "description": "JSON."},
    },
}
_EXAMPLE = (
    f'id: {examples.SESSION_ID}\nevent: hello\ndata: {{"heartbeat_s":10}}\n\n'
    f"id: {examples.EVENT_ID}\nevent: change\n"
    f'data: {{"type":"connection.needs_reauth","tenant_id":"org_acme","provider":"{examples.PROVIDER}",'
    f'"user_id":"user_123","connection_id":"{examples.CONNECTION_ID}","installation_id":null,'
    '"credential_id":null,"created_at":"2026-11-24T09:30:00.125000Z"}\n\n'
)

#: The operation in the OpenAPI document.
OPERATION: dict[str, Any] = {
    "tags": ["Credentials"],
    "summary": "Hear which cached credentials are stale",
    "description": (
        "Server-sent events, without an end. `hello` comes first; `change` names what changed (a null id "
        "means everything of what the other fields name); `reset` says that changes may have been missed, so "
        "that nothing cached before can be trusted. With nothing to tell a comment comes every `heartbeat_s` "
        "seconds. A reader that comes again sends the id it read last as `Last-Event-ID` and is told what it "
        "missed, for five minutes; some changes may be told twice. No event holds a secret."
    ),
    "operationId": "stream_changes",
    EXTENSION: RULE.told(),
    "parameters": [
        {
            "name": "Last-Event-ID",
            "in": "header",
            "required": False,
            "description": "The id that was read last on an earlier stream.",
            "schema": {"type": "string"},
        }
    ],
    "responses": {
        "200": {
            "description": "The events, as they happen",
            "content": {
                CONTENT_TYPE: {"schema": _EVENT, "examples": {"stream": {"value": _EXAMPLE}}},
            },
        },
        **{str(status): response for status, response in problems().items()},
    },
}
