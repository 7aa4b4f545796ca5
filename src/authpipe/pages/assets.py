"""Style sheet, script and mark, under names that change with their content."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from types import MappingProxyType

_TYPES = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
PREFIX = "/pages/"


@dataclass(frozen=True, slots=True)
class Asset:
    """One static file, as it is served."""

    content: bytes
    media_type: str


class Assets:
    """The files of ``static/``, read once.  A served name holds 64 bits of its content's SHA-256."""

    def __init__(self) -> None:
        self._served: dict[str, Asset] = {}
        self._addresses: dict[str, str] = {}
        for file in files("authpipe.pages").joinpath("static").iterdir():
            stem, _, ending = file.name.rpartition(".")
            media_type = _TYPES.get(ending)
            if media_type is None:
                continue
            content = file.read_bytes()
            name = f"{stem}.{hashlib.sha256(content).hexdigest()[:16]}.{ending}"
            self._served[name] = Asset(content, media_type)
            self._addresses[file.name] = PREFIX + name

    @property
    def addresses(self) -> Mapping[str, str]:
        """The address of each file by its plain name."""
        return MappingProxyType(self._addresses)

    def get(self, name: str) -> Asset | None:
        """The file served under this name, or None."""
        return self._served.get(name)
