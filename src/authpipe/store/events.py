"""The event log: facts are added and read, never changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import asyncpg

from authpipe.domain.event import ActorKind, Event, Origin, Outcome
from authpipe.store.repository import Repository


def _read(row: asyncpg.Record) -> Event:
    data: dict[str, Any] = row["data"]
    return Event(
        event_id=row["event_id"],
        environment_id=row["environment_id"],
        tenant_id=row["tenant_id"],
        type=row["type"],
        object_kind=row["object_kind"],
        object_id=row["object_id"],
        origin=Origin(
            actor_kind=ActorKind(row["actor_kind"]),
            actor_id=row["actor_id"],
            request_id=row["request_id"],
            source_address=row["source_address"],
        ),
        outcome=Outcome(row["outcome"]),
        created_at=row["created_at"],
        data=data,
    )


class Events(Repository):
    """Rows keyed by environment and a time-ordered event id."""

    aggregate = "events"

    async def add(self, event: Event) -> None:
        """Store a fact, in the transaction of the change it tells of."""
        await self._run(
            "insert",
            event.environment_id,
            event.tenant_id,
            event.event_id,
            event.type,
            event.object_kind,
            event.object_id,
            event.origin.actor_kind.value,
            event.origin.actor_id,
            event.origin.request_id,
            event.origin.source_address,
            event.outcome.value,
            dict(event.data),
            event.created_at,
        )

    async def add_all(self, events: Sequence[Event]) -> int:
        """Store facts of any environments in one statement; returns how many were new.

        One that is stored already stays as it is: whoever does not know whether a commit came through may
        send the same again.
        """
        columns = [
            (
                event.environment_id,
                event.tenant_id,
                event.event_id,
                event.type,
                event.object_kind,
                event.object_id,
                event.origin.actor_kind.value,
                event.origin.actor_id,
                event.origin.request_id,
                event.origin.source_address,
                event.outcome.value,
                dict(event.data),
                event.created_at,
            )
            for event in events
        ]
        return await self._run("insert_all", *zip(*columns, strict=True)) if columns else 0

    async def page(
        self,
        environment_id: UUID,
        *,
        tenant_id: str | None = None,
        type: str | None = None,  # noqa: A002  # the field's own name
        object_id: str | None = None,
        before: UUID | None = None,
        limit: int = 50,
    ) -> list[Event]:
        """Up to ``limit`` events, newest first, that match every given filter."""
        rows = await self._all("page", environment_id, tenant_id, type, object_id, before, limit)
        return [_read(row) for row in rows]

    async def get(self, environment_id: UUID, event_id: UUID) -> Event | None:
        """The event, or None."""
        row = await self._one("get", environment_id, event_id)
        return None if row is None else _read(row)

    async def changes(
        self, environment_id: UUID, *, after: UUID, tenant_id: str | None, limit: int
    ) -> list[str]:
        """Up to ``limit`` events later than ``after`` that make cached credentials stale, oldest first, each
        as the notification that told of it.

        With ``tenant_id`` those of this tenant, and of the environment as a whole.
        """
        rows = await self._all("changes", environment_id, after, tenant_id, limit)
        return [row["change"] for row in rows]
