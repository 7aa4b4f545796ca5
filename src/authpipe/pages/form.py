"""Reading a posted form: bounded, and every value a ``Secret`` from the moment it is one."""

from __future__ import annotations

from urllib.parse import parse_qsl

from starlette.requests import Request

from authpipe.domain.errors import ConnectError
from authpipe.domain.secret import Secret

#: Bytes.  Two key fields of the longest kind fit, percent-encoded.
_LONGEST = 65_536
_MOST_FIELDS = 32


async def read_form(request: Request) -> dict[str, Secret]:
    """The fields of an ``application/x-www-form-urlencoded`` body.

    Raises ``ConnectError`` (``form_too_large``, ``form_unreadable``: another type, not UTF-8, or a field
    that stands twice) without any of what was sent.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LONGEST:
            raise ConnectError("What was sent is too long. Go back and try again.", code="form_too_large")
    fields = _fields(bytes(body)) if kind == "application/x-www-form-urlencoded" else None
    if fields is None:
        raise ConnectError("The form cannot be read. Go back and try again.", code="form_unreadable")
    return fields


def _fields(body: bytes) -> dict[str, Secret] | None:
    try:
        pairs = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS
        )
        fields = {name: Secret(value) for name, value in pairs}
    except ValueError:
        # The error quotes what could not be decoded, so it goes no further.
        return None
    return fields if len(fields) == len(pairs) else None
