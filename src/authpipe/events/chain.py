"""Links events into the chain of their environment, soon after they were written and in one strict order."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from authpipe.domain.clock import Clock
from authpipe.events.chain_hash import Head, link
from authpipe.events.head_seal import HeadSeals, late_before, make_seal
from authpipe.store.audit_chain import StoredHead, TakenEvent, Waiting
from authpipe.store.database import Database, is_outage
from authpipe.store.transaction import Transaction
from authpipe.telemetry.logs import get_logger
from authpipe.telemetry.metrics import Metrics
from authpipe.vault.vault import Vault

_log = get_logger(__name__)

#: Seconds between two looks for events that wait.
EVERY_S = 1.0
#: Events of one environment linked at a time: some milliseconds of computing, so that a process that also
#: serves goes on serving, and no environment waits long for another.
BATCH = 500
#: An event that waits longer is told: a process that holds the head's lock makes every other pass by.
LONG_WAIT = timedelta(seconds=60)
#: How often a head that moved, and a chain that cannot go on, is written to the log.
TOLD_EVERY = timedelta(minutes=1)


class _Sealed(NamedTuple):
    """A head this process made or checked."""

    head: Head
    complete_at: datetime | None
    seal: bytes


class AuditChain:
    """Runs in every worker; the head of an environment is locked by one at a time.

    An event is linked within about a second of its commit, once.  A chain whose head is missing, or not what
    the vault sealed, is left as it is: a new seal would make somebody's changes look like ours.  So is an
    event that waits and is more than a day older than the moment up to which everything was linked.
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
        self._measure(waiting)
        linked = 0
        for each in waiting:
            try:
                now_linked = await self._continue(each.environment_id, each.head)
                self._judge_wait(each, now_linked)
            except Exception as error:  # one environment's trouble is not the others'
                if is_outage(error):
                    raise
                self._complain(each.environment_id, "the audit chain cannot go on", type(error).__name__)
                continue
            linked += now_linked
        return linked

    def _measure(self, waiting: list[Waiting]) -> None:
        now = self._clock.now()
        ages = [(now - each.oldest_at).total_seconds() for each in waiting if each.oldest_at is not None]
        self._metrics.audit_oldest_waiting.set(max(ages, default=0))

    def _judge_wait(self, waiting: Waiting, linked: int) -> None:
        oldest_at, head = waiting.oldest_at, waiting.head
        if oldest_at is None or head is None:
            return
        bound = late_before(head.complete_at)
        if bound is not None and oldest_at < bound:
            self._complain(
                waiting.environment_id, "an event waits that is older than what was linked before it", "late"
            )
        elif not linked and self._clock.now() - oldest_at > LONG_WAIT:
            self._complain(waiting.environment_id, "events wait and are not linked", "waiting", refused=False)

    async def _continue(self, environment_id: UUID, stored: StoredHead | None) -> int:
        if stored is None:
            self._complain(
                environment_id,
                "the audit chain has no head: it was removed, or never begun (authpipe audit begin)",
                "tampered",
            )
            return 0
        if not await self._trusts(environment_id, stored):
            self._complain(environment_id, "the audit chain's head is not what the vault sealed", "tampered")
            return 0
        now = self._clock.now()
        # Before the transaction: the vault may need a connection of its own.
        sealer = await self._seals.prepare(environment_id)
        async with self._database.system() as transaction:
            chain = transaction.audit_chain
            # Another process has it, or has moved it since it was looked at.
            if await chain.lock_head(environment_id) != stored:
                return 0
            previous = Head(stored.position, stored.hash)
            taken = await chain.take(environment_id, self._batch, not_before=late_before(stored.complete_at))
            head, linked = await self._link(transaction, environment_id, previous, taken)
            if not linked:
                return 0
            complete_at = stored.complete_at if len(taken) == self._batch else now
            seal = make_seal(sealer, environment_id, head, complete_at)
            await chain.move_head(
                environment_id,
                position=head.position,
                head_hash=head.hash,
                seal=seal,
                complete_at=complete_at,
            )
            sealed = _Sealed(head, complete_at, seal)
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

    async def _trusts(self, environment_id: UUID, stored: StoredHead) -> bool:
        """Whether the chain may go on from here: sealed by the vault, and not behind what was seen before."""
        known = self._sealed.get(environment_id)
        head = Head(stored.position, stored.hash)
        if stored.seal is None or (known is not None and head.position < known.head.position):
            return False
        found = _Sealed(head, stored.complete_at, stored.seal)
        if known == found:
            return True
        if not await self._seals.holds(environment_id, *found):
            return False
        self._sealed[environment_id] = found
        return True

    def _complain(self, environment_id: UUID, what: str, problem: str, *, refused: bool = True) -> None:
        if refused:
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
