"""The secrets a request carried, so that an answer which echoes them can be cleaned."""

from __future__ import annotations

import base64
import binascii
from urllib.parse import unquote_plus

from authpipe.domain.secret import Secret
from authpipe.net.message import Request


def sent_secrets(request: Request) -> tuple[Secret, ...]:
    """Every ``Secret`` in the request, and what stands inside an Authorization value (scheme, Basic pair)."""
    values = [
        value
        for part in (request.headers, request.query, request.form or {}, request.json or {})
        for value in part.values()
        if isinstance(value, Secret)
    ]
    inner = [secret for value in values for secret in _inside(value)]
    return (*values, *inner)


def _inside(value: Secret) -> list[Secret]:
    scheme, space, rest = value.reveal().partition(" ")
    if not space or not rest:
        return []
    found = [Secret(rest)]
    if scheme.lower() == "basic":
        try:
            _, _, password = base64.b64decode(rest, validate=True).decode("utf-8").partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return found
        found += [Secret(password), Secret(unquote_plus(password))]
    return found
