"""The text of an API key: ``apk_<8 lower-case base32 characters>_<43 base64url characters>``.

The first two parts are the prefix, which is public and tells keys apart; the last is 256 random bits.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets

from authpipe.domain.errors import Unauthenticated
from authpipe.domain.secret import Secret

#: The last character carries four bits: any other is not what encoding 32 bytes gives.
_KEY = re.compile(r"(apk_[a-z2-7]{8})_[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]")
_PREFIX_BYTES = 5
_SECRET_BYTES = 32

#: One message for every reason, so that a caller cannot learn which keys exist.
_REFUSED = "a valid API key is needed: send it as 'Authorization: Bearer <key>'"


def refused() -> Unauthenticated:
    """The one answer to a key that is missing, malformed, unknown, revoked or expired."""
    return Unauthenticated(_REFUSED)


def new_key() -> Secret:
    """A new key from the system's source of randomness."""
    prefix = base64.b32encode(secrets.token_bytes(_PREFIX_BYTES)).decode().lower()
    return Secret(f"apk_{prefix}_{secrets.token_urlsafe(_SECRET_BYTES)}")


def key_prefix(key: Secret) -> str:
    """The public part, such as ``apk_k3x2m4qa``.  Raises ``Unauthenticated`` when the text is not a key."""
    return _read(key).group(1)


def key_hash(key: Secret) -> bytes:
    """SHA-256 of the whole text, which is what is stored.

    A slow hash would protect nothing here: 256 random bits cannot be guessed.  Raises ``Unauthenticated``
    when the text is not a key, so that no database work is done for it.
    """
    return hashlib.sha256(_read(key).group().encode("ascii")).digest()


def _read(key: Secret) -> re.Match[str]:
    found = _KEY.fullmatch(key.reveal())
    if found is None:
        raise refused()
    return found
