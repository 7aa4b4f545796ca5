"""The end of a key reaches every replica within a second."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import asyncpg
import pytest

from authpipe.access.api_keys import ApiKeys
from authpipe.access.authentication import Authenticator
from authpipe.access.refusals import Refusals
from authpipe.credentials.changes import Changes
from authpipe.domain.access import ApiKeyRole
from authpipe.domain.clock import SystemClock
from authpipe.domain.environment import Environment
from authpipe.domain.errors import Unauthenticated
from authpipe.domain.event import Origin
from authpipe.domain.secret import Secret
from authpipe.store.database import Database
from authpipe.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from conftest import Dsns

#: Seconds: what is promised.
PROMISED = 1.0


@dataclass
class Replica:
    """What one process has of its own."""

    authenticator: Authenticator
    changes: Changes
    api_keys: ApiKeys

    async def accepts(self, text: Secret) -> bool:
        """Whether the key is good here, now."""
        try:
            await self.authenticator.authenticate(text)
        except Unauthenticated:
            return False
        return True

    async def refuses_after(self, text: Secret, *, since: float) -> float:
        """Seconds from ``since`` until the key is refused here for the first time; asked all the while."""
        async with asyncio.timeout(10):
            while await self.accepts(text):
                await asyncio.sleep(0.002)
        return time.monotonic() - since


@contextlib.asynccontextmanager
async def replica(dsn: str) -> AsyncIterator[Replica]:
    clock = SystemClock()
    database = await Database.connect(dsn, max_size=4)
    changes = Changes(database)
    authenticator = Authenticator(
        database=database, changes=changes, clock=clock, refusals=Refusals(Metrics())
    )
    changes.start()
    await asyncio.wait_for(changes.listening(), 10)
    try:
        yield Replica(authenticator, changes, ApiKeys(database, clock))
    finally:
        await authenticator.close()
        await changes.close()
        await database.close()


@pytest.fixture
async def pair(database: Database, dsns: Dsns) -> AsyncIterator[tuple[Replica, Replica]]:
    async with replica(dsns.owner) as one, replica(dsns.owner) as other:
        yield one, other


async def test_a_revocation_is_effective_on_every_replica_within_a_second(
    pair: tuple[Replica, Replica], environment: Environment, origin: Origin
) -> None:
    """Measured from before it was begun, by asking both of them all the while, several times over."""
    one, other = pair
    slowest = 0.0
    for _ in range(5):
        key, text = await one.api_keys.create(
            environment.environment_id, name="ci", role=ApiKeyRole.SERVER, origin=origin
        )
        assert await one.accepts(text)
        assert await other.accepts(text)
        began = time.monotonic()
        _, *took = await asyncio.gather(
            one.api_keys.revoke(environment.environment_id, key.api_key_id, origin=origin),
            one.refuses_after(text, since=began),
            other.refuses_after(text, since=began),
        )
        slowest = max(slowest, *took)
    assert slowest < PROMISED


async def test_a_revocation_is_effective_within_a_second_when_nothing_is_heard(
    pair: tuple[Replica, Replica],
    environment: Environment,
    origin: Origin,
    dsns: Dsns,
) -> None:
    """The other replica's listening connection was cut just before, and cannot be made again meanwhile."""
    one, other = pair
    key, text = await one.api_keys.create(
        environment.environment_id, name="ci", role=ApiKeyRole.SERVER, origin=origin
    )
    assert await other.accepts(text)
    owner = await asyncpg.connect(dsns.owner)
    other.changes._database._dsn = "postgresql://127.0.0.1:1/nowhere"
    try:
        await owner.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'authpipe-listen' AND datname = current_database()"
        )
        async with asyncio.timeout(10):
            while other.changes.hearing:
                await asyncio.sleep(0.002)
        began = time.monotonic()
        await one.api_keys.revoke(environment.environment_id, key.api_key_id, origin=origin)
        assert await other.refuses_after(text, since=began) < PROMISED
        assert not other.changes.hearing
    finally:
        await owner.close()


async def test_what_was_not_heard_counts_once_listening_again(
    pair: tuple[Replica, Replica], environment: Environment, origin: Origin, dsns: Dsns
) -> None:
    """The connection was cut and a key revoked without a word; the replica asks again for what it knew."""
    one, other = pair
    key, text = await one.api_keys.create(
        environment.environment_id, name="ci", role=ApiKeyRole.SERVER, origin=origin
    )
    assert await other.accepts(text)
    owner = await asyncpg.connect(dsns.owner)
    try:
        await owner.execute("SET ROLE authpipe_system")
        await owner.execute("UPDATE api_keys SET revoked_at = now() WHERE api_key_id = $1", key.api_key_id)
        assert await other.accepts(text)
        await owner.execute("RESET ROLE")
        began = time.monotonic()
        await owner.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'authpipe-listen' AND datname = current_database()"
        )
    finally:
        await owner.close()
    assert await other.refuses_after(text, since=began) < PROMISED


async def test_a_network_that_swallows_everything_is_noticed(
    database: Database, dsns: Dsns, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that ends without a word is looked at, found dead and made anew."""
    monkeypatch.setattr("authpipe.credentials.changes._LOOK_S", 0.05)
    monkeypatch.setattr("authpipe.credentials.changes._RETRY_S", 0.01)
    async with replica(dsns.owner) as silent:
        gaps = asyncio.Event()
        silent.changes.on_gap(gaps.set)
        owner = await asyncpg.connect(dsns.owner)
        try:
            [pid] = await owner.fetchrow(
                "SELECT pid FROM pg_stat_activity WHERE application_name = 'authpipe-listen' "
                "AND datname = current_database()"
            )
            os.kill(pid, signal.SIGSTOP)
            try:
                await asyncio.wait_for(gaps.wait(), 10)
                assert silent.changes.hearing
            finally:
                os.kill(pid, signal.SIGCONT)
        finally:
            await owner.close()


async def test_the_end_of_a_replaced_key_is_heard(
    pair: tuple[Replica, Replica], environment: Environment, origin: Origin
) -> None:
    """A replica that knew the key as one without end refuses it when the overlap is over."""
    one, other = pair
    key, text = await one.api_keys.create(
        environment.environment_id, name="ci", role=ApiKeyRole.SERVER, origin=origin
    )
    assert await other.accepts(text)
    began = time.monotonic()
    _, successor = await one.api_keys.rotate(
        environment.environment_id, key.api_key_id, overlap=timedelta(seconds=0.5), origin=origin
    )
    assert await other.accepts(text)
    assert 0.5 <= await other.refuses_after(text, since=began) < 0.5 + PROMISED
    assert await other.accepts(successor)
