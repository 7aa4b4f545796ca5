"""Lookups on their way to the database: those that come while every lane is busy go together."""

from __future__ import annotations

import asyncio
from collections import deque
from contextvars import Context
from dataclasses import dataclass
from typing import Any

from authpipe.store.database import Database, is_outage
from authpipe.store.lookups import Lookup, Lookups

#: Statements at a time, each on a connection of its own.  More would make smaller groups; of a pool of
#: ordinary size most is left to everybody else.
LANES = 3
#: Lookups in one statement.  What a statement costs by itself is shared well before that many, and the first
#: of them waits for the last.
MOST = 16
#: Statements after which a lane lets others have its connection, however many lookups wait.
_TURNS = 64

_Found = list[Any]


@dataclass(slots=True)
class _Waiting:
    lookup: Lookup
    since: float
    found: asyncio.Future[_Found]


class LookupLanes:
    """One statement for one lookup while there is little to do, one for up to 16 when there is much.

    What goes together shares nothing but the way: each lookup runs in the scope of its own tenant, and one
    that fails says nothing of the others.  Belongs to one event loop.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: deque[_Waiting] = deque()
        self._lanes: set[asyncio.Task[None]] = set()
        self._setting_out = 0

    async def find(self, lookup: Lookup) -> _Found:
        """The rows, as :meth:`Lookups.one` finds them.

        Raises what it raises, and what the database raises when it is away.
        """
        loop = asyncio.get_running_loop()
        found: asyncio.Future[_Found] = loop.create_future()
        self._waiting.append(_Waiting(lookup, loop.time(), found))
        # A lane that has not set out yet takes this one along.
        if len(self._lanes) < LANES and len(self._waiting) > self._setting_out * MOST:
            self._setting_out += 1
            # It works for others too: nothing of this request's logging and tracing goes with it.
            lane = loop.create_task(self._run(loop), context=Context())
            self._lanes.add(lane)
            lane.add_done_callback(self._lanes.discard)
        return await found

    async def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        self._setting_out -= 1
        while self._waiting:
            begun = loop.time()
            try:
                async with self._database.read() as transaction:
                    for _ in range(_TURNS):
                        group = self._next_group()
                        if not group:
                            break
                        await _answer(transaction.lookups, group)
            except Exception as error:  # noqa: BLE001  # it is raised to those who wait
                # No connection came, or it was lost.  Who asked since may have more luck.
                while self._waiting and self._waiting[0].since <= begun:
                    _tell(self._waiting.popleft(), error)

    def _next_group(self) -> list[_Waiting]:
        group: list[_Waiting] = []
        while self._waiting and len(group) < MOST:
            waiting = self._waiting.popleft()
            if not waiting.found.done():
                group.append(waiting)
        return group


async def _answer(lookups: Lookups, group: list[_Waiting]) -> None:
    """Raises when the connection is of no more use."""
    try:
        if len(group) == 1:
            _tell(group[0], await lookups.one(group[0].lookup))
            return
        results = await lookups.many([waiting.lookup for waiting in group])
    except Exception as error:
        if len(group) == 1 or is_outage(error):
            for waiting in group:
                _tell(waiting, error)
        else:
            # One of them cannot be answered: found out which, the others can.
            for waiting in group:
                await _answer(lookups, [waiting])
        if is_outage(error):
            raise
    else:
        for waiting, result in zip(group, results, strict=True):
            _tell(waiting, result)


def _tell(waiting: _Waiting, result: _Found | Exception) -> None:
    # Whoever was cancelled is not waiting any more.
    if waiting.found.done():
        return
    if isinstance(result, Exception):
        waiting.found.set_exception(result)
    else:
        waiting.found.set_result(result)
