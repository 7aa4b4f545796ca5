"""Clears away what operators left behind: ended sessions, redirects nobody came back from, old counts."""

from __future__ import annotations

import asyncio

from authpipe.access.operator_sessions import OperatorSessions
from authpipe.domain.clock import Clock
from authpipe.store.database import Database, is_outage
from authpipe.telemetry.logs import get_logger

#: Seconds between two rounds.  What has ended is refused at its moment; the rows may lie a while.
EVERY_S = 60.0

_log = get_logger(__name__)


class OperatorCleanup:
    """Runs in every worker; one statement a table, so any number of them do no harm to each other."""

    def __init__(self, *, database: Database, sessions: OperatorSessions, clock: Clock) -> None:
        self._database = database
        self._sessions = sessions
        self._clock = clock
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Work until :meth:`stop`.  Database outages are waited out."""
        while not self._stopping.is_set():
            try:
                await self.round()
            except Exception as error:  # noqa: BLE001  # the next round tries again
                level = _log.warning if is_outage(error) else _log.error
                level("operators' leftovers cannot be cleared", error=type(error).__name__)
            try:
                await asyncio.wait_for(self._stopping.wait(), EVERY_S)
            except TimeoutError:
                continue

    def stop(self) -> None:
        """Finish the running round and no other."""
        self._stopping.set()

    async def round(self) -> int:
        """Remove what is over now; returns how many rows that were."""
        now = self._clock.now()
        ended = await self._sessions.purge()
        async with self._database.system() as transaction:
            ended += await transaction.sign_in_attempts.purge(now=now)
            return ended + await transaction.sign_in_sources.purge(now=now)
