"""From the KEK URIs an operator configures to the KEKs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from authpipe.domain.errors import ConfigurationError
from authpipe.vault.keks import aws_kms_uri, local, pkcs11_uri
from authpipe.vault.keks.kek import Kek
from authpipe.vault.keks.ring import KekRing


@dataclass(frozen=True, slots=True)
class _Manner:
    production: bool
    primary: bool


def open_keks(uris: Sequence[str], *, production: bool) -> KekRing:
    """Open every KEK; the first is the primary.  Whoever gets the ring closes it.

    ``production`` refuses files with keys or PINs that other accounts can open, keys an HSM would give out
    and endpoints over plain HTTP.  Raises ``ConfigurationError`` when there is no URI, when a scheme is
    unknown and when a KEK cannot be opened; then none stays open.
    """
    if not uris:
        raise ConfigurationError("no key-encryption key is configured; give at least one URI, 'local:<path>'")
    opened: list[Kek] = []
    try:
        for uri in uris:
            opened.append(_open(uri, _Manner(production=production, primary=not opened)))
    except BaseException:
        for kek in opened:
            kek.close()
        raise
    return KekRing(opened[0], opened[1:])


def shown_uri(uri: str) -> str:
    """A KEK URI as it may be printed: without its PIN, and without what is not understood."""
    scheme, colon, rest = uri.partition(":")
    if scheme == pkcs11_uri.SCHEME:
        return pkcs11_uri.shown(rest)
    if scheme in _OPENERS:
        return uri
    return f"{scheme}:***" if colon else "***"


def _open(uri: str, manner: _Manner) -> Kek:
    scheme, colon, rest = uri.partition(":")
    opener = _OPENERS.get(scheme)
    if not colon or opener is None:
        # Only the scheme is repeated: the rest of a KEK URI may hold a PIN.
        named = f"has the unknown scheme '{scheme}'" if colon else "has no scheme"
        raise ConfigurationError(f"a KEK URI {named}; known: {', '.join(f'{known}:' for known in _OPENERS)}")
    return opener(rest, manner)


def _open_local(rest: str, manner: _Manner) -> Kek:
    if not rest:
        raise ConfigurationError("a local KEK URI needs the path of its key file: 'local:<path>'")
    return local.LocalKek.open(Path(rest), refuse_exposed=manner.production)


def _open_aws_kms(rest: str, manner: _Manner) -> Kek:
    from authpipe.vault.keks.aws_kms import AwsKmsKek

    # A KEK behind the primary only unwraps, and may have lost the right to wrap.
    return AwsKmsKek.open(rest, production=manner.production, trial=manner.primary)


def _open_pkcs11(rest: str, manner: _Manner) -> Kek:
    from authpipe.vault.keks.pkcs11 import Pkcs11Kek

    return Pkcs11Kek.open(rest, production=manner.production)


_OPENERS: Mapping[str, Callable[[str, _Manner], Kek]] = {
    local.SCHEME: _open_local,
    aws_kms_uri.SCHEME: _open_aws_kms,
    pkcs11_uri.SCHEME: _open_pkcs11,
}
