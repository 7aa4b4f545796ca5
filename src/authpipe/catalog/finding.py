"""What a reader or a check has to say about a provider definition."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """``error``: the definition cannot be used.  ``advice``: it can, and would be better otherwise."""

    ERROR = "error"
    ADVICE = "advice"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One fault: the dotted key it stands at, and what is wrong together with the remedy."""

    key: str
    message: str
    severity: Severity = Severity.ERROR
