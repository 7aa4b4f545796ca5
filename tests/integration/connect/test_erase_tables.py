"""No table can be forgotten: what an erasure leaves is looked at in every table the schema has."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any
from uuid import UUID

import asyncpg
import pytest

from authpipe.connect.erase import UNHURRIED
from authpipe.domain.event import ActorKind, Origin
from support.erasing import EVIDENCE, left_of, tables_of_tenants
from support.every_table import insert, rows_of, tables
from support.hosted import Hosted

if TYPE_CHECKING:
    from conftest import Dsns

HERE, THERE = "org_here", "org_there"
ENVIRONMENT = UUID(int=0xE << 64)


@pytest.fixture
async def superuser(dsns: Dsns) -> AsyncIterator[asyncpg.Connection[Any]]:
    connection = await asyncpg.connect(dsns.superuser)
    await connection.set_type_codec("jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog")
    yield connection
    await connection.close()


async def _fill(superuser: asyncpg.Connection[Any]) -> list[str]:
    """A row of two tenants in every table with a column for the tenant; returns those tables."""
    of_tenants = await tables_of_tenants(superuser)
    for number, tenant_id in enumerate((HERE, THERE), 1):
        for table, row in rows_of(ENVIRONMENT, tenant_id, number).items():
            if number > 1 and table in {"environments", "provider_configs"}:
                continue
            # That one is an erasure under way; whoever erases makes it.
            if table in of_tenants and table != "erasures":
                await insert(superuser, table, {**row, "tenant_id": tenant_id})
            elif table in {"environments", "provider_configs"}:
                await insert(superuser, table, row)
    return of_tenants


async def _all_of(superuser: asyncpg.Connection[Any], table: str, tenant_id: str) -> list[asyncpg.Record]:
    return await superuser.fetch(f"SELECT * FROM {table} t WHERE tenant_id = $1 ORDER BY t::text", tenant_id)


async def test_no_row_of_an_erased_tenant_is_left_in_any_table(
    hosted: Hosted, superuser: asyncpg.Connection[Any], dsns: Dsns
) -> None:
    """But for those of evidence; and every row of another tenant is as it was."""
    of_tenants = await _fill(superuser)
    assert set(of_tenants) - {"erasures"} == set(await left_of(dsns.superuser, ENVIRONMENT, HERE)) | EVIDENCE
    theirs = {table: await _all_of(superuser, table, THERE) for table in of_tenants}
    evidence = {table: await _all_of(superuser, table, HERE) for table in EVIDENCE}
    certificate = await hosted.rooms.connecting.tenant_erasure.erase(
        ENVIRONMENT, HERE, origin=Origin(actor_kind=ActorKind.COMMAND_LINE), patience=UNHURRIED
    )
    assert await left_of(dsns.superuser, ENVIRONMENT, HERE) == {}
    assert {table: await _all_of(superuser, table, THERE) for table in of_tenants} == theirs
    for table in EVIDENCE:
        kept = await _all_of(superuser, table, HERE)
        assert all(row in kept for row in evidence[table]), table
    counts = certificate.counts
    assert (counts.connections, counts.installations, counts.credentials) == (1, 1, 1)
    assert (counts.connect_sessions, counts.remembered_answers) == (1, 1)
    assert (counts.api_keys, counts.data_keys) == (1, 1)


async def test_every_table_of_tenants_refuses_rows_of_one_that_is_erased(
    superuser: asyncpg.Connection[Any],
) -> None:
    """The schema's own word, whoever writes: a table without the rule would let a late row in."""
    of_tenants = set(await tables_of_tenants(superuser)) - EVIDENCE - {"tenants", "erasures"}
    assert of_tenants <= set(await tables(superuser))
    await _fill(superuser)
    await superuser.execute("UPDATE tenants SET erasing_at = now() WHERE tenant_id = $1", HERE)
    for table in sorted(of_tenants):
        row = {**rows_of(ENVIRONMENT, HERE, 7)[table], "tenant_id": HERE}
        with pytest.raises(asyncpg.PostgresError, match="being erased"):
            async with superuser.transaction():
                await insert(superuser, table, row)
