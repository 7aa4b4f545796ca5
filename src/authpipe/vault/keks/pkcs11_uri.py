"""The URI of a key in an HSM (RFC 7512), read strictly and shown without its PIN."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote, unquote_to_bytes

from authpipe.domain.errors import ConfigurationError
from authpipe.domain.secret import Secret
from authpipe.vault.keks.private_file import read_private

SCHEME = "pkcs11"

_TOKEN: Final = ("token", "serial", "model", "manufacturer")
_OBJECT: Final = ("object", "id")
_PATH: Final = (*_TOKEN, *_OBJECT, "type")
_QUERY: Final = ("module-path", "pin-source", "pin-value")
_EXAMPLE = "pkcs11:token=…;object=…?module-path=/…&pin-source=file:/…"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pkcs11Uri:
    """Which key of which token, the library that reaches it, and the PIN.

    ``token`` holds what the token must be, by attribute (``token``, its label; ``serial``; ``model``;
    ``manufacturer``).  At least one of ``label`` and ``key_id`` is there.  ``text`` is the URI with the PIN
    masked.
    """

    module_path: Path
    token: tuple[tuple[str, str], ...]
    label: str | None
    key_id: bytes | None
    pin: Secret
    text: str

    @classmethod
    def parse(cls, rest: str, *, production: bool) -> Pkcs11Uri:
        """Read what follows ``pkcs11:``, and the file that holds the PIN.

        Raises ``ConfigurationError``, repeating nothing that may be a PIN, for an attribute that is unknown
        (RFC 7512 section 2.3) or given twice, for one that is missing, and for a PIN file that cannot be read
        or, in ``production``, is open to other accounts.
        """
        path, _, query = rest.partition("?")
        named = _attributes(path, ";", _PATH)
        asked = _attributes(query, "&", _QUERY)
        if not any(name in named for name in _TOKEN) or not any(name in named for name in _OBJECT):
            raise _wrong("must say which token (token= or serial=) and which key of it (object= or id=)")
        if unquote(named.get("type", "secret-key")) != "secret-key":
            raise _wrong("must name a secret key (type=secret-key)")
        module = Path(unquote(asked.get("module-path", "")))
        if not module.is_absolute():
            raise _wrong("needs module-path=, the absolute path of the HSM's PKCS#11 library")
        return cls(
            module_path=module,
            token=tuple((name, unquote(named[name])) for name in _TOKEN if name in named),
            label=unquote(named["object"]) if "object" in named else None,
            key_id=unquote_to_bytes(named["id"]) if "id" in named else None,
            pin=_pin(asked, production=production),
            text=shown(rest),
        )


def shown(rest: str) -> str:
    """The URI with every PIN masked, also one that is malformed."""
    path, mark, query = rest.partition("?")
    parts = [
        part.partition("=")[0] + "=***" if part.startswith("pin-value") else part for part in query.split("&")
    ]
    return f"{SCHEME}:{path}{mark}{'&'.join(parts)}"


def _attributes(text: str, separator: str, known: tuple[str, ...]) -> dict[str, str]:
    given: dict[str, str] = {}
    for part in text.split(separator) if text else ():
        name, equals, value = part.partition("=")
        if not equals or not value or name in given or name not in known:
            # The part is not repeated: of a mistyped URI, any may be the PIN.
            raise _wrong(f"has an attribute that is unknown, empty or given twice; known: {', '.join(known)}")
        given[name] = value
    return given


def _pin(asked: dict[str, str], *, production: bool) -> Secret:
    value, source = asked.get("pin-value"), asked.get("pin-source")
    if (value is None) == (source is None):
        # RFC 7512 section 2.4: a URI with both is to be refused.
        raise _wrong("needs either pin-source=file:/…, the file that holds the PIN, or pin-value=")
    if value is not None:
        return Secret(unquote(value))
    path = Path(unquote(source or "").removeprefix("file:"))
    if not path.is_absolute():
        raise _wrong("needs an absolute path in pin-source=file:/…")
    text = read_private(
        path, "PIN file", remedy="write the token's PIN into it", refuse_exposed=production
    ).reveal()
    pin = text.removesuffix("\n").removesuffix("\r")
    if not pin or "\n" in pin:
        raise ConfigurationError(f"PIN file {path} must hold one line, the PIN")
    return Secret(pin)


def _wrong(problem: str) -> ConfigurationError:
    return ConfigurationError(f"a pkcs11 KEK URI {problem} ({_EXAMPLE})")
