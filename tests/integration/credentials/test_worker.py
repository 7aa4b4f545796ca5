"""The worker: what is due is refreshed in time, by whichever replica is there."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import asyncpg
import pytest

from authpipe.credentials import worker as worker_module
from authpipe.domain.clock import ManualClock
from authpipe.domain.provider_config import ProviderConfig
from authpipe.sandbox.faults import FaultOrder
from support.postgres import Dsns
from support.replica import Replica, Replicas
from support.scene import Scene

HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def short_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "IDLE_S", 0.02)


async def test_active_tokens_are_refreshed_before_they_expire(
    scene: Scene, replica: Replica, config: ProviderConfig, clock: ManualClock
) -> None:
    """Being read does not keep a token from being refreshed, and no reader pays for it."""
    stored = await scene.connected(config, lifetime=HOUR)
    assert stored.credential.refresh_due_at is not None
    clock.advance(stored.credential.refresh_due_at - clock.now() - timedelta(seconds=1))
    assert await replica.worker.round() == 0
    clock.advance(timedelta(seconds=1))
    assert await replica.worker.round() == 1
    now = await scene.now(stored.credential)
    assert now.version == 2
    assert stored.credential.expires_at is not None
    assert clock.now() < stored.credential.expires_at


async def test_a_minute_token_is_refreshed_in_its_second_half(
    scene: Scene, replica: Replica, config: ProviderConfig, clock: ManualClock
) -> None:
    """Not at once and again and again, as a five-minute margin would have it."""
    scene.sandbox.state.applications["discord"][config.client_id or ""].token_lifetime_s = 60
    stored = await scene.connected(config, lifetime=timedelta(seconds=60))
    for _ in range(60):
        clock.advance(timedelta(seconds=5))
        await replica.worker.round()
        access, _ = await scene.secrets_of(await scene.now(stored.credential))
        assert scene.works(access)
    assert 8 <= len(scene.refreshes()) <= 12


async def test_two_workers_share_what_is_due(
    scene: Scene, replicas: Replicas, config: ProviderConfig, clock: ManualClock
) -> None:
    """Side by side, and each credential once."""
    stored = [await scene.connected(config, user_id=str(number), due_at=clock.now()) for number in range(40)]
    both = [await replicas.start(), await replicas.start()]
    await asyncio.gather(*(replica.worker.round() for replica in both))
    used = [request["refresh_token_sha256"] for request in scene.refreshes()]
    assert sorted(used) == sorted(scene.digest(each.issued.refresh_token) for each in stored)


async def test_rows_that_fail_do_not_starve_the_others(
    scene: Scene, replica: Replica, config: ProviderConfig, clock: ManualClock, dsns: Dsns
) -> None:
    """A hundred credentials that cannot be refreshed, all due longer than the good one."""
    for number in range(100):
        await scene.connected(
            config, user_id=f"broken_{number}", due_at=clock.now() - HOUR, provider="no_such_provider"
        )
    superuser = await asyncpg.connect(dsns.superuser)
    await superuser.execute("UPDATE credentials SET refresh_ciphertext = refresh_ciphertext || '\\x00'")
    await superuser.close()
    good = await scene.connected(config, user_id="good", due_at=clock.now())
    for _ in range(4):
        await replica.worker.round()
    assert (await scene.now(good.credential)).version == 2


async def test_one_slow_provider_does_not_hold_the_others_up(
    scene: Scene, replica: Replica, config: ProviderConfig, clock: ManualClock
) -> None:
    """A provider that does not answer occupies half of the places at most, however much of it is due."""
    for number in range(70):
        await scene.connected(config, user_id=str(number), due_at=clock.now() - HOUR)
    held = scene.sandbox.state.faults.add(FaultOrder("hold", provider="discord", point="before"))
    quick = await scene.connected(await scene.config("dialpad"), due_at=clock.now())
    running = asyncio.create_task(replica.worker.run())
    async with asyncio.timeout(10):
        while (await scene.now(quick.credential)).version == 1:
            await asyncio.sleep(0.01)
    assert held.holding == 32
    held.release()
    replica.worker.stop()
    await running
    assert len(scene.refreshes()) == 32


async def test_a_worker_that_is_told_to_stop_finishes_what_it_claimed(
    scene: Scene, replica: Replica, config: ProviderConfig, clock: ManualClock
) -> None:
    """No lease is left behind, and no answer dropped."""
    stored = await scene.connected(config, due_at=clock.now())
    held = scene.sandbox.state.faults.add(FaultOrder("hold", grant_type="refresh_token"))
    running = asyncio.create_task(replica.worker.run())
    assert await held.wait_for(1, 10)
    replica.worker.stop()
    late = await scene.connected(config, user_id="late", due_at=clock.now())
    held.release()
    await asyncio.wait_for(running, 10)
    assert (await scene.now(stored.credential)).version == 2
    assert (await scene.now(late.credential)).version == 1


async def test_previous_secrets_are_dropped_after_their_grace(
    scene: Scene, replicas: Replicas, config: ProviderConfig, clock: ManualClock, dsns: Dsns
) -> None:
    """An hour after the refresh there is one ciphertext less to lose."""
    await scene.connected(config, due_at=clock.now())
    await (await replicas.start()).worker.round()
    superuser = await asyncpg.connect(dsns.superuser)
    query = "SELECT previous_secret_ciphertext IS NULL FROM credentials"
    assert await superuser.fetchval(query) is False
    clock.advance(HOUR)
    worker = (await replicas.start()).worker
    running = asyncio.create_task(worker.run())
    async with asyncio.timeout(10):
        while not await superuser.fetchval(query):
            await asyncio.sleep(0.01)
    worker.stop()
    await running
    await superuser.close()


async def test_the_lateness_and_outcome_of_refreshes_are_measured(
    scene: Scene, replica: Replica, config: ProviderConfig, clock: ManualClock
) -> None:
    """By provider and outcome, without an id."""
    await scene.connected(config, due_at=clock.now() - timedelta(seconds=7))
    await replica.worker.round()
    text = replica.metrics.render()[0].decode()
    assert 'authpipe_refreshes_total{outcome="refreshed",provider="discord"} 1.0' in text
    assert "authpipe_refresh_lateness_seconds_sum 7" in text
