"""What both drivers send: headers, body and limits, the same from a thread and from an event loop."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from authpipe._version import __version__
from authpipe.sdk.exchange import Answer, NoAnswer, Request
from authpipe.sdk.settings import Settings

if TYPE_CHECKING:
    import httpx2

# An address that does not take the connection in this time is down; the rest of the deadline goes to a retry.
CONNECT_TIMEOUT_S = 5.0

STREAM_PATH = "/v1/stream"
EVENT_STREAM = "text/event-stream"

TOO_LARGE = NoAnswer("the answer is too large")
TOO_LATE = NoAnswer("timed out")


def client_arguments(settings: Settings) -> dict[str, Any]:
    """The arguments of the httpx2 client, sync or async."""
    return {
        "headers": {
            "Authorization": f"Bearer {settings.api_key}",
            "Accept": "application/json",
            "User-Agent": f"authpipe-python/{__version__}",
        },
        # A redirect would carry the key to another place.
        "follow_redirects": False,
    }


def stream_arguments(settings: Settings, request: Request) -> dict[str, Any]:
    """The arguments of the httpx2 client's ``stream`` for one request."""
    import httpx2

    headers: dict[str, str] = {}
    content = None
    if request.body is not None:
        headers["Content-Type"] = "application/json"
        content = json.dumps(request.body).encode()
    if request.idempotency_key is not None:
        headers["Idempotency-Key"] = request.idempotency_key
    return {
        "method": request.method,
        "url": settings.url + request.path,
        "params": list(request.query),
        "headers": headers,
        "content": content,
        "timeout": httpx2.Timeout(request.timeout_s, connect=min(CONNECT_TIMEOUT_S, request.timeout_s)),
    }


def listening_arguments(settings: Settings, headers: Mapping[str, str], silence_s: float) -> dict[str, Any]:
    """The arguments of the httpx2 client's ``stream`` for the change stream.

    ``silence_s`` is how long nothing at all may be received.
    """
    import httpx2

    return {
        "method": "GET",
        "url": settings.url + STREAM_PATH,
        # Compression would hold events back until a block is full.
        "headers": {
            "Accept": EVENT_STREAM,
            "Accept-Encoding": "identity",
            "Cache-Control": "no-store",
            **headers,
        },
        "timeout": httpx2.Timeout(silence_s, connect=CONNECT_TIMEOUT_S),
    }


def answer_from(response: httpx2.Response, body: bytes) -> Answer:
    """The parts of a response that the core reads."""
    return Answer(
        status=response.status_code,
        headers={name.lower(): value for name, value in response.headers.items()},
        body=body,
    )


def no_answer_from(error: Exception) -> NoAnswer:
    """Why there was no answer, without the request: only the kind of failure and the library's own words."""
    words = str(error)
    return NoAnswer(f"{type(error).__name__}: {words}" if words else type(error).__name__)
