"""From the KEK URIs an operator configures to the KEKs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from authpipe.domain.errors import ConfigurationError
from authpipe.vault.keks import local
from authpipe.vault.keks.kek import Kek
from authpipe.vault.keks.ring import KekRing


def open_keks(uris: Sequence[str], *, production: bool) -> KekRing:
    """Open every KEK; the first is the primary.

    ``production`` refuses key files that other accounts can open.  Raises ``ConfigurationError`` when there
    is no URI, when a scheme is unknown and when a KEK cannot be opened.
    """
    if not uris:
        raise ConfigurationError("no key-encryption key is configured; give at least one URI, 'local:<path>'")
    primary, *others = [_open(uri, production=production) for uri in uris]
    return KekRing(primary, others)


def _open(uri: str, *, production: bool) -> Kek:
    scheme, colon, rest = uri.partition(":")
    opener = _OPENERS.get(scheme)
    if not colon or opener is None:
        # Only the scheme is repeated: the rest of a KEK URI may hold a PIN.
        named = f"has the unknown scheme '{scheme}'" if colon else "has no scheme"
        raise ConfigurationError(f"a KEK URI {named}; known: {', '.join(f'{known}:' for known in _OPENERS)}")
    return opener(rest, production)


def _open_local(rest: str, production: bool) -> Kek:
    if not rest:
        raise ConfigurationError("a local KEK URI needs the path of its key file: 'local:<path>'")
    return local.LocalKek.open(Path(rest), refuse_exposed=production)


_OPENERS: Mapping[str, Callable[[str, bool], Kek]] = {local.SCHEME: _open_local}
