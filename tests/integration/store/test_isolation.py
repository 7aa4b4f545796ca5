"""Row-level security: the wall behind every WHERE clause, looked at from the application's own role."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from authpipe.domain.errors import Conflict
from authpipe.store.database import APP_ROLE, SYSTEM_ROLE, Database
from authpipe.store.lookups import Lookup
from support.every_table import ENVIRONMENT_WIDE, SYSTEM_ONLY, count, insert, rows_of, tables
from support.postgres import Dsns

FIRST, SECOND = UUID(int=0xA << 64), UUID(int=0xB << 64)
HERE, THERE = "org_here", "org_there"


@dataclass
class Filled:
    """A database with a row in every table for two tenants of each of two environments."""

    database: Database
    superuser: asyncpg.Connection[Any]
    tables: list[str]


@pytest.fixture
async def filled(database: Database, dsns: Dsns) -> AsyncIterator[Filled]:
    superuser = await asyncpg.connect(dsns.superuser)
    await superuser.set_type_codec("jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog")
    names = await tables(superuser)
    assert set(rows_of(FIRST, HERE, 1)) == set(names), "a new table needs a row in support/every_table.py"
    for environment_id in (FIRST, SECOND):
        for number, tenant_id in enumerate((HERE, THERE), 1):
            for table, row in rows_of(environment_id, tenant_id, number).items():
                if number == 1 or table not in {"environments", "provider_configs"}:
                    await insert(superuser, table, row)
    yield Filled(database, superuser, names)
    await superuser.close()


async def test_every_table_is_walled(filled: Filled) -> None:
    """Row-level security is on and forced in each table, and each has a policy for both roles."""
    rows = await filled.superuser.fetch(
        "SELECT relname, relrowsecurity, relforcerowsecurity,"
        " ARRAY(SELECT polname::text FROM pg_policy WHERE polrelid = pg_class.oid ORDER BY 1) AS policies,"
        " pg_get_userbyid(relowner) AS owner"
        " FROM pg_class WHERE relname = ANY($1)",
        filled.tables,
    )
    assert {row["relname"] for row in rows} == set(filled.tables)
    for row in rows:
        assert row["relrowsecurity"], row["relname"]
        assert row["relforcerowsecurity"], row["relname"]
        assert row["policies"] == ["app", "system"], row["relname"]
        assert row["owner"] not in (APP_ROLE, SYSTEM_ROLE), row["relname"]


async def test_the_roles_have_no_way_around_it(filled: Filled) -> None:
    """Neither is a superuser, may bypass row-level security, may log in, or may make roles."""
    rows = await filled.superuser.fetch(
        "SELECT * FROM pg_roles WHERE rolname = ANY($1)", [APP_ROLE, SYSTEM_ROLE]
    )
    assert len(rows) == 2
    for row in rows:
        given = {name for name in ("rolsuper", "rolbypassrls", "rolcanlogin", "rolcreaterole") if row[name]}
        assert given == set(), row["rolname"]


async def test_without_a_tenant_nothing_is_read(filled: Filled) -> None:
    """A connection of the pool as it is handed out sees an empty database."""
    async with filled.database.read() as transaction:
        assert await transaction.connection.fetchval("SELECT current_user") == APP_ROLE
        assert {
            table: await count(transaction.connection, table) for table in filled.tables
        } == dict.fromkeys(filled.tables, 0)


async def test_the_owner_of_the_tables_reads_nothing_either(filled: Filled, dsns: Dsns) -> None:
    """Forgetting to take on the application's role shows too little, never too much."""
    owner = await asyncpg.connect(dsns.owner)
    try:
        assert {table: await count(owner, table) for table in filled.tables} == dict.fromkeys(
            filled.tables, 0
        )
    finally:
        await owner.close()


async def test_after_a_tenants_transaction_nothing_is_read(dsns: Dsns, filled: Filled) -> None:
    """The scope ends with the transaction, however that ended, although connections are not reset."""
    database = await Database.connect(dsns.owner, min_size=1, max_size=1)
    try:
        async with database.tenant(FIRST, HERE) as transaction:
            assert await count(transaction.connection, "connections") == 1
        await expect_nothing(database, filled)
        with pytest.raises(RuntimeError, match="thrown"):
            async with database.tenant(FIRST, HERE) as transaction:
                raise RuntimeError("thrown")
        await expect_nothing(database, filled)
        async with database.system() as transaction:
            assert await count(transaction.connection, "connections") == 4
        await expect_nothing(database, filled)
        async with database.read() as reading:
            await reading.lookups.one(lookup(HERE))
            await reading.lookups.many([lookup(HERE), lookup(THERE)])
        await expect_nothing(database, filled)
    finally:
        await database.close()


async def test_a_cancelled_transaction_leaves_no_scope_behind(dsns: Dsns, filled: Filled) -> None:
    """Whatever statement the cancellation hits: COMMIT and the scope's own settings included."""
    database = await Database.connect(dsns.owner, min_size=1, max_size=1)

    async def work() -> None:
        async with database.tenant(FIRST, HERE) as transaction:
            await count(transaction.connection, "connections")

    try:
        for steps in range(60):
            task = asyncio.create_task(work())
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            await expect_nothing(database, filled)
    finally:
        await database.close()


def lookup(tenant_id: str, *, environment_id: UUID = FIRST, user_id: str = "1") -> Lookup:
    return Lookup(environment_id, tenant_id, "discord", user_id, "user", None, None, None)


async def expect_nothing(database: Database, filled: Filled) -> None:
    """The next user of the pool's only connection starts with nothing."""
    async with database.read() as transaction:
        assert await transaction.connection.fetchval("SELECT current_user") == APP_ROLE
        for setting in ("environment_id", "tenant_id"):
            assert not await transaction.connection.fetchval(
                "SELECT current_setting($1, true)", f"authpipe.{setting}"
            )
        for table in filled.tables:
            assert await count(transaction.connection, table) == 0, table


async def test_a_tenant_reads_its_own_rows_only(filled: Filled) -> None:
    """One row of each tenant's table, and of the environment's tables those of this environment."""
    async with filled.database.tenant(FIRST, HERE) as transaction:
        for table in set(filled.tables) - SYSTEM_ONLY:
            rows = await transaction.connection.fetch(f"SELECT * FROM {table}")
            assert {row["environment_id"] for row in rows} == {FIRST}, table
            if table not in ENVIRONMENT_WIDE:
                assert [row["tenant_id"] for row in rows] == [HERE], table


async def test_an_environment_reads_all_its_tenants_and_no_other_environment(filled: Filled) -> None:
    """Environment-wide work sees both tenants and stays inside."""
    async with filled.database.environment(SECOND) as transaction:
        for table in set(filled.tables) - SYSTEM_ONLY:
            rows = await transaction.connection.fetch(f"SELECT * FROM {table}")
            assert {row["environment_id"] for row in rows} == {SECOND}, table
            if table not in ENVIRONMENT_WIDE:
                assert {row["tenant_id"] for row in rows} == {HERE, THERE}, table


@pytest.mark.parametrize(("environment_id", "tenant_id"), [(FIRST, THERE), (SECOND, HERE), (SECOND, None)])
async def test_a_tenant_cannot_insert_for_another(
    filled: Filled, environment_id: UUID, tenant_id: str | None
) -> None:
    """Neither for another tenant of its environment nor for any of another environment."""
    for table, row in rows_of(environment_id, tenant_id or HERE, 3).items():
        if table in SYSTEM_ONLY or (table in ENVIRONMENT_WIDE) != (tenant_id is None):
            continue
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
            async with filled.database.tenant(FIRST, HERE) as transaction:
                await insert(transaction.connection, table, row)


async def test_a_tenant_cannot_change_or_delete_anothers_rows(filled: Filled) -> None:
    """An UPDATE or DELETE without any WHERE clause touches its own rows alone."""
    before = {table: await others(filled, table) for table in set(filled.tables) - SYSTEM_ONLY}
    for table in set(filled.tables) - SYSTEM_ONLY - {"events"}:
        order = "wrapped = wrapped" if table == "data_keys" else "created_at = 'epoch'"
        if table == "credentials":
            order = "updated_at = 'epoch'"
        if table == "installation_claims":
            order = "external_id = 'taken-' || external_id"
        async with filled.database.tenant(FIRST, HERE) as transaction:
            await transaction.connection.execute(f"UPDATE {table} SET {order}")
        async with filled.database.tenant(FIRST, HERE) as transaction:
            with contextlib.suppress(asyncpg.ForeignKeyViolationError):
                async with transaction.connection.transaction():
                    await transaction.connection.execute(f"DELETE FROM {table}")
        assert await others(filled, table) == before[table], table


async def others(filled: Filled, table: str) -> list[asyncpg.Record]:
    """The rows that are not HERE's in FIRST; of the environment's tables, those of SECOND."""
    mine = "environment_id = $1" if table in ENVIRONMENT_WIDE else "environment_id = $1 AND tenant_id = $2"
    arguments = [FIRST] if table in ENVIRONMENT_WIDE else [FIRST, HERE]
    return await filled.superuser.fetch(
        f"SELECT * FROM {table} t WHERE NOT ({mine}) ORDER BY t::text", *arguments
    )


async def test_a_row_cannot_be_moved_to_another_tenant(filled: Filled) -> None:
    """The check on what is written is as strict as that on what is read."""
    for table in sorted(set(filled.tables) - ENVIRONMENT_WIDE - SYSTEM_ONLY - {"events"}):
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
            async with filled.database.tenant(FIRST, HERE) as transaction:
                await transaction.connection.execute(f"UPDATE {table} SET tenant_id = '{THERE}_2'")


async def test_the_workspaces_own_tables_are_closed_to_environments(filled: Filled) -> None:
    """Operators, sign-ins and the audit chain are seen and written by system-wide work alone."""
    for table in sorted(SYSTEM_ONLY):
        async with filled.database.environment(FIRST) as transaction:
            assert await count(transaction.connection, table) == 0, table
        for statement in (f"DELETE FROM {table}", f"INSERT INTO {table} SELECT * FROM {table}"):
            if table == "unchained_events" and statement.startswith("INSERT"):
                continue
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied"):
                async with filled.database.environment(FIRST) as transaction:
                    await transaction.connection.execute(statement)
        async with filled.database.system() as transaction:
            assert await count(transaction.connection, table) > 0, table


async def test_events_can_be_added_and_never_changed(filled: Filled) -> None:
    """Neither role may update or delete an event: they are evidence."""
    for role, scope in (
        (APP_ROLE, filled.database.environment(FIRST)),
        (SYSTEM_ROLE, filled.database.system()),
    ):
        async with scope as transaction:
            assert await transaction.connection.fetchval("SELECT current_user") == role
            for statement in ("UPDATE events SET type = 'x'", "DELETE FROM events", "TRUNCATE events"):
                with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied"):
                    async with transaction.connection.transaction():
                        await transaction.connection.execute(statement)


async def test_an_environments_own_event_is_hidden_from_tenants(filled: Filled) -> None:
    """What has no tenant is written and read by environment-wide work only."""
    event = {**rows_of(FIRST, HERE, 5)["events"], "tenant_id": None}
    async with filled.database.environment(FIRST) as transaction:
        await insert(transaction.connection, "events", event)
        assert await count(transaction.connection, "events") == 3
    async with filled.database.tenant(FIRST, HERE) as transaction:
        assert await count(transaction.connection, "events") == 1
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
        async with filled.database.tenant(FIRST, HERE) as transaction:
            await insert(transaction.connection, "events", {**event, "event_id": UUID(int=1)})


async def test_an_environments_own_keyset_is_hidden_from_tenants(filled: Filled) -> None:
    """Client secrets and bot tokens are encrypted under keys no tenant's transaction can load."""
    row = {**rows_of(FIRST, "*", 5)["data_keys"]}
    await insert(filled.superuser, "data_keys", row)
    async with filled.database.tenant(FIRST, HERE) as transaction:
        assert await transaction.data_keys.all(FIRST, None) == []
    async with filled.database.keysets(FIRST, None) as transaction:
        assert [key.key_id for key in await transaction.data_keys.all(FIRST, None)] == [row["key_id"]]


@pytest.mark.parametrize("tenant_id", ["", "*"])
async def test_a_tenant_transaction_cannot_be_opened_for_everybody(
    database: Database, tenant_id: str
) -> None:
    """The word row-level security uses for "all" is no tenant id, nor is nothing."""
    with pytest.raises(ValueError, match="tenant id"):
        async with database.tenant(FIRST, tenant_id):
            pytest.fail("opened")


async def test_the_one_statement_read_cannot_reach_beyond_its_tenant(filled: Filled) -> None:
    """The read path sets its own scope; asking for everybody's word finds nobody's rows."""
    async with filled.database.read() as transaction:
        for tenant_id, found in ((HERE, 1), (THERE, 0), ("*", 0), ("", 0)):
            rows = await transaction.lookups.one(lookup(tenant_id))
            assert len(rows) == found, tenant_id


async def test_reads_that_go_together_stay_apart(filled: Filled) -> None:
    """Each in the scope of its own tenant and environment, in whatever order and company."""
    asked = [
        lookup(THERE), lookup(HERE), lookup("*"), lookup(THERE, user_id="2"), lookup(HERE),
        lookup(HERE, environment_id=SECOND), lookup(""), lookup(HERE),
    ]  # fmt: skip
    expected = await filled.superuser.fetch(
        "SELECT connection_id FROM connections WHERE (environment_id, tenant_id) <> ($1, $2)", SECOND, THERE
    )
    assert len(expected) == 3
    async with filled.database.read() as transaction:
        for order in (asked, asked[::-1]):
            together = [owners(rows) for rows in await transaction.lookups.many(order)]
            assert together == [owners(await transaction.lookups.one(one)) for one in order]
            assert {owner for found in together for owner in found} == {
                row["connection_id"] for row in expected
            }


def owners(found: list[asyncpg.Record] | Conflict) -> list[UUID]:
    assert isinstance(found, list)
    return [row["owner_id"] for row in found]
