"""Checks a chain link by link: what was linked is what is there, and the vault sealed where it ends."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from authpipe.events.chain_hash import BEGINNING, FIELDS, Head, link
from authpipe.events.head_seal import HeadSeals, late_before
from authpipe.store.audit_chain import StoredHead, StoredLink
from authpipe.store.database import Database
from authpipe.vault.vault import Vault

#: How far it is, and how far it goes.
Progress = Callable[[int, int], None]

_PAGE = 1000
_CREATED_AT = FIELDS.index("created_at")


class Fault(StrEnum):
    """What is wrong."""

    EVENT_DIFFERS = "event_differs"
    EVENT_MISSING = "event_missing"
    EVENT_NOT_LINKED = "event_not_linked"
    EVENT_LATE = "event_late"
    LINK_MISSING = "link_missing"
    LINK_DIFFERS = "link_differs"
    HEAD_MISSING = "head_missing"
    HEAD_DIFFERS = "head_differs"
    SEAL_MISSING = "seal_missing"
    SEAL_WRONG = "seal_wrong"
    EXPECTED_MISSING = "expected_missing"
    EXPECTED_DIFFERS = "expected_differs"
    EXPORT_INCOMPLETE = "export_incomplete"


#: Each fault as the end of a sentence.
SAID: dict[Fault, str] = {
    Fault.EVENT_DIFFERS: "the event is not what was linked here",
    Fault.EVENT_MISSING: "the event is gone",
    Fault.EVENT_NOT_LINKED: "the event has no link and does not wait for one",
    Fault.EVENT_LATE: "the event waits for its link and is a day older than what was linked before it came",
    Fault.LINK_MISSING: "the link is gone",
    Fault.LINK_DIFFERS: "the link's hash was changed; its event is as it was",
    Fault.HEAD_MISSING: "there is no head: it was removed, or the chain was never begun",
    Fault.HEAD_DIFFERS: "the head is not where the links end",
    Fault.SEAL_MISSING: "the head has no seal",
    Fault.SEAL_WRONG: "the vault did not seal this head, so any part of the chain may have been made anew",
    Fault.EXPECTED_MISSING: "the chain does not reach the expected head",
    Fault.EXPECTED_DIFFERS: "the hash here is not the expected one, so what is before it was made anew",
    Fault.EXPORT_INCOMPLETE: "the export does not end as it should",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """The first thing that is wrong.  ``position`` is None for an event that has none."""

    fault: Fault
    position: int | None = None
    event_id: str | None = None
    created_at: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """``head`` is how far everything is as it was linked; ``broken`` is None when that is to the end.

    ``waiting`` events were not linked yet, which is usual for a second.
    """

    environment_id: UUID
    head: Head
    checked: int
    waiting: int = 0
    sealed: bool = False
    broken: Broken | None = None

    @property
    def is_intact(self) -> bool:
        """Nothing is wrong."""
        return self.broken is None


class Walk:
    """Follows links from a head that is taken for granted; remembers how far they were good."""

    def __init__(self, start: Head, *, expected: Head | None = None) -> None:
        self.head = start
        self.checked = 0
        self._expected = expected

    async def follow(self, links: AsyncIterator[StoredLink], *, end: Head | None = None) -> Broken | None:
        """The first thing that is wrong, or None.  ``end`` helps to tell what changed in the last link."""
        if self._unexpected():
            return Broken(fault=Fault.EXPECTED_DIFFERS, position=self.head.position)
        async for each in links:
            if each.position != self.head.position + 1:
                return Broken(fault=Fault.LINK_MISSING, position=self.head.position + 1)
            if each.record is None:
                return Broken(fault=Fault.EVENT_MISSING, position=each.position, event_id=str(each.event_id))
            head = link(self.head, each.record)
            broken = _at(each, Fault.EVENT_DIFFERS)
            if head.hash != each.hash:
                following = await anext(links, None)
                return broken if not _fits(head, following, end) else _at(each, Fault.LINK_DIFFERS)
            self.head = head
            self.checked += 1
            if self._unexpected():
                return _at(each, Fault.EXPECTED_DIFFERS)
        if self._expected is not None and self._expected.position > self.head.position:
            return Broken(fault=Fault.EXPECTED_MISSING, position=self._expected.position)
        return None

    def _unexpected(self) -> bool:
        expected = self._expected
        return expected is not None and expected.position == self.head.position and expected != self.head


def _at(each: StoredLink, fault: Fault) -> Broken:
    created_at = None if each.record is None else each.record[_CREATED_AT]
    return Broken(fault=fault, position=each.position, event_id=str(each.event_id), created_at=created_at)


def _fits(head: Head, following: StoredLink | None, end: Head | None) -> bool:
    """Whether what comes next was made from this hash, so that the stored one is what was changed."""
    if following is None:
        return head == end
    return following.record is not None and link(head, following.record) == (
        following.position,
        following.hash,
    )


class ChainVerification:
    """Verifies chains as the database has them, in constant memory and without holding up those who write."""

    def __init__(self, database: Database, vault: Vault) -> None:
        self._database = database
        self._seals = HeadSeals(vault)

    async def verify(
        self, environment_id: UUID, *, expected: Head | None = None, progress: Progress | None = None
    ) -> Verdict:
        """The verdict on one environment.

        ``expected`` is a head that was noted elsewhere: its position must have that very hash.
        """
        async with self._database.system() as transaction:
            stored, last = await transaction.audit_chain.ends(environment_id)
        end = None if stored is None else Head(stored.position, stored.hash)
        walk = Walk(BEGINNING, expected=expected)
        broken = await walk.follow(self.links(environment_id, upto=last, progress=progress), end=end)
        if broken is None:
            broken = await self._judge_head(environment_id, walk.head, stored)
        sealed = broken is None and stored is not None and stored.seal is not None
        waiting = 0
        if broken is None:
            broken, waiting = await self._unlinked(environment_id, stored)
        return Verdict(
            environment_id=environment_id,
            head=walk.head,
            checked=walk.checked,
            waiting=waiting,
            sealed=sealed,
            broken=broken,
        )

    async def links(
        self, environment_id: UUID, *, after: int = 0, upto: int, progress: Progress | None = None
    ) -> AsyncIterator[StoredLink]:
        """Links of positions above ``after`` up to ``upto``, a page in memory at a time."""
        first = after
        while after < upto:
            async with self._database.system() as transaction:
                page = await transaction.audit_chain.links(
                    environment_id, after=after, upto=upto, limit=_PAGE
                )
            for each in page:
                yield each
            if not page:
                return
            after = page[-1].position
            if progress is not None:
                progress(after - first, upto - first)

    async def _judge_head(
        self, environment_id: UUID, reached: Head, stored: StoredHead | None
    ) -> Broken | None:
        if stored is None:
            return Broken(fault=Fault.HEAD_MISSING, position=reached.position)
        if stored.position > reached.position:
            return Broken(fault=Fault.LINK_MISSING, position=reached.position + 1)
        if (stored.position, stored.hash) != reached:
            return Broken(fault=Fault.HEAD_DIFFERS, position=stored.position)
        if stored.seal is None:
            return Broken(fault=Fault.SEAL_MISSING, position=reached.position)
        if not await self._seals.holds(environment_id, reached, stored.complete_at, stored.seal):
            return Broken(fault=Fault.SEAL_WRONG, position=reached.position)
        return None

    async def _unlinked(self, environment_id: UUID, stored: StoredHead | None) -> tuple[Broken | None, int]:
        bound = None if stored is None else late_before(stored.complete_at)
        after: UUID | None = None
        waiting = 0
        while True:
            async with self._database.system() as transaction:
                page = await transaction.audit_chain.unlinked(
                    environment_id, after=after, late_before=bound, limit=_PAGE
                )
            waiting += page.waiting
            if page.forgotten_id is not None:
                return Broken(
                    fault=Fault.EVENT_NOT_LINKED,
                    event_id=str(page.forgotten_id),
                    created_at=page.forgotten_at,
                ), waiting
            if page.late_id is not None:
                return Broken(
                    fault=Fault.EVENT_LATE, event_id=str(page.late_id), created_at=page.late_at
                ), waiting
            if page.seen < _PAGE:
                return None, waiting
            after = page.last_id
