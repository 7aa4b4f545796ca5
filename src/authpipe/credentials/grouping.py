"""Writes that go to the database together when they come together, and at once when they come alone."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from authpipe.store.database import is_outage
from authpipe.telemetry.logs import get_logger

_log = get_logger(__name__)

T = TypeVar("T")
R = TypeVar("R")

#: What one group holds at the most: a transaction of some milliseconds.
LARGEST = 128
#: Groups under way at a time.
_AT_ONCE = 2


class Grouping(Generic[T, R]):
    """Nobody waits for company: whoever comes while two groups are under way makes up the next one.

    ``together`` writes a group in one transaction and returns an outcome for each, None for one that it left
    alone; ``singly`` writes one in its own way.  One goes singly when it is by itself, when the group left it
    alone, and when the group failed for anything but an outage: a row that poisons the transaction of all
    fails by itself.
    """

    def __init__(
        self,
        together: Callable[[Sequence[T]], Awaitable[Sequence[R | None]]],
        singly: Callable[[T], Awaitable[R]],
    ) -> None:
        self._together = together
        self._singly = singly
        self._waiting: deque[tuple[T, asyncio.Future[R]]] = deque()
        self._under_way: set[asyncio.Task[None]] = set()

    async def write(self, item: T) -> R:
        """Return once ``item`` is written.  Raises what writing it raised.

        A caller that is cancelled meanwhile does not take its item back.
        """
        done: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, done))
        if len(self._under_way) < _AT_ONCE:
            task = asyncio.create_task(self._work())
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)
        return await done

    async def _work(self) -> None:
        while self._waiting:
            group = [self._waiting.popleft() for _ in range(min(len(self._waiting), LARGEST))]
            rest = group
            if len(group) > 1:
                try:
                    rest = await self._as_one(group)
                except Exception as error:  # noqa: BLE001  # each of them hears of it
                    if is_outage(error):
                        for _, done in group:
                            if not done.done():
                                done.set_exception(error)
                        continue
                    _log.warning("a group is written one by one", size=len(group), error=type(error).__name__)
            await asyncio.gather(*(self._alone(item, done) for item, done in rest))

    async def _as_one(self, group: list[tuple[T, asyncio.Future[R]]]) -> list[tuple[T, asyncio.Future[R]]]:
        """Write a group; returns those that were left alone."""
        rest = []
        outcomes = await self._together([item for item, _ in group])
        for (item, done), outcome in zip(group, outcomes, strict=True):
            if outcome is None:
                rest.append((item, done))
            elif not done.done():
                done.set_result(outcome)
        return rest

    async def _alone(self, item: T, done: asyncio.Future[R]) -> None:
        try:
            outcome = await self._singly(item)
        except Exception as error:  # noqa: BLE001  # whoever asked for it hears of it
            if not done.done():
                done.set_exception(error)
        else:
            if not done.done():
                done.set_result(outcome)
