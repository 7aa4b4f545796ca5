"""Writes a request value in the form the wire takes.  The one place where its secrets become text."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from urllib.parse import urlencode

from yarl import URL

from authpipe.domain.errors import InvalidInput
from authpipe.domain.secret import Secret
from authpipe.net.message import Request, Value

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110 section 5.6.2
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e]*")
#: Framing and routing belong to the client; a caller that sets them could smuggle a second request.
_OURS = frozenset(
    {"connection", "content-length", "expect", "host", "proxy-authorization", "te", "trailer"}
    | {"transfer-encoding", "upgrade"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class WireRequest:
    """A request with its secrets in plain text.  Lives only for the duration of the call; prints nothing."""

    method: str
    url: URL = field(repr=False)
    headers: dict[str, str] = field(repr=False)
    body: bytes | None = field(repr=False)


def write(request: Request) -> WireRequest:
    """Check and encode a request.

    Raises ``InvalidInput``, naming the offending part and never its value, when a header could break the
    framing of HTTP (RFC 9112 section 11.1), a value is not text that UTF-8 can hold, or the method is not one
    of GET, HEAD, POST, PUT, PATCH, DELETE.
    """
    if request.method not in _METHODS:
        raise InvalidInput("the method of a provider request is not supported", field="method")
    if request.form is not None and request.json is not None:
        raise InvalidInput("a provider request has either a form or a JSON body", field="form")
    headers: dict[str, str] = {}
    for name, value in request.headers.items():
        if not _HEADER_NAME.fullmatch(name) or name.lower() in _OURS:
            raise InvalidInput("a provider request may not set this header", field="headers")
        text = _reveal(value)
        if not _HEADER_VALUE.fullmatch(text):
            raise InvalidInput(
                f"the value of the header {name} must be printable ASCII on one line", field="headers"
            )
        headers[name] = text
    body: bytes | None = None
    if request.form is not None:
        body = urlencode({name: _reveal(value) for name, value in request.form.items()}).encode("ascii")
        headers.setdefault("Content-Type", "application/x-www-form-urlencoded")
    elif request.json is not None:
        body = json.dumps({name: _reveal(value) for name, value in request.json.items()}).encode("ascii")
        headers.setdefault("Content-Type", "application/json")
    url = URL(request.url)
    if request.query:
        url = url.extend_query([(name, _reveal(value)) for name, value in request.query.items()])
    return WireRequest(method=request.method, url=url, headers=headers, body=body)


def _reveal(value: Value) -> str:
    text = value.reveal() if isinstance(value, Secret) else value
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise InvalidInput("a value of a provider request is not valid Unicode text")
    return text
