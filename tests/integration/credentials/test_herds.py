"""Many credentials at one time: spread ahead, worked off in time, and no storm after an outage."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from itertools import pairwise

import asyncpg
import pytest

from authpipe.domain.clock import ManualClock
from authpipe.domain.provider_config import ProviderConfig
from authpipe.sandbox.faults import FaultOrder
from support.herd import add_herd
from support.postgres import Dsns
from support.replica import Replica, Replicas
from support.scene import Scene

HOUR = timedelta(hours=1)
STEP = timedelta(seconds=5)


@pytest.fixture
async def superuser(dsns: Dsns) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    connection = await asyncpg.connect(dsns.superuser)
    yield connection
    await connection.close()


async def expired(superuser: asyncpg.Connection[asyncpg.Record], clock: ManualClock) -> int:
    """How many tokens a caller could find expired now."""
    return int(
        await superuser.fetchval("SELECT count(*) FROM credentials WHERE expires_at <= $1", clock.now())
    )


async def refreshed(superuser: asyncpg.Connection[asyncpg.Record]) -> int:
    return int(await superuser.fetchval("SELECT count(*) FROM credentials WHERE version > 1"))


async def test_tokens_of_one_minute_are_refreshed_over_minutes_and_none_expires(
    scene: Scene,
    replica: Replica,
    config: ProviderConfig,
    clock: ManualClock,
    dsns: Dsns,
    superuser: asyncpg.Connection[asyncpg.Record],
) -> None:
    """Two thousand that end together; no moment has more than a tenth of them to do."""
    count = 2000
    await add_herd(scene, dsns, config, count, lifetime=HOUR)
    clock.advance(timedelta(minutes=51))
    busiest = done = 0
    while done < count:
        clock.advance(STEP)
        at_once = 0
        while claimed := await replica.worker.round():
            at_once += claimed
        busiest, done = max(busiest, at_once), done + at_once
        assert await expired(superuser, clock) == 0
    assert busiest <= count // 10
    assert await refreshed(superuser) == count
    assert (
        len(scene.refreshes()) == len({each["refresh_token_sha256"] for each in scene.refreshes()}) == count
    )


async def test_of_a_backlog_what_expires_first_comes_first(
    scene: Scene, replica: Replica, config: ProviderConfig, clock: ManualClock, dsns: Dsns
) -> None:
    """A worker that was away finds a thousand day-long tokens, and some with seconds to live: due later."""
    now = clock.now()
    await add_herd(
        scene, dsns, config, 1000, lifetime=timedelta(days=1), due_at=lambda number: now - timedelta(hours=1)
    )
    short = await add_herd(
        scene, dsns, config, 20, lifetime=timedelta(seconds=60), due_at=lambda number: now + STEP
    )
    clock.advance(STEP)
    assert await replica.worker.round() >= len(short)
    for each in short:
        assert (await scene.now(each)).version == 2


async def test_one_provider_config_with_much_to_do_does_not_hold_the_others_up(
    scene: Scene, replica: Replica, config: ProviderConfig, clock: ManualClock, dsns: Dsns
) -> None:
    """What has just become due elsewhere is in the next claim."""
    now = clock.now()
    await add_herd(scene, dsns, config, 1000, lifetime=HOUR, due_at=lambda number: now - HOUR)
    other = await scene.connected(await scene.config("dialpad"), due_at=now)
    await replica.worker.round()
    assert (await scene.now(other.credential)).version == 2


async def test_after_an_hour_without_the_provider_calls_come_back_slowly(
    scene: Scene,
    replica: Replica,
    config: ProviderConfig,
    clock: ManualClock,
    dsns: Dsns,
    superuser: asyncpg.Connection[asyncpg.Record],
) -> None:
    """A trial, then a few, then twice as many every five seconds; everything is caught up within minutes."""
    count = 600
    await add_herd(scene, dsns, config, count, lifetime=HOUR)
    clock.advance(timedelta(minutes=50))
    scene.sandbox.state.faults.add(FaultOrder("status", provider="discord", status=503))
    ends = clock.now() + HOUR
    while clock.now() < ends:
        await replica.worker.round()
        clock.advance(timedelta(seconds=15))
    during = len(scene.refreshes())
    assert during <= 60, "an hour of an absent provider is a few trials, not a storm"
    scene.sandbox.state.faults.clear()
    steps = []
    begun = clock.now()
    while await refreshed(superuser) < count:
        before = len(scene.refreshes())
        await replica.worker.round()
        steps.append(len(scene.refreshes()) - before)
        clock.advance(STEP)
        assert clock.now() - begun < timedelta(minutes=30)
    busy = [calls for calls in steps if calls]
    assert busy[0] == 1
    assert busy[1] <= 16
    assert all(later <= max(2 * earlier, 16) for earlier, later in pairwise(busy))
    told = [event.type for event in await scene.events()]
    assert "connection.needs_reauth" not in told
    assert len(scene.refreshes()) - during == count, "nobody is asked for twice"


async def test_tokens_of_a_minute_never_expire(
    scene: Scene,
    replicas: Replicas,
    config: ProviderConfig,
    clock: ManualClock,
    dsns: Dsns,
    superuser: asyncpg.Connection[asyncpg.Record],
) -> None:
    """A hundred of them, for five minutes, with a worker that looks every second."""
    scene.sandbox.state.applications["discord"][config.client_id or ""].token_lifetime_s = 60
    await add_herd(scene, dsns, config, 100, lifetime=timedelta(seconds=60))
    replica = await replicas.start()
    for _ in range(300):
        clock.advance(timedelta(seconds=1))
        await replica.worker.round()
        assert await expired(superuser, clock) == 0
    versions = await superuser.fetch("SELECT version FROM credentials")
    assert 700 <= sum(row["version"] - 1 for row in versions) <= 1100
