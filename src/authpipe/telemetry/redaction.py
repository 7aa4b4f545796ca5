"""Takes secrets out of text and of log values: by identity, by the name of a key, and by shape.

Shapes are the last wall, for text that foreign code wrote.  They prefer to mask a harmless word over letting
a credential through.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from datetime import date, datetime
from enum import Enum
from pathlib import PurePath
from urllib.parse import quote, quote_plus
from uuid import UUID

from authpipe.domain.secret import Secret

#: What stands in the place of a secret.
REDACTED = "***"

#: Shorter values would shred the text around them, and are no secrets anyone should rely on.
_SHORTEST_SECRET = 4
_DEEPEST = 8
_LONGEST_TEXT = 20_000

_SECRET_WORDS = frozenset(
    {
        "apikey", "authorization", "bearer", "completion", "cookie", "cookies", "credential", "credentials",
        "dek", "jwt", "kek", "passphrase", "passwd", "password", "plaintext", "secret", "secrets",
        "setcookie", "signature", "token", "tokens", "verifier",
    }
)  # fmt: skip
_SECRET_NAMES = frozenset(
    {
        "api_key", "auth_code", "authorization_code", "code", "completion_code", "device_code",
        "oauth_state", "private_key", "signing_key", "state", "user_code", "x_api_key",
    }
)  # fmt: skip
#: A last word that turns the name into a fact about the secret instead of the secret.
_FACT_WORDS = frozenset(
    {"at", "count", "endpoint", "for", "hash", "id", "ids", "kind", "method", "name", "s", "source", "status"}
    | {"type", "uri", "url", "version"}
)

_NAMED = (
    r"access_token|refresh_token|id_token|client_secret|code_verifier|api_?key|passw(?:or)?d|passphrase"
    r"|authorization|cookie|secret|token"
)
_SHAPES: tuple[tuple[re.Pattern[str], str], ...] = (
    # user:password@ in a URL
    (re.compile(r"(?i)(\b[a-z][a-z0-9+.-]*://)[^\s/@:'\"]*:[^\s/@'\"]*@"), r"\1***@"),
    # the query of a URL or of a request line; codes and states travel there
    (re.compile(r"(?i)((?:\b[a-z][a-z0-9+.-]*:/)?/[^\s?#\"'<>]*)\?[^\s\"'<>]+"), r"\1?***"),
    # values of the Authorization header; "bot" and "token" are also words, so those need a digit
    (re.compile(r"(?i)\b(Bearer|Basic)\s+[A-Za-z0-9._~+/=-]{6,}"), r"\1 ***"),
    (re.compile(r"(?i)\b(Bot|token)\s+(?=\S*\d)[A-Za-z0-9._~+/=-]{8,}"), r"\1 ***"),
    # name=value, "name": "value", name: value
    (
        re.compile(
            r"(?i)\b(" + _NAMED + r")(['\"]?\s*[=:]\s*['\"]?)"
            r"(?!\*\*\*|Bearer |Basic |Bot |Secret\()[^\s'\"&,;})]+"
        ),
        r"\1\2***",
    ),
    # keys and tokens that carry their kind in front, ours and others'
    (
        re.compile(r"\b(apk_|xox[a-z]+-|xapp-|gh[a-z]_|github_pat_|sk_|rk_|whsec_)[A-Za-z0-9_.-]{6,}"),
        r"\1***",
    ),
    # JSON Web Tokens
    (re.compile(r"\beyJ[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*){1,4}"), "***"),
    # what looks random: 20 or more characters of base64url with a digit and both cases
    (
        re.compile(
            r"(?<![A-Za-z0-9_-])(?=[A-Za-z_-]*\d)(?=[a-z0-9_-]*[A-Z])(?=[A-Z0-9_-]*[a-z])[A-Za-z0-9_-]{20,}"
        ),
        "***",
    ),
)


def redact(text: str, secrets: Iterable[Secret]) -> str:
    """The text with every given secret masked, also where it stands percent-encoded or JSON-escaped."""
    variants: set[str] = set()
    for secret in secrets:
        plain = secret.reveal()
        if len(plain) >= _SHORTEST_SECRET:
            variants |= {plain, quote(plain, safe=""), quote(plain), quote_plus(plain)}
            variants.add(json.dumps(plain)[1:-1])
    for variant in sorted(variants, key=len, reverse=True):
        text = text.replace(variant, REDACTED)
    return text


def redact_shapes(text: str) -> str:
    """The text without anything that looks like a credential, and with the queries of URLs cut off.

    At most 20,000 characters are kept.
    """
    if len(text) > _LONGEST_TEXT:
        text = text[:_LONGEST_TEXT] + " (cut)"
    for pattern, replacement in _SHAPES:
        text = pattern.sub(replacement, text)
    return text


def names_a_secret(key: str) -> bool:
    """Whether a value under this key is a secret by its name: ``refresh_token``, ``X-Api-Key``, ``state``."""
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", key).lower().replace("-", "_").replace(".", "_")
    if name in _SECRET_NAMES:
        return True
    words = name.split("_")
    return words[-1] not in _FACT_WORDS and not _SECRET_WORDS.isdisjoint(words)


def redact_value(key: str, value: object) -> object:
    """A value as plain data for a log line: secrets masked, containers walked, anything else as its text.

    The result holds only what JSON can hold, and never an object of ours.
    """
    return _redacted(key, value, 0)


def _redacted(key: str, value: object, depth: int) -> object:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Secret) or names_a_secret(key):
        return REDACTED
    if isinstance(value, Enum):
        return _redacted(key, value.value, depth + 1)
    if isinstance(value, int | float):
        return value
    if isinstance(value, str):
        return redact_shapes(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return f"({len(value)} bytes)"
    if isinstance(value, UUID | PurePath):
        return str(value)
    if isinstance(value, date | datetime):
        return value.isoformat()
    if depth >= _DEEPEST:
        return "(nested too deeply)"
    if isinstance(value, Mapping):
        items = [(str(name), item) for name, item in value.items()]
        return {redact_shapes(name): _redacted(name, item, depth + 1) for name, item in items}
    if isinstance(value, list | tuple | set | frozenset):
        return [_redacted("", item, depth + 1) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        shown = [field.name for field in fields(value) if field.repr]
        return {name: _redacted(name, getattr(value, name), depth + 1) for name in shown}
    if isinstance(value, BaseException):
        return redact_shapes(f"{type(value).__name__}: {value}")
    return redact_shapes(repr(value))
