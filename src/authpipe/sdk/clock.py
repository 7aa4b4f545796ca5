"""Time as the SDK needs it: elapsed seconds for deadlines, wall time only where the server told none."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable
from typing import Protocol


class Clock(Protocol):
    """Tells the time.  Both members are plain callables, so the cache can keep one and call it directly."""

    @property
    def elapsed(self) -> Callable[[], float]:
        """Seconds since an arbitrary start.  Never steps with the wall clock; goes on while asleep."""
        ...

    @property
    def wall(self) -> Callable[[], float]:
        """Seconds since 1970 in UTC."""
        ...


def _elapsed_through_sleep() -> Callable[[], float]:
    # Linux's CLOCK_MONOTONIC stands still while the machine sleeps: a laptop waking after an hour would
    # take an expired token for fresh.  CLOCK_BOOTTIME does not.  On macOS CLOCK_MONOTONIC is the one that
    # goes on, and time.monotonic the one that stops.  On Windows time.monotonic goes on.
    if sys.platform.startswith("linux"):
        return functools.partial(time.clock_gettime, time.CLOCK_BOOTTIME)
    if sys.platform == "darwin":
        return functools.partial(time.clock_gettime, time.CLOCK_MONOTONIC)
    return time.monotonic


class SystemClock:
    """The machine's clocks."""

    __slots__ = ("elapsed", "wall")

    def __init__(self) -> None:
        self.elapsed: Callable[[], float] = _elapsed_through_sleep()
        self.wall: Callable[[], float] = time.time
