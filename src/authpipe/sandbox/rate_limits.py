"""Fixed-window request limits per route and credential."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from datetime import datetime

from authpipe.domain.clock import Clock

#: Generous, so that nothing meets the limit by accident; the control API lowers it.
DEFAULT_LIMIT = 100_000
DEFAULT_WINDOW_S = 1.0


@dataclass(frozen=True)
class Reading:
    """The bucket after one request: whether it was admitted, and what its headers say (seconds)."""

    admitted: bool
    limit: int
    remaining: int
    reset_at: float
    reset_after: float
    bucket: str


class RateLimiter:
    """Counts requests per bucket; windows begin with their first request."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.limit = DEFAULT_LIMIT
        self.window_s = DEFAULT_WINDOW_S
        self._windows: dict[tuple[str, str], tuple[datetime, int]] = {}

    def configure(self, limit: int, window_s: float) -> None:
        """Set the limit of every bucket and forget what was counted."""
        self.limit, self.window_s = limit, window_s
        self._windows.clear()

    def take(self, route: str, credential: str) -> Reading:
        """Count one request of ``credential`` (any text that tells callers apart) on ``route``."""
        now = self._clock.now()
        key = (route, credential)
        start, used = self._windows.get(key, (now, 0))
        elapsed = (now - start).total_seconds()
        if elapsed >= self.window_s or elapsed < 0:
            start, used, elapsed = now, 0, 0.0
        admitted = used < self.limit
        used += admitted
        self._windows[key] = (start, used)
        reset_after = max(self.window_s - elapsed, 0.0)
        return Reading(
            admitted=admitted,
            limit=self.limit,
            remaining=self.limit - used,
            reset_at=math.floor((now.timestamp() + reset_after) * 1000) / 1000,
            reset_after=round(reset_after, 3),
            bucket=hashlib.sha256(route.encode()).hexdigest()[:32],
        )
