"""PostgreSQL servers of the test run, and an empty database for each test."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import time
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import SplitResult, urlsplit

import asyncpg

from authpipe.store.embedded import EmbeddedPostgres, find_system_binaries
from authpipe.store.migrate import migrate

Programs = Literal["bundled", "system"]
T = TypeVar("T")

_END_OTHERS = """
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
_EMPTY = """
SET session_replication_role = replica;
DO $$ DECLARE name text; BEGIN
    FOR name IN
        SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version'
    LOOP
        EXECUTE format('DELETE FROM %I', name);
    END LOOP;
END $$;
"""


def _in_own_loop(coroutine: Coroutine[Any, Any, T]) -> T:
    """For session-wide fixtures, whatever loop the tests use."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, coroutine).result()


@dataclass(frozen=True)
class Dsns:
    """One database, as its owner and as a superuser."""

    owner: str
    superuser: str


def stop_at_once(data_dir: Path) -> None:
    """What ``pg_ctl stop -m immediate`` does.  Returns when the server is gone.  Blocks."""
    lines = (data_dir / "postgres" / "data" / "postmaster.pid").read_text().split()
    pid = int(lines[0])
    os.kill(pid, signal.SIGQUIT)
    while Path(f"/proc/{pid}").exists():
        time.sleep(0.005)


class Server:
    """One running server.  Databases are copies of one that was migrated once, and used again."""

    def __init__(self, data_dir: Path, programs: Programs) -> None:
        self.data_dir = data_dir
        self._embedded = EmbeddedPostgres(
            data_dir, binaries=find_system_binaries() if programs == "system" else None
        )
        self._numbers = itertools.count(1)
        self._idle: list[str] = []
        self._dsn = ""

    def start(self) -> None:
        """Start it and prepare the database that the others are copied from."""
        self._dsn = _in_own_loop(self._embedded.ensure())
        _in_own_loop(self._prepare())

    def stop(self) -> None:
        """End it."""
        _in_own_loop(self._embedded.stop())

    def crash(self) -> None:
        """Immediate shutdown: sessions are cut where they are, and the next start recovers."""
        stop_at_once(self.data_dir)

    def restart(self) -> None:
        """Start it again after a crash."""
        _in_own_loop(self._answer_again())

    def owner_dsn(self, database: str) -> str:
        """As the role that owns the tables and may make roles, but is no superuser."""
        return self._at(database)

    def superuser_dsn(self, database: str) -> str:
        """As the one to whom no row-level security applies."""
        password = (self.data_dir / "postgres" / "postgres.password").read_text()
        return self._at(database, user=f"postgres:{password}")

    async def create(self, *, migrated: bool = True) -> str:
        """A new database; returns its name."""
        name = f"test_{next(self._numbers)}"
        template = "TEMPLATE migrated" if migrated else ""
        await self._command(f"CREATE DATABASE {name} OWNER authpipe_owner {template}")
        return name

    async def lend(self) -> str:
        """A migrated and empty database that nobody else uses; give it back with :meth:`take_back`."""
        return self._idle.pop() if self._idle else await self.create()

    async def take_back(self, database: str) -> None:
        """End what still works in it and empty it: that takes a twentieth of making another."""
        connection = await asyncpg.connect(self.superuser_dsn(database))
        try:
            await connection.execute(_END_OTHERS)
            await connection.execute(_EMPTY)
        finally:
            await connection.close()
        self._idle.append(database)

    async def drop(self, database: str) -> None:
        """Remove a database, whoever is still connected."""
        await self._command(f"DROP DATABASE {database} WITH (FORCE)")

    async def _answer_again(self) -> None:
        async with asyncio.timeout(30):
            while True:
                # Its parent may not have noticed its end yet.
                await self._embedded.ensure()
                with contextlib.suppress(OSError, asyncpg.PostgresError):
                    return await self._command("SELECT 1")
                await asyncio.sleep(0.01)

    async def _prepare(self) -> None:
        await self._command("CREATE DATABASE migrated OWNER authpipe_owner")
        await migrate(self.owner_dsn("migrated"))

    async def _command(self, command: str) -> None:
        connection = await asyncpg.connect(self.superuser_dsn("postgres"))
        try:
            await connection.execute(command)
        finally:
            await connection.close()

    def _at(self, database: str, user: str | None = None) -> str:
        parts: SplitResult = urlsplit(self._dsn)
        netloc = parts.netloc if user is None else f"{user}@{parts.netloc.rpartition('@')[2]}"
        return parts._replace(netloc=netloc, path=f"/{database}").geturl()


class Servers:
    """Starts each kind of server when it is first asked for, and ends them together."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._started: dict[Programs, Server] = {}

    def get(self, programs: Programs) -> Server | None:
        """The server; None when its programs are not installed."""
        if programs == "system" and find_system_binaries() is None:
            return None
        if programs not in self._started:
            server = Server(self._directory / programs, programs)
            server.start()
            self._started[programs] = server
        return self._started[programs]

    def stop(self) -> None:
        """End every server that was started."""
        for server in self._started.values():
            server.stop()
