"""The connection pool and the three ways to work in it: one tenant, one environment, the whole system."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from uuid import UUID

import asyncpg

from authpipe.domain.errors import ConfigurationError
from authpipe.store.erasures import is_erasing, tenant_erasing
from authpipe.store.refusals import CONNECTING_FAILED, refusal
from authpipe.store.transaction import Transaction

#: The application role of the first migration: not the owner of any table, bound by row-level security.
APP_ROLE = "authpipe_app"
#: The role for work that crosses environments; taken per transaction, never for a whole connection.
SYSTEM_ROLE = "authpipe_system"
#: Seconds to wait for a free connection: a caller hears of a database that is away instead of waiting for it.
ACQUIRE_S = 5.0
#: What row-level security reads as "every tenant of this environment".
EVERY_TENANT = "*"

_OUTAGE = (
    OSError,
    asyncpg.InterfaceError,
    # A server that shuts down says so between two messages, which the client's state does not foresee.
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    TimeoutError,
)


def is_outage(error: BaseException) -> bool:
    """Whether an error means the database is away (as opposed to: it answered, and said no)."""
    return isinstance(error, _OUTAGE)


async def _prepare(connection: asyncpg.Connection[Any]) -> None:
    await connection.set_type_codec("jsonb", encoder=json.dumps, decoder=_read_json, schema="pg_catalog")


def _read_json(text: str) -> Any:
    # What most rows hold costs next to nothing.
    return {} if text == "{}" else json.loads(text)


class Database:
    """Opens transactions that see no more than their caller named.

    A transaction of :meth:`tenant` sees one tenant, of :meth:`environment` all tenants of one environment,
    of :meth:`system` everything.  The wall is PostgreSQL's row-level security, behind the ``WHERE`` clauses.
    Each raises ``Conflict`` (``tenant_erasing``) when a row would be added for a tenant that is being erased.
    """

    def __init__(self, pool: asyncpg.Pool[Any], dsn: str) -> None:
        self._pool = pool
        self._dsn = dsn

    @classmethod
    async def connect(cls, dsn: str, *, min_size: int = 1, max_size: int = 16) -> Database:
        """Open the pool.  Raises ``ConfigurationError`` when the database cannot be reached or migrated."""
        try:
            pool = await asyncpg.create_pool(
                dsn,
                min_size=min_size,
                max_size=max_size,
                init=_prepare,
                # Nothing outlives a transaction here (settings and roles are LOCAL), so the reset query
                # asyncpg sends at each release, a third of a short read's cost, has nothing to undo.
                reset=_leave_as_is,
                command_timeout=15,
                timeout=10,
                server_settings={"role": APP_ROLE, "application_name": "authpipe", "timezone": "UTC"},
            )
        except asyncpg.InvalidParameterValueError:
            raise ConfigurationError(
                "the database has no Authpipe schema yet: run `authpipe migrate`"
            ) from None
        except CONNECTING_FAILED as error:
            raise refusal(error) from None
        return cls(pool, dsn)

    async def close(self) -> None:
        """Wait for running transactions (10 s at most) and close the pool."""
        try:
            await asyncio.wait_for(self._pool.close(), timeout=10)
        except TimeoutError:
            self._pool.terminate()

    @asynccontextmanager
    async def tenant(self, environment_id: UUID, tenant_id: str) -> AsyncIterator[Transaction]:
        """A transaction that sees one tenant of one environment."""
        if tenant_id in ("", EVERY_TENANT):
            raise ValueError("a tenant transaction needs a tenant id")
        async with self._scoped(environment_id, tenant_id) as transaction:
            yield transaction

    @asynccontextmanager
    async def environment(self, environment_id: UUID) -> AsyncIterator[Transaction]:
        """A transaction that sees every tenant of one environment."""
        async with self._scoped(environment_id, EVERY_TENANT) as transaction:
            yield transaction

    @asynccontextmanager
    async def system(self) -> AsyncIterator[Transaction]:
        """A transaction across environments, for lookups by one-time hash and claims of due work."""
        with _refusals():
            async with self._pool.acquire(timeout=ACQUIRE_S) as connection, connection.transaction():
                await connection.execute(f"SET LOCAL ROLE {SYSTEM_ROLE}")
                yield Transaction(connection)

    @asynccontextmanager
    async def keysets(self, environment_id: UUID, tenant_id: str | None) -> AsyncIterator[Transaction]:
        """A transaction that sees one keyset: the tenant's, or with None the environment's own."""
        async with self._scoped(
            environment_id, EVERY_TENANT if tenant_id is None else tenant_id
        ) as transaction:
            yield transaction

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Transaction]:
        """A connection without a transaction of its own, for the one-statement read path only.

        It sees nothing until the statement itself says which tenant it reads.
        """
        with _refusals():
            async with self._pool.acquire(timeout=ACQUIRE_S) as connection:
                yield Transaction(connection)

    @asynccontextmanager
    async def _scoped(self, environment_id: UUID, tenant: str) -> AsyncIterator[Transaction]:
        with _refusals():
            async with self._pool.acquire(timeout=ACQUIRE_S) as connection, connection.transaction():
                await connection.execute(
                    "SELECT set_config('authpipe.environment_id', $1, true),"
                    " set_config('authpipe.tenant_id', $2, true)",
                    str(environment_id),
                    tenant,
                )
                yield Transaction(connection)

    async def listener(self) -> asyncpg.Connection[Any]:
        """A connection outside the pool for ``LISTEN``; the caller closes it."""
        return await asyncpg.connect(
            self._dsn, timeout=10, server_settings={"application_name": "authpipe-listen"}
        )

    async def look(self, connection: asyncpg.Connection[Any], *, timeout_s: float) -> None:
        """One round trip on a :meth:`listener`; raises as :meth:`ping` when nothing comes back in time."""
        await connection.fetchval("SELECT 1", timeout=timeout_s)

    async def ping(self) -> None:
        """One round trip; raises what :func:`is_outage` recognises when the database is away."""
        async with self._pool.acquire(timeout=5) as connection:
            await connection.fetchval("SELECT 1")


@contextmanager
def _refusals() -> Iterator[None]:
    """What the schema itself refuses, in our own words."""
    try:
        yield
    except asyncpg.PostgresError as error:
        if is_erasing(error):
            raise tenant_erasing() from None
        raise


async def _leave_as_is(connection: asyncpg.Connection[Any]) -> None:
    """Runs instead of asyncpg's reset query; see :meth:`Database.connect`."""
