"""Loads named queries: ``sql/<aggregate>.sql`` holds statements, each under a line ``-- name: <name>``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib import resources

_NAME = re.compile(r"^-- name: ([a-z_]+)\n", re.MULTILINE)


@cache
def load(aggregate: str) -> Mapping[str, str]:
    """The statements of one aggregate by name.  Raises ``LookupError`` when a name stands twice."""
    text = (resources.files("authpipe.store") / "sql" / f"{aggregate}.sql").read_text(encoding="utf-8")
    parts = _NAME.split(text)
    statements: dict[str, str] = {}
    for name, statement in zip(parts[1::2], parts[2::2], strict=True):
        if name in statements:
            raise LookupError(f"{aggregate}.sql names the query {name} twice")
        statements[name] = statement.strip().rstrip(";")
    return statements
