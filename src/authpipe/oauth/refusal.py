"""Reads answers that grant nothing, into the one error that says what happened."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from authpipe.domain.errors import ProviderError, ProviderRejected, ProviderUnavailable
from authpipe.net.message import Request, Response
from authpipe.oauth.failure import PASSING_ERRORS, RATE_LIMITS
from authpipe.oauth.sent import sent_secrets
from authpipe.oauth.text import clean_text
from authpipe.telemetry.redaction import redact

_LONGEST_ERROR = 100
_LONGEST_DESCRIPTION = 500
#: Seconds.  No provider means longer, and a hostile one shall not put a connection to sleep for good.
_LONGEST_WAIT = 86_400.0


def read_refusal(
    response: Response, document: Mapping[str, Any] | None, *, received_at: datetime, request: Request | None
) -> ProviderError | None:
    """The error an answer amounts to, or None when it is a 2xx without an error inside.

    429, 5xx, redirects and the OAuth errors that mean "later" are ``ProviderUnavailable``.  Its ``sent`` is
    False for a rate limit, which turns a request away before it is acted upon; the others may come after.
    Everything else is ``ProviderRejected`` with the provider's own code, or ``http_<status>`` when it told
    none.  The description is kept only when ``request`` is given, for without it the secrets that may be
    echoed in it are not known.
    """
    status = response.status
    if status in (408, 425, 429) or status >= 500:
        return ProviderUnavailable(
            f"the provider answered {status}",
            retry_after_s=retry_after_s(response, document, received_at=received_at),
            sent=status != 429,
            detail=f"status {status}",
        )
    if status < 200 or 300 <= status < 400:
        return ProviderUnavailable(f"the provider answered {status}, unexpectedly", detail=f"status {status}")
    error, description = _words(document or {})
    if status < 300 and error is None:
        return None
    secrets = sent_secrets(request) if request is not None else ()
    code = clean_text(redact(error, secrets), longest=_LONGEST_ERROR) if error else ""
    code = code or f"http_{status}"
    if code.lower() in PASSING_ERRORS:
        return ProviderUnavailable(
            f"the provider answered {code}",
            retry_after_s=retry_after_s(response, document, received_at=received_at),
            sent=code.lower() not in RATE_LIMITS,
            detail=code,
        )
    told = clean_text(redact(description, secrets), longest=_LONGEST_DESCRIPTION) if description else ""
    return ProviderRejected(
        f"the provider refused: {code}",
        error=code,
        description=told if told and request is not None else None,
        status=status,
    )


def retry_after_s(
    response: Response, document: Mapping[str, Any] | None, *, received_at: datetime
) -> float | None:
    """The provider's own wish in seconds, at most a day: the Retry-After header (RFC 9110 section 10.2.3,
    seconds or a date), else ``retry_after`` in the body.  None when it told none, or nonsense."""
    header = response.headers.get("retry-after", "").strip()
    wish = _seconds(header)
    if wish is None and header:
        wish = _until(header, received_at)
    if wish is None and document is not None:
        wish = _seconds(document.get("retry_after"))
    return None if wish is None else min(max(wish, 0.0), _LONGEST_WAIT)


def _words(document: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Error code and description, from where providers put them.

    The code is None when there is no error, and empty when there is one without a name.
    """
    error: Any = document.get("error")
    description: Any = document.get("error_description") or document.get("message")
    failed = bool(error) or document.get("ok") is False
    if isinstance(error, Mapping):
        description = error.get("message") or error.get("description") or description
        error = next((error[key] for key in ("code", "type", "error", "status") if error.get(key)), None)
    return (_text(error) or "") if failed else None, _text(description)


def _text(value: object) -> str | None:
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def _seconds(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        seconds = float(value)
    except (ValueError, OverflowError):
        return None
    return seconds if math.isfinite(seconds) else None


def _until(header: str, received_at: datetime) -> float | None:
    try:
        moment = parsedate_to_datetime(header)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - received_at).total_seconds()
