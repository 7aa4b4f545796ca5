"""Clears away what nobody finished: sessions past their time, candidates nobody completed."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from authpipe.connect.abandon import Abandonment
from authpipe.connect.ending import SessionEnding
from authpipe.domain.clock import Clock
from authpipe.domain.connect_session import SessionStatus
from authpipe.domain.event import ActorKind, Origin
from authpipe.store.database import Database, is_outage
from authpipe.telemetry import traces
from authpipe.telemetry.logs import get_logger

_log = get_logger(__name__)
_origin = Origin(actor_kind=ActorKind.WORKER)

#: Seconds between two rounds; a candidate outlives its time by at most about this.
EVERY_S = 5.0
_BATCH = 50
#: How long answers are remembered for retried requests.
_ANSWERS_KEPT = timedelta(hours=24)


class Reaper:
    """Runs in every worker; rows are claimed, so any number of them share the work."""

    def __init__(
        self, *, database: Database, ending: SessionEnding, abandonment: Abandonment, clock: Clock
    ) -> None:
        self._database = database
        self._ending = ending
        self._abandonment = abandonment
        self._clock = clock
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Work until :meth:`stop`.  Database outages are waited out."""
        while not self._stopping.is_set():
            try:
                await self.round()
            except Exception as error:  # noqa: BLE001  # the next round tries again
                level = _log.warning if is_outage(error) else _log.error
                level("the reaper cannot work", error=type(error).__name__)
            try:
                await asyncio.wait_for(self._stopping.wait(), EVERY_S)
            except TimeoutError:
                continue

    def stop(self) -> None:
        """Finish the running round and no other."""
        self._stopping.set()

    async def round(self) -> int:
        """End what is overdue now; returns how many sessions and candidates that were."""
        with traces.span("worker.round", worker="reaper") as span:
            ended = await self._end_overdue()
            if ended:
                span.set(ended=ended)
            else:
                span.leave_out()
            return ended

    async def _end_overdue(self) -> int:
        now = self._clock.now()
        async with self._database.system() as transaction:
            sessions = await transaction.sessions.overdue(now=now, limit=_BATCH)
            for session in sessions:
                await self._ending.fail_in(
                    transaction,
                    session,
                    "session_expired",
                    origin=_origin,
                    status=SessionStatus.EXPIRED,
                )
            await transaction.attempts.purge(now=now)
            await transaction.idempotency_keys.purge(before=now - _ANSWERS_KEPT)
        candidates = await self._abandonment.overdue(origin=_origin)
        return len(sessions) + candidates
