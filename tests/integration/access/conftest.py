"""What the tests of this room begin with: an environment, and who acts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from authpipe.access.api_keys import ApiKeys
from authpipe.access.authentication import Authenticator
from authpipe.access.environments import Environments
from authpipe.access.refusals import Refusals
from authpipe.credentials.changes import Changes
from authpipe.domain.access import ApiKeyRole
from authpipe.domain.clock import ManualClock
from authpipe.domain.environment import ApiKey, Environment, EnvironmentKind
from authpipe.domain.event import ActorKind, Origin
from authpipe.domain.secret import Secret
from authpipe.events.chain_beginning import ChainBeginnings
from authpipe.net.client import HttpClient
from authpipe.net.egress import EgressPolicy
from authpipe.server.settings import load_settings
from authpipe.server.signing_in import SigningIn, build_signing_in
from authpipe.store.database import Database
from authpipe.store.transaction import Transaction
from authpipe.telemetry.metrics import Metrics
from authpipe.vault.vault import Vault

if TYPE_CHECKING:
    from conftest import Dsns


class CountingDatabase(Database):
    """The real database, counting the transactions that authentication opens."""

    lookups = notes = open_lookups = most_lookups = 0

    @asynccontextmanager
    async def system(self) -> AsyncIterator[Transaction]:
        """Count, and open."""
        self.lookups += 1
        self.open_lookups += 1
        self.most_lookups = max(self.most_lookups, self.open_lookups)
        try:
            async with super().system() as transaction:
                yield transaction
        finally:
            self.open_lookups -= 1

    @asynccontextmanager
    async def environment(self, environment_id: UUID) -> AsyncIterator[Transaction]:
        """Count, and open."""
        self.notes += 1
        async with super().environment(environment_id) as transaction:
            yield transaction


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def origin() -> Origin:
    return Origin(actor_kind=ActorKind.COMMAND_LINE, actor_id="tester")


@pytest.fixture
def environments(database: Database, vault: Vault, clock: ManualClock) -> Environments:
    return Environments(database, clock, ChainBeginnings(database, vault, clock))


@pytest.fixture
def api_keys(database: Database, clock: ManualClock) -> ApiKeys:
    return ApiKeys(database, clock)


@pytest.fixture
async def environment(environments: Environments, origin: Origin) -> Environment:
    return await environments.create("development", kind=EnvironmentKind.DEVELOPMENT, origin=origin)


@pytest.fixture
async def counting(dsns: Dsns) -> AsyncIterator[CountingDatabase]:
    opened = await CountingDatabase.connect(dsns.owner, max_size=8)
    assert isinstance(opened, CountingDatabase)
    yield opened
    await opened.close()


@pytest.fixture
async def listening(database: Database) -> AsyncIterator[Changes]:
    """Notifications, heard once started."""
    changes = Changes(database)
    yield changes
    await changes.close()


@pytest.fixture
async def authenticator(
    counting: CountingDatabase, listening: Changes, clock: ManualClock, metrics: Metrics
) -> AsyncIterator[Authenticator]:
    made = Authenticator(database=counting, changes=listening, clock=clock, refusals=Refusals(metrics))
    listening.start()
    await asyncio.wait_for(listening.listening(), 10)
    yield made
    await made.close()


@pytest.fixture
async def key(api_keys: ApiKeys, environment: Environment, origin: Origin) -> tuple[ApiKey, Secret]:
    return await api_keys.create(
        environment.environment_id,
        name="ci",
        role=ApiKeyRole.SERVER,
        expires_in=timedelta(hours=1),
        origin=origin,
    )


@pytest.fixture
async def signing_in(
    database: Database, vault: Vault, clock: ManualClock, tmp_path: Path
) -> AsyncIterator[SigningIn]:
    """Operators and their ways in, without an OpenID provider."""
    egress = EgressPolicy(allow_loopback=True)
    async with AsyncExitStack() as stack:
        http = HttpClient(egress)
        stack.push_async_callback(http.close)
        yield build_signing_in(
            load_settings(data_dir=tmp_path),
            stack,
            database=database,
            vault=vault,
            http=http,
            egress=egress,
            clock=clock,
        )
