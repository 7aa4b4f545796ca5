"""One line of the table: a value, what it is compared with in the same run, and the bar it must clear."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """``value`` in ``unit``.  ``ratio`` is value by reference value.

    ``bar`` reads ``<= 0.5`` or ``>= 2``; it is about the ratio when ``of_ratio``, about the value otherwise.
    Without a bar the line is there to be read.
    """

    name: str
    value: float
    unit: str
    reference: str | None = None
    reference_value: float | None = None
    bar: str | None = None
    of_ratio: bool = False

    @property
    def ratio(self) -> float | None:
        """The value, measured in reference values."""
        if self.reference_value is None or self.reference_value == 0:
            return None
        return self.value / self.reference_value

    @property
    def met(self) -> bool | None:
        """Whether the bar is cleared; None without a bar."""
        if self.bar is None:
            return None
        sign, _, limit = self.bar.partition(" ")
        measured = self.ratio if self.of_ratio else self.value
        if measured is None:
            return False
        return measured <= float(limit) if sign == "<=" else measured >= float(limit)

    def document(self) -> dict[str, Any]:
        """As it stands in ``results.json``."""
        plain = asdict(self)
        del plain["of_ratio"]
        bar = None if self.bar is None else f"{self.bar} {'x the reference' if self.of_ratio else self.unit}"
        return {
            **plain,
            "value": _rounded(self.value),
            "reference_value": None if self.reference_value is None else _rounded(self.reference_value),
            "ratio": None if self.ratio is None else _rounded(self.ratio),
            "bar": bar,
            "met": self.met,
        }


def _rounded(value: float) -> float:
    """Four digits: more would be noise."""
    return float(f"{value:.4g}")
