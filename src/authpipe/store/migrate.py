"""Brings a database to the current schema: Alembic decides what is missing, SQL files say how."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import asyncpg
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool
from sqlalchemy.util import await_only

from authpipe.domain.errors import ConfigurationError
from authpipe.store.refusals import CONNECTING_FAILED, refusal

#: Held while migrating, so that replicas that start together migrate once.  The number is arbitrary.
_ADVISORY_LOCK = 0x4155_5448_5049_5045 % 2**63
_OLDEST_POSTGRESQL = 15
#: Revisions without audit chains.  A migration that comes from one of them leaves chains to be begun, which
#: takes the vault.
BEFORE_CHAINS = (None, "0001")


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(resources.files("authpipe.store") / "migrations"))
    config.set_main_option("path_separator", "os")
    return config


def run_sql_file(connection: Connection, name: str) -> None:
    """Execute one file of ``migrations/sql`` as it stands, inside the running transaction.

    Called by the revisions.  The driver's own ``execute`` is used because a file holds many statements.
    """
    statements = (Path(__file__).parent / "migrations" / "sql" / name).read_text(encoding="utf-8")
    adapted: Any = connection.connection.dbapi_connection
    await_only(adapted.driver_connection.execute(statements))


def _upgrade(connection: Connection) -> tuple[str | None, str | None]:
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
    before = MigrationContext.configure(connection).get_current_revision()
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    after = MigrationContext.configure(connection).get_current_revision()
    return before, after


async def migrate(dsn: str) -> tuple[str | None, str | None]:
    """Apply what is missing, in one transaction, and return the revisions before and after.

    Safe to run from any number of processes at once.  Raises ``ConfigurationError`` when the database cannot
    be reached, is older than PostgreSQL 15, or its user may not create roles and tables.
    """
    try:
        connection = await asyncpg.connect(dsn, timeout=15)
    except CONNECTING_FAILED as error:
        raise refusal(error) from None
    try:
        if connection.get_server_version().major < _OLDEST_POSTGRESQL:
            raise ConfigurationError(f"PostgreSQL {_OLDEST_POSTGRESQL} or newer is needed")
        return await _migrate(connection)
    except asyncpg.InsufficientPrivilegeError as error:
        raise ConfigurationError(
            f"the database user may not migrate ({error}): it needs CREATEROLE and CREATE on schema public, "
            "or have an administrator create the roles authpipe_app and authpipe_system and grant them to it"
        ) from None
    finally:
        await connection.close()


async def _migrate(connection: asyncpg.Connection[Any]) -> tuple[str | None, str | None]:
    async def connected() -> asyncpg.Connection[Any]:
        return connection

    # Connected by us, because the engine would wrap what connecting raises.
    engine = create_async_engine("postgresql+asyncpg://", async_creator=connected, poolclass=NullPool)
    try:
        async with engine.begin() as transaction:
            return await transaction.run_sync(_upgrade)
    except DBAPIError as error:
        cause = error.orig and error.orig.__cause__
        if isinstance(cause, asyncpg.PostgresError):
            raise cause from None
        raise
    finally:
        await engine.dispose()


def head() -> str:
    """The newest revision this version of Authpipe knows."""
    revision = ScriptDirectory.from_config(_config()).get_current_head()
    if revision is None:
        raise ConfigurationError("no migrations are installed: reinstall authpipe[server]")
    return revision
