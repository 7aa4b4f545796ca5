"""The simulator's time: a given clock, shifted by an offset that the control API moves."""

from __future__ import annotations

from datetime import datetime, timedelta

from authpipe.domain.clock import Clock


class ShiftedClock:
    """Another clock plus :attr:`offset`.  Moving the offset lets tokens expire without waiting."""

    def __init__(self, source: Clock) -> None:
        self._source = source
        self.offset = timedelta(0)

    def now(self) -> datetime:
        return self._source.now() + self.offset
