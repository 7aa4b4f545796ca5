"""Proof Key for Code Exchange (RFC 7636), method S256 only."""

from __future__ import annotations

import base64
import hashlib
import secrets

from authpipe.domain.secret import Secret


def new_verifier() -> Secret:
    """A fresh verifier of 256 random bits in 43 characters, the shortest RFC 7636 section 4.1 allows."""
    return Secret(secrets.token_urlsafe(32))


def challenge(verifier: Secret) -> str:
    """The S256 challenge of a verifier (RFC 7636 section 4.2).  It may stand in a URL."""
    digest = hashlib.sha256(verifier.reveal_bytes()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")
