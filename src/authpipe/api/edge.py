"""The outermost layer: request ids, limits on bodies, headers every answer has, nothing unexpected told."""

from __future__ import annotations

import re

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from authpipe.api.failures import known_answer, unexpected_answer
from authpipe.api.problem import ProblemAnswer, plain_answer
from authpipe.domain.errors import AuthpipeError
from authpipe.domain.identifiers import new_id_text
from authpipe.telemetry.logs import log_context

#: Bytes.  No request of this API comes near.
LARGEST_BODY = 1024 * 1024

_REQUEST_ID = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._:-]{0,99}")
_WITH_BODY = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_JSON = re.compile(rb"application/(?:[a-z0-9.+-]+\+)?json\s*(?:;.*)?", re.IGNORECASE)

_ALWAYS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)
#: A year, in seconds: what browsers' preload lists ask for at least.
_HSTS = (b"strict-transport-security", b"max-age=31536000")
#: Unless the answer says otherwise, as pages do.
_DEFAULTS = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)


def is_api(path: str) -> bool:
    """Whether an address belongs to the API, where bodies are JSON and a key is needed."""
    return path == "/v1" or path.startswith("/v1/")


class Edge:
    """Gives every request an id (the caller's own, if it is well-formed) and every answer its headers.

    The id is ``request.state.request_id`` inside, ``X-Request-Id`` outside and a field of every log line.
    """

    def __init__(self, app: ASGIApp, *, public_url: str) -> None:
        """Answers tell browsers to use TLS from now on where ``public_url`` is https (RFC 6797)."""
        self._app = app
        self._headers = _ALWAYS + _DEFAULTS + ((_HSTS,) if public_url.startswith("https:") else ())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        asked = headers.get(b"x-request-id", b"")
        request_id = asked.decode() if _REQUEST_ID.fullmatch(asked) else new_id_text()
        scope["state"] = {**scope.get("state", {}), "request_id": request_id}
        outgoing = _Outgoing(send, request_id, self._headers)
        with log_context(request_id=request_id):
            refusal = _refusal(scope, headers, request_id)
            if refusal is not None:
                await outgoing.answer(refusal)
                return
            try:
                await self._app(scope, _limited(receive), outgoing)
            except AuthpipeError as error:
                await outgoing.answer(known_answer(error, request_id))
            except HTTPException as error:
                if error.status_code != 413:
                    raise
                await outgoing.answer(_too_large(request_id))
            except Exception as error:  # noqa: BLE001  # whatever it is, the caller gets an answer and no detail
                await outgoing.answer(unexpected_answer(error, request_id))


class _Outgoing:
    """Adds the headers; knows whether an answer has begun."""

    def __init__(self, send: Send, request_id: str, defaults: tuple[tuple[bytes, bytes], ...]) -> None:
        self._send = send
        self._defaults = defaults
        self._request_id = request_id
        self._begun = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._begun = True
            headers = message.get("headers", ())
            present = {name.lower() for name, _ in headers}
            added = [header for header in self._defaults if header[0] not in present]
            message["headers"] = [*headers, (b"x-request-id", self._request_id.encode()), *added]
        await self._send(message)

    async def answer(self, made: ProblemAnswer) -> None:
        """Answer, unless half of another answer is out already."""
        if self._begun:
            return
        await self({"type": "http.response.start", "status": made.status, "headers": made.headers})
        await self({"type": "http.response.body", "body": made.body})


def _refusal(scope: Scope, headers: dict[bytes, bytes], request_id: str) -> ProblemAnswer | None:
    """Why a body will not even be read."""
    length = headers.get(b"content-length", b"0")
    if length.isdigit() and int(length) > LARGEST_BODY:
        return _too_large(request_id)
    if scope["method"] not in _WITH_BODY or not is_api(scope["path"]):
        return None
    kind = headers.get(b"content-type")
    if kind is None and length == b"0" and b"transfer-encoding" not in headers:
        return None
    if kind is None or _JSON.fullmatch(kind) is None:
        return plain_answer(
            "unsupported_media_type", "send the body as JSON, with Content-Type: application/json", request_id
        )
    return None


def _too_large(request_id: str) -> ProblemAnswer:
    return plain_answer("payload_too_large", "the body is larger than 1 MiB", request_id)


def _limited(receive: Receive) -> Receive:
    """Counts what really arrives, whatever the headers say."""
    seen = 0

    async def counting() -> Message:
        nonlocal seen
        message = await receive()
        if message["type"] == "http.request":
            seen += len(message.get("body", b""))
            if seen > LARGEST_BODY:
                raise HTTPException(413)
        return message

    return counting
