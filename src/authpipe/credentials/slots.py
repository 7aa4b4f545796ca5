"""How many calls one provider gets at a time: more while it keeps up, fewer when it complains."""

from __future__ import annotations

import asyncio
from collections import deque
from datetime import datetime, timedelta

from authpipe.domain.clock import Clock

#: While a provider comes back, so long until it gets twice as many calls at a time.
DOUBLES_EVERY = timedelta(seconds=5)
_AFTER_TRIAL = 2
#: Complaints of one moment count as one.
_MOMENT = timedelta(seconds=1)


class Slots:
    """Begins with ``first`` and grows by one for each round of answers while all are in use, up to ``most``.

    A complaint halves it.  After :meth:`begin_again` there are two, then twice as many every five seconds, up
    to where it was: a provider that was away meets no storm.  Belongs to one event loop.
    """

    def __init__(self, clock: Clock, *, first: int, most: int) -> None:
        self._clock = clock
        self._first = first
        self._most = max(most, first)
        self._goal = float(first)
        self._comes_back_since: datetime | None = None
        self._complained: datetime | None = None
        self._in_use = 0
        self._was_full = False
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def limit(self) -> int:
        """How many calls may be under way now."""
        goal = int(self._goal)
        if self._comes_back_since is not None:
            doublings = max((self._clock.now() - self._comes_back_since) // DOUBLES_EVERY, 0)
            now = _AFTER_TRIAL << min(doublings, 20)
            if now < goal:
                return now
            self._comes_back_since = None
        return goal

    async def acquire(self) -> None:
        """Wait for a slot, in turn."""
        if self._in_use < self.limit and not self._waiting:
            self._in_use += 1
            return
        self._was_full = True
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release()  # the slot had just been given
            raise

    def release(self) -> None:
        """Give a slot back."""
        self._in_use -= 1
        limit = self.limit
        while self._waiting and self._in_use < limit:
            turn = self._waiting.popleft()
            if not turn.done():
                self._in_use += 1
                turn.set_result(None)

    def answered(self) -> None:
        """A call was answered as it should be."""
        if self._was_full:
            self._goal = min(self._goal + 1 / self._goal, self._most)
            self._was_full = bool(self._waiting)

    def complained(self) -> None:
        """The provider was away, too slow, or said that it is too much."""
        now = self._clock.now()
        if self._comes_back_since is not None:
            self._comes_back_since = now
        elif self._complained is None or now - self._complained >= _MOMENT:
            self._complained = now
            self._goal = max(self._goal / 2, 1.0)

    def begin_again(self) -> None:
        """The provider was away for some time and is back: two calls at a time, and soon more."""
        self._goal = max(self._goal, self._first)
        self._comes_back_since = self._clock.now()
