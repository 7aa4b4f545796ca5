"""Dotted paths into a JSON document, as definitions write them."""

from __future__ import annotations

from collections.abc import Mapping


def read_path(document: object, path: str) -> object | None:
    """The value at ``path`` (``team.id``, ``values.0.name``), or None where the path leads nowhere.

    A part of digits is an index into a list.  JSON null and a missing value are the same: None.
    """
    found = document
    for part in path.split("."):
        if isinstance(found, Mapping):
            found = found.get(part)
        elif isinstance(found, list | tuple) and part.isascii() and part.isdigit() and len(part) < 10:
            index = int(part)
            found = found[index] if index < len(found) else None
        else:
            return None
    return found
