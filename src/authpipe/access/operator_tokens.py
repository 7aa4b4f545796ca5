"""What browsers of operators hold: 256 random bits in a cookie or link, their SHA-256 in the database."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from uuid import UUID

from authpipe.domain.secret import Secret

_KNOWN_BROWSER = b"authpipe known browser v1\0"


def new_token() -> Secret:
    """256 bits from the system's generator, as 43 characters that are safe in a URL and a cookie."""
    return Secret(secrets.token_urlsafe(32))


def token_hash(token: Secret) -> bytes:
    """What is stored and looked up.  A plain hash suffices: the value has nothing to guess."""
    return hashlib.sha256(token.reveal_bytes()).digest()


def new_browser_key() -> bytes:
    """The key of an operator's marks; a new one makes every earlier mark worthless."""
    return secrets.token_bytes(32)


def browser_mark(key: bytes, operator_id: UUID) -> Secret:
    """The mark of a browser in which this operator signed in: HMAC-SHA256, 43 characters."""
    made = hmac.digest(key, _KNOWN_BROWSER + operator_id.bytes, "sha256")
    return Secret(base64.urlsafe_b64encode(made).rstrip(b"=").decode())
