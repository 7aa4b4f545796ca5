"""What a quirk is: a named deviation, and the standard behaviours it replaces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class CallbackQuery(Protocol):
    """Splits the raw query of a callback into names and values, in order, repetitions kept."""

    def __call__(self, raw_query: str) -> list[tuple[str, str]]:
        """Raises ``ValueError`` for a query that is not one."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Quirk:
    """A deviation that definitions refer to by ``name``.  A behaviour left None stays the standard one."""

    name: str
    summary: str
    callback_query: CallbackQuery | None = None
