"""What an audit chain's hashes are computed from.  No database, no vault: a stranger can compute the same.

``hash[n] = SHA-256("authpipe audit chain 1" 0x00 || hash[n-1] || n || event)`` with ``hash[0]`` = 32 zero
bytes and ``n`` as 8 bytes, big-endian.  ``event`` is its 13 columns in the order of :data:`FIELDS`, each as
one zero byte when it is null and otherwise as a byte 1, its length in 4 bytes, big-endian, and its UTF-8.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import NamedTuple

from authpipe.domain.errors import InvalidInput

#: An event's columns in the order in which they are hashed; the names are those of an export's fields.
#: ``created_at`` is UTC with six digits of a second; ``data`` is the text PostgreSQL prints for the value.
FIELDS = (
    "environment_id", "event_id", "tenant_id", "type", "object_kind", "object_id", "actor_kind", "actor_id",
    "request_id", "source_address", "outcome", "data", "created_at",
)  # fmt: skip

#: What the first link follows.
FIRST_HASH = bytes(32)

_DOMAIN = b"authpipe audit chain 1\x00"
_NOTED = re.compile(r"(\d{1,18}):([0-9a-fA-F]{64})")


class Head(NamedTuple):
    """A place in a chain: everything up to ``position`` is fixed by ``hash``."""

    position: int
    hash: bytes

    def __str__(self) -> str:
        return f"{self.position}:{self.hash.hex()}"


#: Before the first link.
BEGINNING = Head(0, FIRST_HASH)


def read_head(text: str) -> Head:
    """A head as it was noted, ``POSITION:HASH``.  Raises ``InvalidInput``."""
    found = _NOTED.fullmatch(text.strip())
    if found is None:
        raise InvalidInput("a head is POSITION:HASH, the hash in 64 hexadecimal digits", field="expect")
    return Head(int(found[1]), bytes.fromhex(found[2]))


def encode_record(record: Sequence[str | None]) -> bytes:
    """An event's columns as bytes; no two different events become the same.

    A text that is no Unicode (a lone surrogate, which no database returns) has bytes of its own too.
    """
    parts = []
    for value in record:
        if value is None:
            parts.append(b"\x00")
        else:
            text = value.encode("utf-8", "surrogatepass")
            parts.append(b"\x01" + len(text).to_bytes(4, "big") + text)
    return b"".join(parts)


def link(previous: Head, record: Sequence[str | None]) -> Head:
    """The head after one more event."""
    position = previous.position + 1
    digest = hashlib.sha256(
        _DOMAIN + previous.hash + position.to_bytes(8, "big") + encode_record(record)
    ).digest()
    return Head(position, digest)
