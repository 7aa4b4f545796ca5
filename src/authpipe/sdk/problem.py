"""From answers to values or errors: the problem documents of RFC 9457 and their codes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from authpipe.sdk.document import Document, Malformed
from authpipe.sdk.errors import (
    AmbiguousConnection,
    AuthenticationFailed,
    AuthpipeError,
    AuthpipeUnavailable,
    Conflict,
    ConnectError,
    InvalidRequest,
    NotConnected,
    NotFound,
    PermissionDenied,
    ProviderUnavailable,
    RateLimited,
    ReauthorizationRequired,
)
from authpipe.sdk.exchange import Answer
from authpipe.sdk.objects import Candidate

T = TypeVar("T")

_PLAIN: dict[str, type[AuthpipeError]] = {
    "not_connected": NotConnected,
    "not_found": NotFound,
    "unauthenticated": AuthenticationFailed,
    "forbidden": PermissionDenied,
    "conflict": Conflict,
}
_BY_STATUS: dict[int, type[AuthpipeError]] = {
    401: AuthenticationFailed,
    403: PermissionDenied,
    404: NotFound,
    409: Conflict,
}


def read_answer(answer: Answer, read: Callable[[Document], T], *, about_connecting: bool = False) -> T:
    """The value in a 2xx answer, or the error the server meant.

    ``about_connecting`` makes codes without a class of their own a ConnectError.  An answer that is not
    Authpipe's (a proxy's error page, a wrong address) is AuthpipeUnavailable, whatever its status, so that
    it never counts as "not connected".
    """
    value = _parsed(answer.body)
    request_id = answer.headers.get("x-request-id")
    if 200 <= answer.status < 300:
        problem = "it is not a JSON object"
        if isinstance(value, dict):
            try:
                return read(Document(value))
            except Malformed as malformed:
                problem = str(malformed)
        raise AuthpipeUnavailable(
            f"the answer was not understood: {problem}; check AUTHPIPE_URL and the server's version",
            code="invalid_answer",
            request_id=request_id,
            status=answer.status,
        )
    raise _error(answer, value, request_id, about_connecting=about_connecting)


def item_error(fields: Mapping[str, Any]) -> AuthpipeError:
    """The error that one problem document among several results means."""
    status = fields.get("status")
    answer = Answer(status=status if isinstance(status, int) else 500, headers={}, body=b"")
    return _error(answer, dict(fields), None, about_connecting=False)


def _error(answer: Answer, value: object, request_id: str | None, *, about_connecting: bool) -> AuthpipeError:
    fields = value if isinstance(value, dict) else {}
    code = fields.get("code")
    if not isinstance(code, str) or not code:
        return AuthpipeUnavailable(
            f"the answer (status {answer.status}) is not Authpipe's; check AUTHPIPE_URL and any proxy",
            code="invalid_answer",
            request_id=request_id,
            status=answer.status,
            retry_after_s=answer.retry_after_s(),
        )
    message = next(
        (text for name in ("detail", "title") if isinstance(text := fields.get(name), str) and text), code
    )
    told: dict[str, Any] = {
        "code": code,
        "request_id": request_id or _text(fields, "request_id"),
        "status": answer.status,
    }
    match code:
        case "reauthorization_required":
            return ReauthorizationRequired(
                message,
                reason=_text(fields, "reason") or "unknown",
                connection_id=_text(fields, "connection_id"),
                installation_id=_text(fields, "installation_id"),
                **told,
            )
        case "ambiguous_connection":
            return AmbiguousConnection(message, candidates=_candidates(fields), **told)
        case "invalid_input":
            return InvalidRequest(message, field=_text(fields, "field"), **told)
        case "rate_limited":
            return RateLimited(message, retry_after_s=_retry_after(answer, fields), **told)
        case "provider_unavailable":
            return ProviderUnavailable(message, retry_after_s=_retry_after(answer, fields), **told)
    if code in _PLAIN:
        return _PLAIN[code](message, **told)
    if answer.status >= 500:
        return AuthpipeUnavailable(message, retry_after_s=answer.retry_after_s(), **told)
    if answer.status == 429:
        return RateLimited(message, retry_after_s=answer.retry_after_s(), **told)
    if about_connecting:
        return ConnectError(message, **told)
    if answer.status in (400, 413, 415, 422):
        return InvalidRequest(message, field=_text(fields, "field"), **told)
    return _BY_STATUS.get(answer.status, AuthpipeError)(message, **told)


def _parsed(body: bytes) -> object:
    # The decoder's own error quotes the document, which may hold a secret: it ends here.
    try:
        value: object = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return value


def _text(fields: dict[str, Any], name: str) -> str | None:
    value = fields.get(name)
    return value if isinstance(value, str) else None


def _retry_after(answer: Answer, fields: dict[str, Any]) -> float | None:
    value = fields.get("retry_after_s")
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    return answer.retry_after_s()


def _candidates(fields: dict[str, Any]) -> tuple[Candidate, ...]:
    try:
        return tuple(Candidate.read(item) for item in Document(fields).documents("candidates"))
    except Malformed:
        return ()
