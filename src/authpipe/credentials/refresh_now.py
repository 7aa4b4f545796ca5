"""A caller needs a refresh now: joined in the process, exclusive across replicas, bounded in time."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from uuid import UUID

from authpipe.credentials.changes import Changes
from authpipe.credentials.refresh import LEASE, RefreshEngine
from authpipe.credentials.schedule import LONGEST_RETRY
from authpipe.domain.clock import Clock
from authpipe.domain.credential import StoredCredential
from authpipe.domain.errors import NotConnected, ProviderUnavailable
from authpipe.domain.event import Origin
from authpipe.events.record import record
from authpipe.events.types import EventType
from authpipe.store.database import Database
from authpipe.telemetry import traces

#: Seconds a caller waits at most for a refresh that somebody runs.
WAIT_S = 25.0
#: Seconds after which a waiting caller looks again although no notification came.
_POLL_S = 0.5
#: How long after a failed attempt a caller may cause another.
_EARLY_AFTER = timedelta(seconds=30)


class RefreshNow:
    """N callers, in any number of processes, cause one provider call.

    In a process they share one task; across processes the lease decides who calls the provider, and the
    others wait for the row to change.
    """

    def __init__(self, *, database: Database, engine: RefreshEngine, changes: Changes, clock: Clock) -> None:
        self._database = database
        self._engine = engine
        self._changes = changes
        self._clock = clock
        self._flights: dict[UUID, tuple[int, asyncio.Task[StoredCredential]]] = {}

    async def beyond(
        self, environment_id: UUID, tenant_id: str, credential_id: UUID, *, version: int
    ) -> StoredCredential:
        """The credential at a later version than ``version``, or as it stands once it cannot get there.

        Raises ``ProviderUnavailable`` when the provider cannot be asked now, or the deadline passed;
        ``NotConnected`` when the credential is gone; ``Conflict`` (``tenant_erasing``).
        """
        flight = self._flights.get(credential_id)
        if flight is None or flight[0] != version:
            task = asyncio.create_task(self._fly(environment_id, tenant_id, credential_id, version))
            flight = (version, task)
            self._flights[credential_id] = flight
            task.add_done_callback(lambda done: self._landed(credential_id, done))
        try:
            # Shielded: a caller that hangs up must not cancel the refresh of all the others.
            return await asyncio.wait_for(asyncio.shield(flight[1]), WAIT_S)
        except TimeoutError:
            raise ProviderUnavailable(
                "the refresh takes longer than a caller can wait; try again", retry_after_s=5
            ) from None

    async def demanded(self, credential: StoredCredential, *, origin: Origin) -> StoredCredential:
        """As :meth:`beyond` the version given, with an event that tells who wanted it."""
        async with self._database.tenant(credential.environment_id, credential.tenant_id) as transaction:
            await record(
                transaction,
                EventType.CREDENTIAL_REFRESH_REQUESTED,
                environment_id=credential.environment_id,
                tenant_id=credential.tenant_id,
                object_kind="credential",
                object_id=credential.credential_id,
                origin=origin,
                at=self._clock.now(),
                data={
                    "provider": credential.provider,
                    f"{credential.owner_kind.value}_id": str(credential.owner_id),
                    "version": credential.version,
                },
            )
        return await self.beyond(
            credential.environment_id,
            credential.tenant_id,
            credential.credential_id,
            version=credential.version,
        )

    async def close(self) -> None:
        """Wait for the refreshes under way."""
        tasks = [task for _, task in self._flights.values()]
        if tasks:
            await asyncio.wait(tasks, timeout=WAIT_S)

    def _landed(self, credential_id: UUID, task: asyncio.Task[StoredCredential]) -> None:
        if self._flights.get(credential_id, (0, None))[1] is task:
            del self._flights[credential_id]
        if not task.cancelled():
            task.exception()  # every caller may have hung up; the failure was written down by the engine

    async def _fly(
        self, environment_id: UUID, tenant_id: str, credential_id: UUID, version: int
    ) -> StoredCredential:
        place = (environment_id, tenant_id, credential_id)
        deadline = asyncio.get_running_loop().time() + WAIT_S
        with self._changes.watching(str(credential_id)) as changed:
            tried = False
            while True:
                changed.clear()
                claimed = await self._claim(place, version, tried=tried)
                tried = tried or claimed is False
                if isinstance(claimed, StoredCredential):
                    return claimed
                left = deadline - asyncio.get_running_loop().time()
                if left <= 0:
                    raise ProviderUnavailable("another process is refreshing; try again", retry_after_s=5)
                if claimed is None:
                    try:
                        await asyncio.wait_for(changed.wait(), min(left, _POLL_S))
                    except TimeoutError:
                        continue

    async def _claim(
        self, place: tuple[UUID, str, UUID], version: int, *, tried: bool
    ) -> StoredCredential | bool | None:
        """One round: the finished row, None to wait for somebody else's attempt, or False to look again."""
        now = self._clock.now()
        async with self._database.tenant(*place[:2]) as transaction:
            stored = await transaction.credentials.get(*place)
            if stored is None:
                raise NotConnected("the credential was removed while it was being refreshed")
            await transaction.tenants.keep(*place[:2])
            if stored.version > version or stored.refresh_due_at is None:
                return stored
            waiting = stored.refresh_due_at > now and stored.lease is None
            if waiting and (tried or (stored.refresh_failures and not _may_try_early(stored, now))):
                # Someone tried and failed a moment ago; asking again would be a storm in the making.
                wait = (stored.refresh_due_at - now).total_seconds()
                raise ProviderUnavailable(
                    f"the provider could not be asked ({stored.refresh_failures} times); trying again soon",
                    retry_after_s=max(wait, 1.0),
                )
            with traces.span("refresh.claim", credential_id=place[2]) as span:
                claimed = await transaction.credentials.claim_one(
                    *place, now=now, lease_until=now + LEASE, as_read=stored
                )
                span.set(claimed=int(claimed is not None))
        if claimed is None:
            return None
        await self._engine.attempt(claimed)
        return False


def _may_try_early(stored: StoredCredential, now: datetime) -> bool:
    """Whether somebody who waits for an expired token may try before the next attempt is due.

    Twice a minute at the most, and not while the provider itself asked for a longer pause: workers' growing
    pauses must not outlast an outage for those who wait.
    """
    if stored.expires_at is None or stored.expires_at > now or stored.refresh_due_at is None:
        return False
    asked_for = stored.refresh_due_at - stored.updated_at > LONGEST_RETRY
    return not asked_for and now - stored.updated_at >= _EARLY_AFTER
