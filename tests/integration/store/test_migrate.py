"""Migrations: applied once by whoever comes first, and clear about what stands in their way."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import asyncpg
import pytest
from alembic import command

from authpipe.domain.errors import ConfigurationError
from authpipe.store.database import Database
from authpipe.store.migrate import head, migrate
from support.postgres import Server

MIGRATE = """
import asyncio, sys
from authpipe.store.migrate import migrate
print(asyncio.run(migrate(sys.argv[1])))
"""


@pytest.fixture
async def empty(postgres: Server) -> AsyncIterator[str]:
    """The name of a database without a schema."""
    name = await postgres.create(migrated=False)
    yield name
    await postgres.drop(name)


async def test_four_processes_that_start_together_migrate_once(postgres: Server, empty: str) -> None:
    """One of them applies the schema, the others find it done, and none fails.

    All four are held back until the last has come, by a table of the name that the first of them makes.
    """
    superuser = await asyncpg.connect(postgres.superuser_dsn(empty))
    in_the_way = superuser.transaction()
    await in_the_way.start()
    await superuser.execute("CREATE TABLE alembic_version ()")
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", MIGRATE, postgres.owner_dsn(empty),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )
        for _ in range(4)
    ]  # fmt: skip
    outputs = asyncio.gather(*(process.communicate() for process in processes))
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
    async with asyncio.timeout(60):
        while await superuser.fetchval(waiting) < 4:
            await asyncio.sleep(0.02)
    await in_the_way.rollback()
    await superuser.close()
    said = await outputs
    assert [process.returncode for process in processes] == [0] * 4, said
    assert sorted(out.decode().strip() for out, _ in said) == sorted(
        [f"(None, '{head()}')", *[f"('{head()}', '{head()}')"] * 3]
    )


async def test_a_migrated_database_is_left_alone(postgres: Server, empty: str) -> None:
    """Running it again changes nothing."""
    assert await migrate(postgres.owner_dsn(empty)) == (None, head())
    assert await migrate(postgres.owner_dsn(empty)) == (head(), head())


async def test_rows_of_the_first_release_come_along(
    postgres: Server, empty: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A data key that was replaced before is retired; every earlier event waits for its link."""
    upgrade = command.upgrade
    with monkeypatch.context() as patched:
        patched.setattr(command, "upgrade", lambda config, _head: upgrade(config, "0001"))
        assert await migrate(postgres.owner_dsn(empty)) == (None, "0001")
    superuser = await asyncpg.connect(postgres.superuser_dsn(empty))
    try:
        await superuser.execute(
            "INSERT INTO environments VALUES (gen_random_uuid(), 'e', 'development', '{}', '{}', now());"
            "INSERT INTO data_keys SELECT environment_id, '*', gen_random_uuid(), 'kek', '', false, 0, now()"
            " FROM environments;"
            "INSERT INTO events SELECT environment_id, NULL, gen_random_uuid(), 't', 'k', 'o', 'worker',"
            " NULL, NULL, NULL, 'success', '{}', now() FROM environments, generate_series(1, 3)"
        )
        assert await migrate(postgres.owner_dsn(empty)) == ("0001", head())
        assert await superuser.fetchval("SELECT retired_at = created_at FROM data_keys") is True
        assert await superuser.fetchval("SELECT count(*) FROM unchained_events") == 3
        unforced = "SELECT relname FROM pg_class WHERE relrowsecurity AND NOT relforcerowsecurity"
        assert await superuser.fetch(unforced) == []
    finally:
        await superuser.close()


async def test_several_databases_of_one_server_can_be_migrated_at_once(postgres: Server) -> None:
    """The roles belong to the server as a whole; making them twice is no error."""
    names = [await postgres.create(migrated=False) for _ in range(3)]
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", MIGRATE, postgres.owner_dsn(name),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )
        for name in names
    ]  # fmt: skip
    outputs = await asyncio.gather(*(process.communicate() for process in processes))
    assert [process.returncode for process in processes] == [0] * 3, outputs
    for name in names:
        await postgres.drop(name)


async def test_a_database_without_a_schema_names_the_remedy(postgres_without_roles: str) -> None:
    """Connecting before migrating says what to run, not that a role is missing."""
    with pytest.raises(ConfigurationError, match="authpipe migrate"):
        await Database.connect(postgres_without_roles)


@pytest.fixture
async def postgres_without_roles(postgres: Server, empty: str) -> AsyncIterator[str]:
    """Somebody who is a member of no role, as everybody is before the first migration."""
    admin = await asyncpg.connect(postgres.superuser_dsn(empty))
    await admin.execute("CREATE ROLE newcomer LOGIN PASSWORD 'newcomer'")
    await admin.execute("ALTER ROLE authpipe_app RENAME TO authpipe_app_later")
    yield postgres.superuser_dsn(empty)
    await admin.execute("ALTER ROLE authpipe_app_later RENAME TO authpipe_app")
    await admin.execute("DROP ROLE newcomer")
    await admin.close()


async def test_a_user_that_may_not_make_tables_is_told_what_it_needs(postgres: Server, empty: str) -> None:
    """Since PostgreSQL 15 a user may not create in schema public unless the database is its own."""
    admin = await asyncpg.connect(postgres.superuser_dsn(empty))
    await admin.execute("CREATE ROLE guest LOGIN PASSWORD 'guest'")
    try:
        dsn = postgres.owner_dsn(empty)
        guest = dsn.replace(dsn[: dsn.index("@")], "postgresql://guest:guest")
        with pytest.raises(ConfigurationError, match="may not migrate"):
            await migrate(guest)
    finally:
        await admin.execute("DROP ROLE guest")
        await admin.close()


@pytest.fixture(params=[migrate, Database.connect], ids=["migrate", "connect"])
def door(request: pytest.FixtureRequest) -> Callable[[str], Awaitable[object]]:
    """Either way into a database."""
    return request.param  # type: ignore[no-any-return]


Door = Callable[[str], Awaitable[object]]


async def test_an_unreachable_server_is_a_configuration_error(door: Door, tmp_path: Path) -> None:
    """It says which setting to check, in one line."""
    with pytest.raises(ConfigurationError, match="AUTHPIPE_DATABASE_URL"):
        await door(f"postgresql://u:p@/authpipe?host={tmp_path}")


async def test_a_wrong_password_is_a_configuration_error(door: Door, postgres: Server, empty: str) -> None:
    """And the message does not repeat it."""
    dsn = postgres.owner_dsn(empty)
    with pytest.raises(ConfigurationError, match="refused user or password") as caught:
        await door(dsn.replace(dsn[: dsn.index("@")], "postgresql://authpipe_owner:wr0ng"))
    assert "wr0ng" not in str(caught.value)


async def test_a_missing_database_is_a_configuration_error(door: Door, postgres: Server) -> None:
    """The name in the URL is the operator's to correct."""
    with pytest.raises(ConfigurationError, match='AUTHPIPE_DATABASE_URL: database "nowhere" does not exist'):
        await door(postgres.owner_dsn("nowhere"))


@pytest.mark.parametrize(
    "dsn", ["mysql://u:s3cret@localhost/authpipe", "postgresql://u:s3cret@localhost:port/a"]
)
async def test_a_malformed_url_is_a_configuration_error(door: Door, dsn: str) -> None:
    """Nothing is dialled, and no password repeated."""
    with pytest.raises(ConfigurationError, match="AUTHPIPE_DATABASE_URL must look like") as caught:
        await door(dsn)
    assert "s3cret" not in str(caught.value)
