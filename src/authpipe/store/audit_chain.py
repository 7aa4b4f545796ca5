"""Links of the audit chain, its heads, and the events that wait to be linked.  System-wide work only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg

from authpipe.store.repository import Repository

#: An event's columns as text, in the order in which they are hashed.
Record = tuple[str | None, ...]
_RECORD_COLUMNS = 13


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredHead:
    """Where a chain ends, as the database tells it."""

    position: int
    hash: bytes
    seal: bytes | None
    complete_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """An environment in which events wait.  ``oldest_at`` is None when the first of them is gone."""

    environment_id: UUID
    head: StoredHead | None
    oldest_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredLink:
    """One link; ``record`` is None when its event is gone."""

    position: int
    event_id: UUID
    hash: bytes
    record: Record | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenEvent:
    """An event that waited.  ``record`` is None when it is gone, ``linked_at`` set when it has a link."""

    event_id: UUID
    record: Record | None
    linked_at: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class UnlinkedPage:
    """What a page of events tells: ``forgotten_id`` neither has a link nor waits for one, ``late_id`` waits
    and is older than was asked for."""

    seen: int
    last_id: UUID | None
    waiting: int
    forgotten_id: UUID | None
    forgotten_at: str | None
    late_id: UUID | None
    late_at: str | None


def _head(row: asyncpg.Record | None) -> StoredHead | None:
    if row is None or row["position"] is None:
        return None
    return StoredHead(
        position=row["position"], hash=row["hash"], seal=row["seal"], complete_at=row["complete_at"]
    )


def _record(row: asyncpg.Record) -> Record | None:
    columns = tuple(row)[-_RECORD_COLUMNS:]
    return None if columns[0] is None else columns


class AuditChain(Repository):
    """Rows keyed by environment and position."""

    aggregate = "audit_chain"

    async def waiting(self) -> list[Waiting]:
        """The environments in which events wait."""
        await self._by_index()
        return [
            Waiting(environment_id=row["environment_id"], head=_head(row), oldest_at=row["oldest_at"])
            for row in await self._all("waiting")
        ]

    async def headed(self) -> list[UUID]:
        """The environments that have a chain."""
        return [row["environment_id"] for row in await self._all("headed")]

    async def head(self, environment_id: UUID) -> StoredHead | None:
        """The head, or None."""
        return _head(await self._one("head", environment_id))

    async def begin(
        self, environment_id: UUID, *, first_hash: bytes, seal: bytes, complete_at: datetime | None
    ) -> bool:
        """Make the head of a chain without links.  False when it has a head, or links."""
        return await self._run("begin", environment_id, first_hash, seal, complete_at) == 1

    async def lock_head(self, environment_id: UUID) -> StoredHead | None:
        """The head, locked until the transaction ends; None when there is none or another holds it."""
        return _head(await self._one("lock_head", environment_id))

    async def take(
        self, environment_id: UUID, limit: int, *, not_before: datetime | None
    ) -> list[TakenEvent]:
        """The oldest events that wait and did not happen before that time; they wait no longer when the
        transaction commits."""
        await self._by_index()
        return [
            TakenEvent(event_id=row["taken_id"], record=_record(row), linked_at=row["linked_at"])
            for row in await self._all("take", environment_id, limit, not_before)
        ]

    async def link(
        self,
        environment_id: UUID,
        positions: Sequence[int],
        event_ids: Sequence[UUID],
        hashes: Sequence[bytes],
    ) -> None:
        """Add links."""
        await self._run("link", environment_id, positions, event_ids, hashes)

    async def move_head(
        self,
        environment_id: UUID,
        *,
        position: int,
        head_hash: bytes,
        seal: bytes,
        complete_at: datetime | None,
    ) -> None:
        """Write a head that is locked."""
        await self._run("move_head", environment_id, position, head_hash, seal, complete_at)

    async def ends(self, environment_id: UUID) -> tuple[StoredHead | None, int]:
        """The head and the position of the last link (0: there is none), of the same moment."""
        row = await self._one("ends", environment_id)
        return _head(row), 0 if row is None else row["last_link"] or 0

    async def links(
        self, environment_id: UUID, *, after: int, upto: int, limit: int = 1000
    ) -> list[StoredLink]:
        """Links with their events, by position."""
        return [
            StoredLink(
                position=row["position"],
                event_id=row["link_event_id"],
                hash=row["hash"],
                record=_record(row),
            )
            for row in await self._all("links", environment_id, after, upto, limit)
        ]

    async def hash_at(self, environment_id: UUID, position: int) -> bytes | None:
        """The hash of one link."""
        value: bytes | None = await self._value("hash_at", environment_id, position)
        return value

    async def unlinked(
        self, environment_id: UUID, *, after: UUID | None, late_before: datetime | None, limit: int = 1000
    ) -> UnlinkedPage:
        """Look at a page of events, by id."""
        (row,) = await self._all("unlinked", environment_id, after, limit, late_before)
        return UnlinkedPage(**dict(row))

    async def first_since(self, environment_id: UUID, moment: datetime) -> int | None:
        """The first position whose event happened at ``moment`` or later."""
        value: int | None = await self._value("first_since", environment_id, moment)
        return value

    async def last_until(self, environment_id: UUID, moment: datetime) -> int | None:
        """The last position whose event happened at ``moment`` or earlier."""
        value: int | None = await self._value("last_until", environment_id, moment)
        return value
