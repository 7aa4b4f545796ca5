"""The refresh worker: claims what is due, in every replica, and never more than it can carry."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import datetime
from uuid import UUID

from authpipe.credentials.limits import ProviderLimits
from authpipe.credentials.provider import ProvidersForAWhile
from authpipe.credentials.refresh import LEASE, RefreshEngine
from authpipe.credentials.spool_replay import SpoolReplay
from authpipe.domain.clock import Clock
from authpipe.domain.credential import StoredCredential
from authpipe.store.database import Database, is_outage
from authpipe.telemetry import traces
from authpipe.telemetry.logs import get_logger
from authpipe.telemetry.metrics import Metrics

_log = get_logger(__name__)

#: Seconds between two looks for what is due.
IDLE_S = 1.0
#: Seconds that a worker which left something due waits for a good part of its places to become free.
_GATHER_S = 0.05
#: Seconds between two housekeeping rounds (orphaned spools, previous secrets past their grace).
_HOUSEKEEPING_S = 30.0
#: Seconds a worker that was told to stop waits for a database that is away.
_DRAIN_S = 10.0


class RefreshWorker:
    """Refreshes due credentials until told to stop.

    Any number of workers share the work; a row is claimed by one at a time, under a lease.  Cost follows
    what is due, not what exists.  Of ``concurrency`` places one provider config may hold half, fewer while
    its provider bears fewer calls.
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
        concurrency: int = 256,
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
        self._chores: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        #: How many places must become free to wake the worker, and how many did.
        self._wanted = 0
        self._freed = 0

    async def run(self) -> None:
        """Work until :meth:`stop`; then finish what was claimed.  Database outages are waited out."""
        while not self._stopping.is_set():
            left_some = False
            try:
                await self._keep_house()
                _, left_some = await self._claim()
            except Exception as error:  # noqa: BLE001  # a worker that dies of one bad round refreshes nothing
                level = _log.warning if is_outage(error) else _log.error
                level("the refresh worker cannot work", error=type(error).__name__, text=str(error))
            await self._rest(left_some=left_some)
        if self._chores is not None:
            self._chores.cancel()
            await asyncio.wait([self._chores])
        if self._running:
            await asyncio.wait(self._running)
        try:
            await asyncio.wait_for(self._replay.drain(), _DRAIN_S)
        except TimeoutError:
            _log.warning("the database is still away; what it did not get stays on local disk")

    def stop(self) -> None:
        """Claim nothing more."""
        self._stopping.set()
        self._wake.set()

    async def round(self) -> int:
        """One claim, worked off to the end; returns how many were claimed."""
        claimed, _ = await self._claim()
        if self._running:
            await asyncio.wait(list(self._running))
        return claimed

    async def _claim(self) -> tuple[int, bool]:
        """How many were claimed, and whether some may be left for which there is no room now."""
        free = self._concurrency - len(self._running)
        if free <= 0:
            return 0, True
        share, rooms = self._rooms()
        now = self._clock.now()
        # What the round begins belongs to it, in the trace as well; a round that finds nothing is no news.
        with traces.span("worker.round", worker="refresh") as span:
            async with self._database.system() as transaction:
                claimed = await transaction.credentials.claim_due(
                    now=now, lease_until=now + LEASE, limit=free, room=share, rooms=rooms
                )
            providers = self._engine.batch()
            for credential in claimed:
                task = asyncio.create_task(self._attempt(credential, providers))
                self._running[task] = credential.provider_config_id
                task.add_done_callback(self._ended)
            if claimed:
                span.set(claimed=len(claimed))
                self._metrics.refreshes_claimed.inc(len(claimed))
            else:
                span.leave_out()
        taken = Counter(credential.provider_config_id for credential in claimed)
        full = any(count >= rooms.get(config, share) for config, count in taken.items())
        return len(claimed), full or len(claimed) >= free

    def _rooms(self) -> tuple[int, dict[UUID, int]]:
        """The most that one provider config may have, and how much more some may have now."""
        share = max(self._concurrency // 2, 1)
        borne = self._limits.rooms()
        held = Counter(self._running.values())
        return share, {
            config: max(min(share, borne.get(config, share)) - held[config], 0) for config in borne | held
        }

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._running[task]
        self._freed += 1
        if self._freed >= self._wanted:
            self._wake.set()

    async def _attempt(self, credential: StoredCredential, providers: ProvidersForAWhile) -> None:
        try:
            await self._engine.attempt(credential, providers)
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
        # First and waited for: whoever claims before would send a token again whose answer is on this disk.
        await self._do(self._replay.adopt)
        if self._chores is None or self._chores.done():
            self._chores = asyncio.create_task(self._do(self._purge, self._count_due))

    async def _do(self, *chores: Callable[[], Awaitable[object]]) -> None:
        for chore in chores:
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

    async def _rest(self, *, left_some: bool) -> None:
        """Until something may be due, or what is due may be claimed, or the worker is told to stop.

        Claims cost less the more they bring: while more is left, an eighth of the places is waited for.
        """
        self._freed = 0
        self._wanted = max(self._concurrency // 8, 1) if left_some else self._concurrency + 1
        self._wake.clear()
        if self._stopping.is_set():
            return
        if left_some:
            self._wanted = min(self._wanted, max(len(self._running), 1))
            if await self._woken(_GATHER_S) or self._freed:
                return
            self._wanted = 1
        await self._woken(IDLE_S)

    async def _woken(self, timeout_s: float) -> bool:
        try:
            await asyncio.wait_for(self._wake.wait(), timeout_s)
        except TimeoutError:
            return False
        return True
