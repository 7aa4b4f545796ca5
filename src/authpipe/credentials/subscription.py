"""One reader of a change stream: what it has yet to be sent, in a bounded queue."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from authpipe.credentials.change_frames import RESET
from authpipe.domain.environment import ApiKey

#: Frames that are sent together: what a slow reader keeps in memory besides the queue.
_TOGETHER = 100


class Subscription:
    """Hears of one environment, or of one tenant of it, for as long as its API key is good.

    ``limit`` is how many changes may wait.  One more, and all of them make way for a reset: a reader that is
    too slow costs no more memory than that, and nobody else anything.
    """

    __slots__ = ("_cut", "_frames", "_limit", "_wake", "api_key", "ended")

    def __init__(self, api_key: ApiKey, *, limit: int) -> None:
        self.api_key = api_key
        self.ended = False
        self._limit = limit
        self._frames: deque[bytes] = deque()
        self._wake = asyncio.Event()
        self._cut: asyncio.Timeout | None = None

    def put(self, frame: bytes) -> bool:
        """Queue a frame.  False when there was no room, and a reset stands in the place of all."""
        if len(self._frames) >= self._limit:
            self.reset()
            return False
        self._frames.append(frame)
        self._wake.set()
        return True

    def reset(self) -> None:
        """Changes may have been missed, or are dropped here: the reader is told that instead."""
        self._frames.clear()
        self._frames.append(RESET)
        self._wake.set()

    def end(self) -> None:
        """Nothing more is sent, also to a reader that takes nothing at the moment."""
        if self.ended:
            return
        self.ended = True
        self._wake.set()
        if self._cut is not None:
            self._cut.reschedule(0)

    @asynccontextmanager
    async def until_ended(self) -> AsyncIterator[None]:
        """A block that :meth:`end` leaves at once, whatever it waits for; no error comes out of that."""
        try:
            async with asyncio.timeout(0 if self.ended else None) as self._cut:
                yield
        except TimeoutError:
            if not self.ended:
                raise
        finally:
            self._cut = None

    async def next(self, timeout_s: float) -> bytes | None:
        """What waits to be sent, as soon as there is something; None when there is nothing for so long."""
        if not self._frames:
            self._wake.clear()
            try:
                async with asyncio.timeout(timeout_s):
                    await self._wake.wait()
            except TimeoutError:
                return None
        if not self._frames:
            return None
        return b"".join(self._frames.popleft() for _ in range(min(len(self._frames), _TOGETHER)))
