"""The refresh worker: claims what is due, in every replica, and never more than it can carry."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import datetime
from uuid import UUID

from authpipe.credentials.limits import ProviderLimits
from authpipe.credentials.refresh import LEASE, RefreshEngine
from authpipe.credentials.spool_replay import SpoolReplay
from authpipe.domain.clock import Clock
from authpipe.domain.credential import StoredCredential
from authpipe.store.database import Database, is_outage
from authpipe.telemetry import traces
from authpipe.telemetry.logs import get_logger
from authpipe.telemetry.metrics import Metrics

_log = get_logger(__name__)

#: Seconds between two looks when nothing is due.
IDLE_S = 1.0
#: Seconds between two housekeeping rounds (orphaned spools, previous secrets past their grace).
_HOUSEKEEPING_S = 30.0
#: Seconds a worker that was told to stop waits for a database that is away.
_DRAIN_S = 10.0


class RefreshWorker:
    """Refreshes due credentials until told to stop.

    Any number of workers share the work; a row is claimed by one at a time, under a lease.  Cost follows
    what is due, not what exists.
    """

    def __init__(
        self,
        *,
        database: Database,
        engine: RefreshEngine,
        replay: SpoolReplay,
        limits: ProviderLimits,
        clock: Clock,
        metrics: Metrics,
        concurrency: int = 64,
    ) -> None:
        self._database = database
        self._engine = engine
        self._replay = replay
        self._limits = limits
        self._clock = clock
        self._metrics = metrics
        self._concurrency = concurrency
        self._running: dict[asyncio.Task[None], UUID] = {}
        self._stopping = asyncio.Event()
        self._housekept: datetime | None = None

    async def run(self) -> None:
        """Work until :meth:`stop`; then finish what was claimed.  Database outages are waited out."""
        while not self._stopping.is_set():
            try:
                await self._keep_house()
                claimed = await self._claim()
            except Exception as error:  # noqa: BLE001  # a worker that dies of one bad round refreshes nothing
                level = _log.warning if is_outage(error) else _log.error
                level("the refresh worker cannot work", error=type(error).__name__, text=str(error))
                claimed = 0
            if claimed == 0:
                await self._rest()
        if self._running:
            await asyncio.wait(self._running)
        try:
            await asyncio.wait_for(self._replay.drain(), _DRAIN_S)
        except TimeoutError:
            _log.warning("the database is still away; what it did not get stays on local disk")

    def stop(self) -> None:
        """Claim nothing more."""
        self._stopping.set()

    async def round(self) -> int:
        """One claim, worked off to the end; returns how many were claimed."""
        claimed = await self._claim()
        if self._running:
            await asyncio.wait(list(self._running))
        return claimed

    async def _claim(self) -> int:
        free = self._concurrency - len(self._running)
        if free <= 0:
            await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
            return 1
        # One slow provider may hold half of the places: a batch is no larger, and who has it gets no more.
        share = max(self._concurrency // 2, 1)
        held = Counter(self._running.values())
        busy = [config for config, count in held.items() if count >= share]
        left = share - max((count for count in held.values() if count < share), default=0)
        now = self._clock.now()
        # What the round begins belongs to it, in the trace as well; a round that finds nothing is no news.
        with traces.span("worker.round", worker="refresh") as span:
            async with self._database.system() as transaction:
                claimed = await transaction.credentials.claim_due(
                    now=now,
                    lease_until=now + LEASE,
                    limit=min(free, left),
                    not_of=[*self._limits.paused(), *busy],
                )
            for credential in claimed:
                task = asyncio.create_task(self._attempt(credential))
                self._running[task] = credential.provider_config_id
                task.add_done_callback(self._running.pop)
            if claimed:
                span.set(claimed=len(claimed))
            else:
                span.leave_out()
        return len(claimed)

    async def _attempt(self, credential: StoredCredential) -> None:
        try:
            await self._engine.attempt(credential)
        except Exception as error:  # noqa: BLE001  # the lease runs out and the row is claimed again
            level = _log.warning if is_outage(error) else _log.error
            level(
                "a refresh attempt failed",
                credential_id=str(credential.credential_id),
                error=type(error).__name__,
            )

    async def _keep_house(self) -> None:
        now = self._clock.now()
        if self._housekept is not None and (now - self._housekept).total_seconds() < _HOUSEKEEPING_S:
            return
        self._housekept = now
        for chore in (self._replay.adopt, self._purge, self._count_due):
            try:
                await chore()
            except Exception as error:  # noqa: BLE001  # what waits for another round must not stop refreshing
                level = _log.warning if is_outage(error) else _log.error
                level("housekeeping failed", error=type(error).__name__)

    async def _purge(self) -> None:
        """Previous secrets past their grace, a bounded number at a time."""
        while True:
            async with self._database.system() as transaction:
                if await transaction.credentials.purge_previous(now=self._clock.now()) == 0:
                    return

    async def _count_due(self) -> None:
        async with self._database.system() as transaction:
            self._metrics.refresh_due.set(await transaction.credentials.due_count(now=self._clock.now()))

    async def _rest(self) -> None:
        """Until something may be due, a place became free, or the worker is told to stop."""
        told = asyncio.create_task(self._stopping.wait())
        await asyncio.wait({told, *self._running}, timeout=IDLE_S, return_when=asyncio.FIRST_COMPLETED)
        told.cancel()
