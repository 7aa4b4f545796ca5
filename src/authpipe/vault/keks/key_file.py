"""The text of a local key file.

A first line with name and version, the key, a checksum that tells a damaged file from a wrong one::

    authpipe-kek 1
    key 6q0…          (43 characters of URL-safe base64: 256 bits)
    checksum 1f3a…    (first 16 hexadecimal digits of SHA-256 over the two lines above)

Lines that are empty or begin with ``#`` are free text.
"""

from __future__ import annotations

import base64
import binascii
import hashlib

from authpipe.domain.secret import Secret
from authpipe.vault.aes_key import AesKey

_NAME = "authpipe-kek"
_FIRST_LINE = f"{_NAME} 1"
_PREAMBLE = """\
# Authpipe key-encryption key.  With this file and the database, every stored secret can be read;
# without it, none can.  Keep a copy apart from the database's backups and show it to nobody.
"""


def format_key_file(key: AesKey) -> Secret:
    """The file that holds ``key``."""
    body = f"{_FIRST_LINE}\nkey {_encode(key.reveal_key_bytes())}\n"
    return Secret(f"{_PREAMBLE}{body}checksum {_checksum(body)}\n")


def find_problem(text: Secret) -> str | None:
    """Why the text is not a key file, without a byte of it; None when it is one."""
    lines = _lines(text)
    if not lines or lines[0].split(" ")[0] != _NAME:
        return f"does not begin with '{_NAME}'"
    if lines[0] != _FIRST_LINE:
        return "has a version this release does not know"
    if len(lines) != 3 or not lines[1].startswith("key ") or not lines[2].startswith("checksum "):
        return "must have exactly one 'key' line and one 'checksum' line"
    if lines[2] != "checksum " + _checksum(f"{lines[0]}\n{lines[1]}\n"):
        return "is damaged: its checksum does not match"
    return None if _decode(lines[1]) is not None else "holds a key that is not 256 bits of URL-safe base64"


def key_in(text: Secret) -> AesKey:
    """The key of a text that has no problem."""
    value = _decode(_lines(text)[1])
    if value is None:
        raise ValueError("the key file has a problem")
    return AesKey(value)


def _lines(text: Secret) -> list[str]:
    stripped = [line.strip() for line in text.reveal().splitlines()]
    return [line for line in stripped if line and not line.startswith("#")]


def _encode(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")


def _decode(line: str) -> bytes | None:
    encoded = line.removeprefix("key ")
    try:
        value = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    return value if len(value) == 32 else None


def _checksum(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()[:16]
