"""The little of ASGI (HTTP, specification 2.x) that two JSON endpoints need."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, TypeAlias

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]

# Ids, a provider's name, a label and a completion code; nothing that needs more.
LARGEST_BODY = 16 * 1024


class Refused(Exception):
    """A request that ends with this status and problem code.  The message is shown to the browser."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


def headers_of(scope: Scope) -> dict[str, str]:
    """The request headers by lower-case name; of a repeated header the last one."""
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}


def path_within(scope: Scope, prefix: str) -> str | None:
    """The path below where the application is mounted and below ``prefix``, or None if it is elsewhere.

    Frameworks differ on whether ``path`` still holds the ``root_path`` of a mount; both are understood.
    """
    path: str = scope["path"]
    mount = scope.get("root_path", "").rstrip("/")
    if mount and path.startswith(mount + "/"):
        path = path[len(mount) :]
    return path[len(prefix) :] if path.startswith(prefix + "/") else None


async def read_json(receive: Receive, headers: Mapping[str, str]) -> dict[str, Any]:
    """The body as a JSON object.  Raises Refused; reads no more than :data:`LARGEST_BODY`."""
    if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        # Other types can be sent across origins by a plain form.
        raise Refused(415, "unsupported_media_type", "Content-Type must be application/json")
    body = bytearray()
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refused(400, "incomplete_body", "the request ended before its body did")
        body += message.get("body", b"")
        if len(body) > LARGEST_BODY:
            raise Refused(413, "body_too_large", f"the body is larger than {LARGEST_BODY} bytes")
        more = message.get("more_body", False)
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise Refused(400, "invalid_json", "the body must be a JSON object")
    return value


async def send_json(send: Send, status: int, value: Mapping[str, Any], *more: tuple[bytes, bytes]) -> None:
    """Answer with JSON that is neither cached nor sniffed."""
    body = json.dumps(value, separators=(",", ":")).encode()
    problem = b"application/problem+json" if status >= 400 else b"application/json"
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [
                (b"content-type", problem),
                (b"content-length", str(len(body)).encode()),
                (b"cache-control", b"no-store"),
                (b"x-content-type-options", b"nosniff"),
                *more,
            ],
        }
    )
    await send({"type": "http.response.body", "body": body})


async def run_lifespan(receive: Receive, send: Send, on_shutdown: Callable[[], Awaitable[None]]) -> None:
    """The lifespan protocol, for when the application is served by itself rather than mounted."""
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        elif message["type"] == "lifespan.shutdown":
            await on_shutdown()
            await send({"type": "lifespan.shutdown.complete"})
            return
