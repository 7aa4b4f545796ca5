"""Identifiers: UUIDv7 for what Authpipe names, opaque text for what the application names."""

from __future__ import annotations

import os
import re
import time
import uuid

from authpipe.domain.errors import InvalidInput

#: What a tenant or user id may look like: printable ASCII without spaces, so that it is safe in a header,
#: a log line and an encryption context.  ``*`` is excluded: row-level security uses it for "every tenant".
_OPAQUE_ID = re.compile(r"[!-)+-~]{1,200}")


def new_id() -> uuid.UUID:
    """A UUIDv7 (RFC 9562 section 5.7): 48 bits of Unix milliseconds, 12 of their fraction, 62 random.

    Time-ordered to a quarter of a microsecond (section 6.2, method 3), so that hot tables need no sequence,
    indexes stay dense, and two events of one transaction keep their order.
    """
    return uuid.UUID(int=_version_7())


def new_id_text() -> str:
    """As :func:`new_id`, in half the time for what needs only the text."""
    digits = f"{_version_7():032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _version_7() -> int:
    milliseconds, rest = divmod(time.time_ns(), 1_000_000)
    fraction = rest * 4096 // 1_000_000
    high = (milliseconds & 0xFFFF_FFFF_FFFF) << 16 | 0x7000 | fraction
    low = 0b10 << 62 | int.from_bytes(os.urandom(8), "big") >> 2
    return high << 64 | low


def made_at(identifier: uuid.UUID) -> float | None:
    """When an id was made, in seconds since 1970; None unless it is of version 7."""
    return (identifier.int >> 80) / 1000 if identifier.version == 7 else None


def parse_id(value: str, *, field: str) -> uuid.UUID:
    """Read an id of ours.  Raises ``InvalidInput`` naming ``field`` when it is not a UUID."""
    try:
        return uuid.UUID(value)
    except ValueError:
        raise InvalidInput(f"{field} must be a UUID as returned by the API", field=field) from None


def check_opaque_id(value: str, *, field: str) -> str:
    """Validate a tenant or user id chosen by the application and return it unchanged."""
    if _OPAQUE_ID.fullmatch(value) is None:
        raise InvalidInput(
            f"{field} must be 1 to 200 printable ASCII characters without spaces or '*'",
            field=field,
        )
    return value
