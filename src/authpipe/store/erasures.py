"""Erasing tenants: the mark, the progress, and the rows that go."""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from authpipe.domain.connect_session import ConnectSession
from authpipe.domain.connection import Connection, Installation
from authpipe.domain.erasure import Erasure, ErasureCounts, ErasureStep
from authpipe.domain.errors import Conflict
from authpipe.domain.event import ActorKind, Origin
from authpipe.store.records import read
from authpipe.store.repository import Repository

#: What the schema raises when something would begin for a tenant that is being erased.
_ERASING = "AE001"

#: The tables of a tenant's rows, in an order that foreign keys allow, each with the count it adds to.
#: API keys and data keys are not among them: they go before.
TABLES: tuple[tuple[str, str | None], ...] = (
    ("credentials", "credentials"),
    ("candidates", None),
    ("authorization_attempts", None),
    ("connect_sessions", "connect_sessions"),
    ("connections", "connections"),
    ("installation_claims", None),
    ("installations", "installations"),
    ("idempotency_keys", "remembered_answers"),
)


def tenant_erasing() -> Conflict:
    """The refusal of whatever would begin for a tenant that is being erased."""
    return Conflict(
        "the tenant is being erased, or was erased a moment ago: nothing begins for it", code="tenant_erasing"
    )


def is_erasing(error: asyncpg.PostgresError) -> bool:
    """Whether the database refused something because its tenant is being erased."""
    return error.sqlstate == _ERASING


class Erasures(Repository):
    """One row for each tenant that is being erased; it goes with the tenant's own."""

    aggregate = "erasure"

    async def begin(self, environment_id: UUID, tenant_id: str, *, origin: Origin, at: datetime) -> None:
        """Mark a tenant whose row this transaction holds: from its commit on nothing begins for it."""
        await self._run("mark", environment_id, tenant_id, at)
        await self._run(
            "begin",
            environment_id,
            tenant_id,
            origin.actor_kind.value,
            origin.actor_id,
            origin.request_id,
            origin.source_address,
            next(iter(ErasureStep)).value,
            at,
        )

    async def claim(
        self, environment_id: UUID, tenant_id: str, *, now: datetime, lease_until: datetime
    ) -> Erasure | None:
        """Take an erasure on.  None while somebody else has it."""
        row = await self._one("claim", environment_id, tenant_id, now, lease_until)
        return None if row is None else _read(row)

    async def claim_any(self, *, now: datetime, lease_until: datetime) -> Erasure | None:
        """Take on the oldest erasure that nobody is at, of those that are not put off: system-wide work."""
        row = await self._one("claim_any", now, lease_until)
        return None if row is None else _read(row)

    async def advance(
        self,
        erasure: Erasure,
        *,
        step: ErasureStep,
        after: UUID | None,
        counts: ErasureCounts,
        lease_until: datetime,
    ) -> Erasure | None:
        """Write down how far it is, and keep the lease.  None when the lease is lost."""
        done = await self._run(
            "advance",
            erasure.environment_id,
            erasure.tenant_id,
            erasure.lease,
            step.value,
            after,
            asdict(counts),
            lease_until,
        )
        return replace(erasure, step=step, after=after, counts=counts) if done else None

    async def release(self, erasure: Erasure, *, until: datetime | None) -> None:
        """Give the lease back, for whoever goes on; :meth:`claim_any` leaves it alone ``until`` then."""
        await self._run("release", erasure.environment_id, erasure.tenant_id, erasure.lease, until)

    async def end(self, erasure: Erasure) -> bool:
        """Remove the erasure and its tenant, of which nothing else may be left.  False: the lease is lost."""
        if not await self._run("end", erasure.environment_id, erasure.tenant_id, erasure.lease):
            return False
        await self._run("drop_tenant", erasure.environment_id, erasure.tenant_id)
        return True

    async def candidate_sessions(self, erasure: Erasure, *, limit: int) -> list[ConnectSession]:
        """Sessions with a candidate, from where the erasure is, in the order of their ids."""
        return [read(ConnectSession, row) for row in await self._page("candidate_sessions", erasure, limit)]

    async def live_connections(self, erasure: Erasure, *, limit: int) -> list[Connection]:
        """Connections that have not ended, from where the erasure is, in the order of their ids."""
        return [read(Connection, row) for row in await self._page("live_connections", erasure, limit)]

    async def live_installations(self, erasure: Erasure, *, limit: int) -> list[Installation]:
        """Installations that were not deleted, from where the erasure is, in the order of their ids."""
        return [read(Installation, row) for row in await self._page("live_installations", erasure, limit)]

    async def count_left(self, erasure: Erasure) -> int:
        """How many grants its step would still have looked at."""
        name = {
            ErasureStep.CANDIDATES: "count_candidate_sessions",
            ErasureStep.CONNECTIONS: "count_live_connections",
            ErasureStep.INSTALLATIONS: "count_live_installations",
        }[erasure.step]
        return int(await self._value(name, erasure.environment_id, erasure.tenant_id, erasure.after))

    async def delete_api_keys(self, erasure: Erasure) -> list[asyncpg.Record]:
        """Delete the keys restricted to the tenant and tell every replica; returns what they were called."""
        return await self._all("delete_api_keys", erasure.environment_id, erasure.tenant_id)

    async def delete_batch(self, erasure: Erasure, table: str, *, limit: int) -> int:
        """Delete up to so many rows of one of :data:`TABLES`, leaving those that somebody works on."""
        name, place = f"delete_{table}", (erasure.environment_id, erasure.tenant_id, limit)
        # The one that answers with rows: each is a notification.
        return len(await self._all(name, *place)) if table == "credentials" else await self._run(name, *place)

    async def is_anything_left(self, erasure: Erasure) -> bool:
        """Whether any row of :data:`TABLES` is left."""
        return bool(await self._value("is_anything_left", erasure.environment_id, erasure.tenant_id))

    async def _page(self, name: str, erasure: Erasure, limit: int) -> list[asyncpg.Record]:
        return await self._all(name, erasure.environment_id, erasure.tenant_id, erasure.after, limit)


def _read(row: Any) -> Erasure:
    return Erasure(
        environment_id=row["environment_id"],
        tenant_id=row["tenant_id"],
        origin=Origin(
            actor_kind=ActorKind(row["actor_kind"]),
            actor_id=row["actor_id"],
            request_id=row["request_id"],
            source_address=row["source_address"],
        ),
        step=ErasureStep(row["step"]),
        after=row["after"],
        counts=ErasureCounts(**row["counts"]),
        lease=row["lease"],
        created_at=row["created_at"],
    )
