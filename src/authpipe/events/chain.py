"""Links events into the chain of their environment, soon after they were written and in one strict order."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from authpipe.domain.clock import Clock
from authpipe.events.chain_hash import BEGINNING, FIRST_HASH, Head, link
from authpipe.events.head_seal import HeadSeals, make_seal
from authpipe.store.audit_chain import StoredHead, TakenEvent
from authpipe.store.database import Database, is_outage
from authpipe.store.transaction import Transaction
from authpipe.telemetry.logs import get_logger
from authpipe.telemetry.metrics import Metrics
from authpipe.vault.sealer import Sealer
from authpipe.vault.vault import Vault

_log = get_logger(__name__)

#: Seconds between two looks for events that wait.
EVERY_S = 1.0
#: Events of one environment linked at a time: some milliseconds of computing, so that a process that also
#: serves goes on serving, and no environment waits long for another.
BATCH = 500
#: How often a head that moved, and a chain that cannot go on, is written to the log.
TOLD_EVERY = timedelta(minutes=1)


class _Sealed(NamedTuple):
    """A head this process made or checked."""

    head: Head
    seal: bytes


class AuditChain:
    """Runs in every worker; the head of an environment is locked by one at a time.

    An event is linked within about a second of its commit, once.  A chain whose head is not what the vault
    sealed is left as it is: a new seal would make somebody's changes look like ours.
    """

    def __init__(
        self, *, database: Database, vault: Vault, clock: Clock, metrics: Metrics, batch: int = BATCH
    ) -> None:
        self._database = database
        self._seals = HeadSeals(vault)
        self._clock = clock
        self._metrics = metrics
        self._batch = batch
        self._sealed: dict[UUID, _Sealed] = {}
        self._untold: dict[UUID, Head] = {}
        self._told: dict[UUID, datetime] = {}
        self._complained: dict[UUID, datetime] = {}
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Work until :meth:`stop`.  Database outages are waited out."""
        while not self._stopping.is_set():
            try:
                linked = await self.extend()
            except Exception as error:  # noqa: BLE001  # the next round tries again
                level = _log.warning if is_outage(error) else _log.error
                level("the audit chain cannot be extended", error=type(error).__name__)
                linked = 0
            self._tell_heads()
            if linked < self._batch:
                try:
                    await asyncio.wait_for(self._stopping.wait(), EVERY_S)
                except TimeoutError:
                    continue
        self._tell_heads(at_once=True)

    def stop(self) -> None:
        """Finish the running round and no other."""
        self._stopping.set()

    async def extend(self) -> int:
        """Link one batch in every environment where events wait; returns how many were linked.

        None is linked where another process is at work, or where the chain must not go on.
        """
        async with self._database.system() as transaction:
            waiting = await transaction.audit_chain.waiting()
        linked = 0
        for environment_id, stored in waiting:
            try:
                linked += await self._continue(environment_id, stored)
            except Exception as error:  # one environment's trouble is not the others'
                if is_outage(error):
                    raise
                self._complain(environment_id, "the audit chain cannot go on", type(error).__name__)
        return linked

    async def _continue(self, environment_id: UUID, stored: StoredHead | None) -> int:
        if not await self._trusts(environment_id, stored):
            self._complain(environment_id, "the audit chain's head is not what the vault sealed", "tampered")
            return 0
        # Before the transaction: the vault may need a connection of its own.
        sealer = await self._seals.prepare(environment_id)
        async with self._database.system() as transaction:
            chain = transaction.audit_chain
            begun = stored is None and await chain.begin(environment_id, FIRST_HASH)
            locked = await chain.lock_head(environment_id)
            if locked is None or (not begun and locked != stored):
                if stored is None and locked is None and await chain.head(environment_id) is None:
                    self._complain(environment_id, "the audit chain has lost its head", "tampered")
                return 0
            previous = Head(locked.position, locked.hash)
            taken = await chain.take(environment_id, self._batch)
            head, linked = await self._link(transaction, environment_id, previous, taken)
            if not linked:
                return 0
            sealed = await self._move(transaction, environment_id, head, sealer)
        self._sealed[environment_id] = sealed
        self._untold[environment_id] = head
        self._metrics.audit_linked.inc(linked)
        return linked

    async def _link(
        self, transaction: Transaction, environment_id: UUID, head: Head, taken: list[TakenEvent]
    ) -> tuple[Head, int]:
        heads: list[Head] = []
        event_ids: list[UUID] = []
        for event in taken:
            if event.record is None or event.linked_at is not None:
                # Nothing of ours removes an event or queues it twice.
                problem = "vanished" if event.record is None else "queued twice"
                _log.error(
                    "an event that waited was tampered with",
                    environment_id=environment_id,
                    event_id=event.event_id,
                    problem=problem,
                )
                continue
            head = link(head, event.record)
            heads.append(head)
            event_ids.append(event.event_id)
        if heads:
            await transaction.audit_chain.link(
                environment_id, [each.position for each in heads], event_ids, [each.hash for each in heads]
            )
        return head, len(heads)

    async def _move(
        self, transaction: Transaction, environment_id: UUID, head: Head, sealer: Sealer
    ) -> _Sealed:
        seal = make_seal(sealer, environment_id, head)
        await transaction.audit_chain.move_head(
            environment_id, position=head.position, head_hash=head.hash, seal=seal, at=self._clock.now()
        )
        return _Sealed(head, seal)

    async def _trusts(self, environment_id: UUID, stored: StoredHead | None) -> bool:
        """Whether the chain may go on from here: sealed by the vault, and not behind what was seen before."""
        known = self._sealed.get(environment_id)
        head = BEGINNING if stored is None else Head(stored.position, stored.hash)
        if known is not None and (head.position < known.head.position):
            return False
        if stored is None or stored.seal is None:
            return head == BEGINNING
        if known == (head, stored.seal):
            return True
        if not await self._seals.holds(environment_id, head, stored.seal):
            return False
        self._sealed[environment_id] = _Sealed(head, stored.seal)
        return True

    def _complain(self, environment_id: UUID, what: str, problem: str) -> None:
        self._metrics.audit_refusals.inc()
        now = self._clock.now()
        last = self._complained.get(environment_id)
        if last is None or now - last >= TOLD_EVERY:
            self._complained[environment_id] = now
            _log.error(what, environment_id=environment_id, problem=problem)

    def _tell_heads(self, *, at_once: bool = False) -> None:
        """Put heads that moved into the log: whoever keeps it elsewhere can tell a chain made anew."""
        now = self._clock.now()
        for environment_id, head in list(self._untold.items()):
            last = self._told.get(environment_id)
            if at_once or last is None or now - last >= TOLD_EVERY:
                del self._untold[environment_id]
                self._told[environment_id] = now
                _log.info(
                    "audit head",
                    environment_id=environment_id,
                    position=head.position,
                    hash=head.hash.hex(),
                    head=str(head),
                )
