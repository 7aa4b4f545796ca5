"""Records who read which credential, and whose key was refused, without a request waiting for it."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from authpipe.domain.clock import Clock
from authpipe.domain.event import ActorKind, Event, Origin, Outcome
from authpipe.domain.identifiers import new_id
from authpipe.events.key_refusals import RefusedKey, RefusedUses
from authpipe.events.types import EventType
from authpipe.store.database import Database, is_outage
from authpipe.telemetry.logs import get_logger
from authpipe.telemetry.metrics import Metrics

_log = get_logger(__name__)

#: Seconds between two writes: what a crash may lose.
EVERY_S = 1.0
#: Events that are written without waiting for the interval, and at most that many in one statement.
BATCH = 500
#: Reads in one event; the next begins another.
READS_PER_EVENT = 200
#: What is kept while the database is away: so many events, and so many reads in them.  Some 50 MB.
LARGEST_BACKLOG = 50_000
LARGEST_BACKLOG_READS = 200_000
#: Seconds a process that ends tries to write the rest.
CLOSE_S = 10.0

_Key = tuple[
    UUID, str | None, UUID | None, str | None, str | None, UUID | str | None, str | None, str | None,
    ActorKind, str | None, str | None, Outcome, str | None,
]  # fmt: skip
_Read = tuple[str | None, datetime]


class CredentialReads:
    """Collects reads in memory and writes them about every second as ``credential.read`` events.

    Reads that differ in nothing but time and request id share an event, which lists them; so do refusals of a
    key, as ``api_key.refused``, whatever it was used for.  Nothing is lost
    unless the process crashes (what it read within the last second), or the database stays away until the
    bounds are reached: then what comes is counted in a metric instead.  Belongs to one event loop.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        metrics: Metrics,
        *,
        backlog: int = LARGEST_BACKLOG,
        backlog_reads: int = LARGEST_BACKLOG_READS,
    ) -> None:
        self._database = database
        self._clock = clock
        self._metrics = metrics
        self._backlog = backlog
        self._backlog_reads = backlog_reads
        self._open: dict[_Key, list[_Read]] = {}
        self._full: deque[tuple[_Key, list[_Read]]] = deque()
        self._refused: dict[RefusedKey, RefusedUses] = {}
        self._unwritten: deque[Event] = deque()
        self._held = 0
        self._is_dropping = False
        self._writing = asyncio.Lock()
        self._wake = asyncio.Event()
        self._closing = False
        self._writer: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to write in the background."""
        self._writer = asyncio.create_task(self._write())

    async def close(self) -> None:
        """Write what is left.  When the database is away, what it did not get is counted and logged."""
        self._closing = True
        self._wake.set()
        if self._writer is not None:
            await asyncio.wait([self._writer])
        try:
            async with asyncio.timeout(CLOSE_S):
                await self.flush()
        except Exception as error:  # noqa: BLE001  # told below, by what could not be written
            _log.warning("the last credential reads cannot be written", error=type(error).__name__)
        if self._held:
            self._metrics.unrecorded_reads.inc(self._held)
            _log.error("credential reads were not recorded: the database is away", reads=self._held)

    def note(
        self,
        environment_id: UUID,
        *,
        tenant_id: str | None,
        provider: str | None,
        credential_id: UUID | None,
        owner_kind: str | None,
        owner_id: UUID | str | None,
        user_id: str | None,
        kind: str | None,
        origin: Origin,
        outcome: Outcome,
        code: str | None,
    ) -> None:
        """Remember one read, or one try.  Never waits, never raises, and writes nothing itself.

        ``credential_id`` and the owner are None for what was not found; ``code`` is the error's.
        ``provider`` may be None where the owner is known.
        """
        key = (
            environment_id, tenant_id, credential_id, provider, owner_kind, owner_id, user_id, kind,
            origin.actor_kind, origin.actor_id, origin.source_address, outcome, code,
        )  # fmt: skip
        if self._held >= self._backlog_reads:
            self._drop()
            return
        reads = self._open.get(key)
        if reads is None:
            if not self._has_room():
                self._drop()
                return
            self._open[key] = [(origin.request_id, self._clock.now())]
        else:
            reads.append((origin.request_id, self._clock.now()))
            if len(reads) >= READS_PER_EVENT:
                self._full.append((key, self._open.pop(key)))
        self._held += 1

    def note_refusal(
        self,
        environment_id: UUID,
        *,
        api_key_id: UUID,
        reason: str,
        route: str,
        tenant_id: str | None,
        origin: Origin,
    ) -> None:
        """Remember that a good key was refused, as :meth:`note` remembers a read."""
        key = RefusedKey(environment_id, api_key_id, reason, origin.source_address)
        uses = self._refused.get(key)
        if uses is None:
            if self._held >= self._backlog_reads or not self._has_room():
                self._drop()
                return
            uses = self._refused[key] = RefusedUses()
            self._held += 1
        uses.add(self._clock.now(), origin, route, tenant_id)

    def _has_room(self) -> bool:
        events = len(self._open) + len(self._full) + len(self._refused) + len(self._unwritten)
        if events >= BATCH:
            self._wake.set()
        return events < self._backlog

    async def flush(self) -> None:
        """Write everything noted so far.  Raises what an absent database raises; nothing is lost then."""
        async with self._writing:
            await self._flush()

    async def _flush(self) -> None:
        self._full.extend(self._open.items())
        refused = self._refused
        self._open, self._refused = {}, {}
        self._unwritten.extend(uses.event(key) for key, uses in refused.items())
        while self._full or self._unwritten:
            # Not all at once: requests wait meanwhile.
            while self._full and len(self._unwritten) < BATCH:
                self._unwritten.append(_event(*self._full.popleft()))
            batch = [self._unwritten[number] for number in range(min(BATCH, len(self._unwritten)))]
            try:
                await self._add(batch)
            except Exception as error:
                if is_outage(error):
                    raise
                await self._add_singly(batch, error)
            for event in batch:
                self._unwritten.popleft()
                self._held -= _held_by(event)
        self._is_dropping = False

    async def _add(self, events: list[Event]) -> None:
        async with self._database.system() as transaction:
            await transaction.events.add_all(events)

    async def _add_singly(self, events: list[Event], why: Exception) -> None:
        """What the database refuses must not take the rest with it."""
        _log.error("credential reads were refused by the database", error=type(why).__name__)
        for event in events:
            try:
                await self._add([event])
            except Exception as error:
                if is_outage(error):
                    raise
                self._metrics.unrecorded_reads.inc(_held_by(event))

    async def _write(self) -> None:
        while not self._closing:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), EVERY_S)
            self._wake.clear()
            try:
                await self.flush()
            except Exception as error:  # noqa: BLE001  # what could not be written is kept for the next round
                level = _log.warning if is_outage(error) else _log.error
                level("credential reads wait to be recorded", error=type(error).__name__, reads=self._held)
                if not self._closing:
                    await asyncio.sleep(EVERY_S)

    def _drop(self) -> None:
        self._metrics.unrecorded_reads.inc()
        if not self._is_dropping:
            self._is_dropping = True
            _log.error("credential reads are not recorded: too many wait for the database", reads=self._held)


def _held_by(event: Event) -> int:
    """How many of the noted things an event stands for; refusals of a key are one."""
    return int(event.data["count"]) if event.type == EventType.CREDENTIAL_READ else 1


def _event(key: _Key, reads: list[_Read]) -> Event:
    (
        environment_id, tenant_id, credential_id, provider, owner_kind, owner_id, user_id, kind,
        actor_kind, actor_id, source_address, outcome, code,
    ) = key  # fmt: skip
    request_id, first_at = reads[0]
    data: dict[str, Any] = {
        "provider": provider,
        "kind": kind,
        "user_id": user_id,
        "owner_kind": owner_kind,
        "owner_id": None if owner_id is None else str(owner_id),
        "count": len(reads),
    }
    if code is not None:
        data["code"] = code
    if len(reads) > 1:
        data["reads"] = [{"request_id": each, "at": _text(at)} for each, at in reads]
        request_id = None
    if credential_id is not None:
        object_kind, object_id = "credential", str(credential_id)
    elif owner_kind is not None and owner_id is not None:
        object_kind, object_id = owner_kind, str(owner_id)
    else:
        object_kind, object_id = "provider", str(provider)
    return Event(
        event_id=new_id(),
        environment_id=environment_id,
        tenant_id=tenant_id,
        type=EventType.CREDENTIAL_READ.value,
        object_kind=object_kind,
        object_id=object_id,
        origin=Origin(
            actor_kind=actor_kind, actor_id=actor_id, request_id=request_id, source_address=source_address
        ),
        outcome=outcome,
        created_at=first_at,
        data=data,
    )


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
