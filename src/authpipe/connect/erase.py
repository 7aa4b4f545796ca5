"""Erasing a tenant: grants revoked, the keyset destroyed, the rows removed, and a certificate of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from authpipe.connect.erase_upstream import OutOfTime, UpstreamErasure
from authpipe.domain.clock import Clock
from authpipe.domain.erasure import Erasure, ErasureCertificate, ErasureStep
from authpipe.domain.errors import Conflict, NotFound
from authpipe.domain.event import Origin
from authpipe.domain.identifiers import check_opaque_id
from authpipe.events.record import record
from authpipe.events.types import EventType
from authpipe.store.database import Database
from authpipe.store.erasures import TABLES
from authpipe.store.transaction import Transaction
from authpipe.telemetry.logs import get_logger
from authpipe.vault.vault import Vault

_log = get_logger(__name__)

#: How long a process that says nothing of its progress keeps others from going on.
_LEASE = timedelta(seconds=60)
#: How long workers leave an erasure alone that could not go on.
_PUT_OFF = timedelta(seconds=60)
#: Rows deleted in one transaction.
BATCH = 1000
#: Seconds between two looks at rows that somebody else works on.
_POLL_S = 0.1
_UPSTREAM = (ErasureStep.CANDIDATES, ErasureStep.CONNECTIONS, ErasureStep.INSTALLATIONS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long an erasure may take, in seconds: for the providers' answers, and (None: no limit) in all.

    With a limit in all, nothing is given up: what takes longer is left to the worker.  Without one, grants
    that were not revoked in time are counted as such.
    """

    upstream_s: float
    total_s: float | None = None


#: While an HTTP request waits, which must be answered before clients give up.
REQUEST = Patience(upstream_s=15.0, total_s=25.0)
#: For whoever can watch it, and for the worker.
UNHURRIED = Patience(upstream_s=3600.0)


class TenantErasure:
    """Erases tenants.  What was begun is ended, by this process or another: a crash loses nothing of it.

    From the first transaction on nothing begins for the tenant, and what is under way leaves nothing behind:
    the schema itself refuses its rows and keys.
    """

    def __init__(self, *, database: Database, vault: Vault, upstream: UpstreamErasure, clock: Clock) -> None:
        self._database = database
        self._vault = vault
        self._upstream = upstream
        self._clock = clock

    async def erase(
        self,
        environment_id: UUID,
        tenant_id: str,
        *,
        origin: Origin,
        patience: Patience,
        progress: Callable[[Erasure], None] | None = None,
    ) -> ErasureCertificate:
        """Erase the tenant, or go on with an erasure that was left half-way.

        ``progress`` is told of each step that was written down.  Raises ``NotFound`` and ``Conflict``
        (``tenant_erasing``): another process is at it, or the time of a ``patience`` with a limit in all is
        over.  Either way it will be ended, and the audit record ``tenant.erased`` is the certificate.  So it
        will after a ``VaultUnavailable``, when the KEK is back: without it no grant could be revoked.
        """
        check_opaque_id(tenant_id, field="tenant_id")
        began = asyncio.get_running_loop().time()
        now = self._clock.now()
        async with self._database.tenant(environment_id, tenant_id) as transaction:
            tenant = await transaction.tenants.lock(environment_id, tenant_id)
            if tenant is None:
                raise NotFound("no such tenant in this environment")
            if tenant.erasing_at is None:
                await transaction.erasures.begin(environment_id, tenant_id, origin=origin, at=now)
            erasure = await transaction.erasures.claim(
                environment_id, tenant_id, now=now, lease_until=now + _LEASE
            )
        if erasure is None:
            raise _under_way("another process is erasing this tenant")
        run = _Run(self._database, self._clock, erasure, patience, began, progress)
        try:
            return await self._carry_out(run)
        except BaseException:
            await run.release()
            raise

    async def resume(self) -> ErasureCertificate | None:
        """Take on one erasure that nobody is at, and end it.  None when there is none.

        One that cannot go on is put off for a minute and the next is taken, so that none stands in the way of
        the others.  Raises what the database raises when it is away.
        """
        while True:
            now = self._clock.now()
            async with self._database.system() as transaction:
                erasure = await transaction.erasures.claim_any(now=now, lease_until=now + _LEASE)
            if erasure is None:
                return None
            run = _Run(
                self._database, self._clock, erasure, UNHURRIED, asyncio.get_running_loop().time(), None
            )
            try:
                return await self._carry_out(run)
            except Exception as error:  # noqa: BLE001  # whatever it is, others wait
                level = _log.warning if getattr(error, "retryable", False) else _log.error
                level("an erasure cannot go on", tenant_id=erasure.tenant_id, error=type(error).__name__)
                await run.release(until=self._clock.now() + _PUT_OFF)
            except BaseException:
                await run.release()
                raise

    async def _carry_out(self, run: _Run) -> ErasureCertificate:
        await self._end_api_keys(run)
        for step in _UPSTREAM:
            if run.is_at(step):
                try:
                    done = await self._upstream.run(
                        run.erasure, run.advance, until=run.upstream_ends, gives_up=run.is_unlimited
                    )
                except OutOfTime:
                    raise _takes_longer() from None
                await run.advance(replace(done, step=_after(step), after=None))
        await self._destroy_keyset(run)
        return await self._remove(run)

    async def _end_api_keys(self, run: _Run) -> None:
        """Keys restricted to the tenant: they open nothing from this commit on."""
        if not run.is_at(ErasureStep.API_KEYS):
            return
        erasure, now = run.erasure, self._clock.now()
        async with self._database.environment(erasure.environment_id) as transaction:
            keys = await transaction.erasures.delete_api_keys(erasure)
            for key in keys:
                if key["revoked_at"] is None:
                    await record(
                        transaction,
                        EventType.API_KEY_REVOKED,
                        environment_id=erasure.environment_id,
                        # As of every key: it concerns the environment.
                        tenant_id=None,
                        object_kind="api_key",
                        object_id=key["api_key_id"],
                        origin=erasure.origin,
                        at=now,
                        data={
                            "name": key["name"],
                            "prefix": key["prefix"],
                            "tenant_id": erasure.tenant_id,
                            "reason": "tenant_erased",
                        },
                    )
            await run.advance_in(
                transaction,
                replace(
                    erasure,
                    step=_after(ErasureStep.API_KEYS),
                    counts=replace(erasure.counts, api_keys=erasure.counts.api_keys + len(keys)),
                ),
            )

    async def _destroy_keyset(self, run: _Run) -> None:
        """Before any row, and committed on its own: from here on no copy of a row can be read."""
        if not run.is_at(ErasureStep.KEYSET):
            return
        erasure = run.erasure
        async with self._database.tenant(erasure.environment_id, erasure.tenant_id) as transaction:
            keys = await transaction.data_keys.destroy_all(erasure.environment_id, erasure.tenant_id)
            await run.advance_in(
                transaction,
                replace(
                    erasure,
                    step=_after(ErasureStep.KEYSET),
                    counts=replace(erasure.counts, data_keys=erasure.counts.data_keys + keys),
                ),
            )
        self._vault.forget(erasure.environment_id, erasure.tenant_id)

    async def _remove(self, run: _Run) -> ErasureCertificate:
        while True:
            removed = [await self._remove_rows(run, table, count) for table, count in TABLES]
            certificate = await self._finish(run)
            if certificate is not None:
                return certificate
            if not any(removed):
                await run.advance(run.erasure)
                await asyncio.sleep(_POLL_S)

    async def _remove_rows(self, run: _Run, table: str, count: str | None) -> int:
        """All rows of a table that nobody works on, in short transactions; returns how many."""
        total = 0
        while True:
            run.check_time()
            erasure = run.erasure
            async with self._database.tenant(erasure.environment_id, erasure.tenant_id) as transaction:
                removed = await transaction.erasures.delete_batch(erasure, table, limit=BATCH)
                if count is not None:
                    told = {count: getattr(erasure.counts, count) + removed}
                    erasure = replace(erasure, counts=replace(erasure.counts, **told))
                if removed:
                    await run.advance_in(transaction, erasure)
            total += removed
            if removed < BATCH:
                return total

    async def _finish(self, run: _Run) -> ErasureCertificate | None:
        """The tenant's own row and the certificate.  None while rows are left."""
        erasure, now = run.erasure, self._clock.now()
        async with self._database.tenant(erasure.environment_id, erasure.tenant_id) as transaction:
            await transaction.tenants.lock(erasure.environment_id, erasure.tenant_id)
            if await transaction.erasures.is_anything_left(erasure):
                return None
            await transaction.data_keys.destroy_all(erasure.environment_id, erasure.tenant_id)
            await transaction.erasures.delete_api_keys(erasure)
            if not await transaction.erasures.end(erasure):
                raise _under_way("another process went on with it")
            event = await record(
                transaction,
                EventType.TENANT_ERASED,
                environment_id=erasure.environment_id,
                tenant_id=erasure.tenant_id,
                object_kind="tenant",
                object_id=erasure.tenant_id,
                origin=erasure.origin,
                at=now,
                data={
                    **asdict(erasure.counts),
                    "began_at": erasure.created_at.isoformat(),
                    "finished_at": now.isoformat(),
                },
            )
        _log.info("a tenant was erased", event_id=str(event.event_id))
        return ErasureCertificate(
            environment_id=erasure.environment_id,
            tenant_id=erasure.tenant_id,
            event_id=event.event_id,
            began_at=erasure.created_at,
            finished_at=now,
            counts=erasure.counts,
        )


class _Run:
    """One process's share of an erasure: where it stands, its lease, and how much time is left."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        erasure: Erasure,
        patience: Patience,
        began: float,
        progress: Callable[[Erasure], None] | None,
    ) -> None:
        self._database = database
        self._clock = clock
        self.erasure = erasure
        self.upstream_ends = began + patience.upstream_s
        self.is_unlimited = patience.total_s is None
        self._ends = None if patience.total_s is None else began + patience.total_s
        self._progress = progress

    def is_at(self, step: ErasureStep) -> bool:
        """Whether this step is what comes next."""
        return self.erasure.step is step

    def check_time(self) -> None:
        """Raise when whoever waits for the answer must have one."""
        if self._ends is not None and asyncio.get_running_loop().time() >= self._ends:
            raise _takes_longer()

    async def advance(self, erasure: Erasure) -> Erasure:
        """Write down how far it is."""
        async with self._database.tenant(erasure.environment_id, erasure.tenant_id) as transaction:
            return await self.advance_in(transaction, erasure)

    async def advance_in(self, transaction: Transaction, erasure: Erasure) -> Erasure:
        """As :meth:`advance`, together with what was done."""
        written = await transaction.erasures.advance(
            erasure,
            step=erasure.step,
            after=erasure.after,
            counts=erasure.counts,
            lease_until=self._clock.now() + _LEASE,
        )
        if written is None:
            raise _under_way("another process went on with it")
        self.erasure = written
        if self._progress is not None:
            self._progress(written)
        return written

    async def release(self, *, until: datetime | None = None) -> None:
        """Let others go on at once, workers from ``until`` on; when that fails, when the lease runs out."""
        with contextlib.suppress(Exception):
            async with self._database.tenant(
                self.erasure.environment_id, self.erasure.tenant_id
            ) as transaction:
                await transaction.erasures.release(self.erasure, until=until)


def _after(step: ErasureStep) -> ErasureStep:
    steps = list(ErasureStep)
    return steps[steps.index(step) + 1]


def _takes_longer() -> Conflict:
    return _under_way("it takes longer than a request may wait; a worker goes on with it")


def _under_way(why: str) -> Conflict:
    return Conflict(f"the tenant is being erased: {why}", code="tenant_erasing")
