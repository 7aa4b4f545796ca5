"""What is left of a tenant, looked at from behind row-level security's back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import asyncpg

from authpipe.domain.clock import Clock
from authpipe.domain.event import ActorKind, Origin
from authpipe.store.database import Database

#: Tables whose rows of an erased tenant are evidence and stay.
EVIDENCE = frozenset({"events"})


async def tables_of_tenants(connection: asyncpg.Connection[Any]) -> list[str]:
    """Every table of the schema with a column for the tenant, so that a new one cannot be forgotten."""
    rows = await connection.fetch(
        "SELECT table_name FROM information_schema.columns"
        " WHERE table_schema = 'public' AND column_name = 'tenant_id' ORDER BY table_name"
    )
    return [row["table_name"] for row in rows]


async def begin_erasure(database: Database, clock: Clock, environment_id: UUID, tenant_id: str) -> None:
    """Mark the tenant, as an erasure does first, and go no further."""
    async with database.tenant(environment_id, tenant_id) as transaction:
        assert await transaction.tenants.lock(environment_id, tenant_id)
        await transaction.erasures.begin(
            environment_id, tenant_id, origin=Origin(actor_kind=ActorKind.COMMAND_LINE), at=clock.now()
        )


async def left_of(dsn: str, environment_id: UUID, tenant_id: str) -> Mapping[str, int]:
    """How many rows of a tenant each table holds; tables of evidence, and those that hold none, left out."""
    connection = await asyncpg.connect(dsn)
    try:
        found = {}
        for table in await tables_of_tenants(connection):
            count = await connection.fetchval(
                f"SELECT count(*) FROM {table} WHERE environment_id = $1 AND tenant_id = $2",
                environment_id,
                tenant_id,
            )
            if count and table not in EVIDENCE:
                found[table] = count
        return found
    finally:
        await connection.close()
