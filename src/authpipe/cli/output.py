"""What commands print: tables for people, one JSON document for scripts."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from enum import Enum
from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:
    from rich.console import Console

_DASH = "\N{EN DASH}"


def console(*, stderr: bool = False) -> Console:
    """A console on standard output or standard error, as wide as the terminal (80 columns without one)."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False)


def print_json(document: Mapping[str, Any]) -> None:
    """One JSON document on standard output.  Times are RFC 3339 in UTC."""
    sys.stdout.write(json.dumps(document, default=_plain, ensure_ascii=False, indent=2) + "\n")


def print_line(text: str) -> None:
    """One line on standard output, never wrapped."""
    sys.stdout.write(text + "\n")


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """A table, or the line ``empty`` when there is no row.

    The first column is what commands take as an argument: it is never broken.
    """
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
    for position, column in enumerate(columns):
        table.add_column(column, no_wrap=position == 0, overflow="fold")
    for row in rows:
        table.add_row(*(Text(shown(value), style=style_of(value)) for value in row))
    if table.row_count:
        console().print(table)
    else:
        print_line(empty)


def print_facts(facts: Mapping[str, object]) -> None:
    """Names and values, one a line; a value that is too long for its line goes on below itself."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(name, Text(shown(value), style=style_of(value)))
    console().print(table)


def shown(value: object) -> str:
    """A value as people read it."""
    if value is None or value == "" or value == ():
        return _DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={shown(each)}" for name, each in value.items()) or _DASH
    if isinstance(value, list | tuple | set | frozenset):
        return ", ".join(shown(each) for each in value) or _DASH
    return str(value)


def style_of(value: object) -> str:
    """The colour of a status word; nothing for anything else."""
    return {
        "active": "green",
        "enabled": "green",
        "needs_reauth": "yellow",
        "suspended": "yellow",
        "failed": "red",
        "problem": "red",
        "revoked": "dim",
        "deleted": "dim",
        "disabled": "dim",
        "expired": "dim",
    }.get(shown(value), "")


def _plain(value: object) -> object:
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, tuple | set | frozenset):
        return list(value)
    raise TypeError(f"{type(value).__name__} is no part of a document")
