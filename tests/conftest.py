"""What tests of several rooms share: a database of their own, a vault, a provider to speak to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from authpipe.catalog.catalog import Catalog
from authpipe.catalog.loader import load_catalog
from authpipe.domain.clock import ManualClock
from authpipe.sandbox.server import SandboxServer
from authpipe.store.database import Database
from authpipe.store.vault_keysets import DatabaseKeysets
from authpipe.vault.keks.local import LocalKek
from authpipe.vault.keks.ring import KekRing
from authpipe.vault.vault import Vault
from support.postgres import Dsns, Server, Servers
from support.replica import Replicas
from support.scene import Scene


@pytest.fixture(scope="session")
def postgres_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    servers = Servers(tmp_path_factory.mktemp("postgres"))
    yield servers
    servers.stop()


@pytest.fixture
def postgres(postgres_servers: Servers) -> Server:
    """The bundled PostgreSQL."""
    server = postgres_servers.get("bundled")
    assert server is not None
    return server


@pytest.fixture
async def dsns(postgres: Server) -> AsyncIterator[Dsns]:
    """A migrated and empty database that nobody else uses."""
    name = await postgres.lend()
    yield Dsns(postgres.owner_dsn(name), postgres.superuser_dsn(name))
    await postgres.take_back(name)


@pytest.fixture
async def database(dsns: Dsns) -> AsyncIterator[Database]:
    database = await Database.connect(dsns.owner)
    yield database
    await database.close()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(datetime(2026, 5, 17, 12, tzinfo=UTC))


@pytest.fixture(scope="session")
def catalog() -> Catalog:
    return load_catalog()


@pytest.fixture
def kek(tmp_path: Path) -> LocalKek:
    return LocalKek.create(tmp_path / "kek")


@pytest.fixture
def vault(database: Database, kek: LocalKek, clock: ManualClock) -> Vault:
    return Vault(KekRing(kek), DatabaseKeysets(database), clock)


@pytest.fixture
async def sandbox(clock: ManualClock) -> AsyncIterator[SandboxServer]:
    """The simulated providers, on the test's own clock."""
    async with SandboxServer(clock=clock) as server:
        yield server


@pytest.fixture
async def scene(
    database: Database, vault: Vault, catalog: Catalog, clock: ManualClock, sandbox: SandboxServer
) -> Scene:
    """An environment with a tenant; see what it can add."""
    return await Scene.set(database, vault, catalog, clock, sandbox)


@pytest.fixture
async def replicas(
    dsns: Dsns, kek: LocalKek, catalog: Catalog, clock: ManualClock, tmp_path: Path
) -> AsyncIterator[Replicas]:
    """Starts copies of the credentials room that share the test's database."""
    async with Replicas(dsns.owner, kek, catalog, clock, tmp_path) as replicas:
        yield replicas
