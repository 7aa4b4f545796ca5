"""One-time values: 256 random bits for the browser, their SHA-256 for the database."""

from __future__ import annotations

import hashlib
import secrets
from datetime import timedelta

from authpipe.domain.secret import Secret

#: How long a link may be opened and an authorization may take.
SESSION_LIFETIME = timedelta(minutes=10)
#: How long a candidate waits for the application's confirmation.
CANDIDATE_LIFETIME = timedelta(minutes=10)


def new_value() -> Secret:
    """256 bits from the system's generator, as 43 characters that are safe in a URL and a cookie."""
    return Secret(secrets.token_urlsafe(32))


def digest(value: Secret) -> bytes:
    """What is stored and looked up.  A plain hash suffices: the value has nothing to guess."""
    return hashlib.sha256(value.reveal_bytes()).digest()
