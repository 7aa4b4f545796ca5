"""Answers and credentials as they stand on the wire."""

from __future__ import annotations

import base64
import binascii
import json
from urllib.parse import unquote_plus

from aiohttp import web


def json_answer(document: object, *, status: int = 200) -> web.Response:
    """A JSON answer whose type is exactly ``application/json``: discord.py reads no other spelling."""
    return web.Response(status=status, body=json.dumps(document).encode(), content_type="application/json")


def authorization(request: web.Request) -> tuple[str, str]:
    """Scheme (lower case) and value of the Authorization header; two empty strings when absent."""
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    return scheme.lower(), value.strip()


def basic_pair(request: web.Request, *, form_encoded: bool = False) -> tuple[str, str] | None:
    """Username and password of HTTP Basic (RFC 7617), or ``None`` when absent or unreadable.

    ``form_encoded`` undoes the encoding that RFC 6749 section 2.3.1 applies to client credentials.
    """
    scheme, value = authorization(request)
    if scheme != "basic":
        return None
    try:
        username, colon, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    if not colon:
        return None
    return (unquote_plus(username), unquote_plus(password)) if form_encoded else (username, password)
