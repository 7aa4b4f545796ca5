"""What an outage, a held-back call or a thin answer must not do to credentials that are alive."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import asyncpg
import pytest

from authpipe.credentials import worker as worker_module
from authpipe.credentials.serve import CredentialRequest
from authpipe.domain.clock import ManualClock
from authpipe.domain.errors import ProviderUnavailable
from authpipe.domain.provider_config import ProviderConfig
from authpipe.sandbox.faults import FaultOrder
from support.postgres import Dsns
from support.replica import Replica, Replicas
from support.scene import Scene

HOUR = timedelta(hours=1)


async def test_an_answer_on_our_own_disk_is_used_before_its_token_is_sent_again(
    scene: Scene, replica: Replica, config: ProviderConfig, clock: ManualClock, dsns: Dsns
) -> None:
    """The outage outlasted the lease, and the next claim came before the replay: one provider call."""
    stored = await scene.connected(config, due_at=clock.now())
    superuser = await asyncpg.connect(dsns.superuser)
    await superuser.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'refused' USING ERRCODE = '57P01'; END $$;"
        "CREATE TRIGGER refuse BEFORE UPDATE ON credentials FOR EACH ROW"
        " WHEN (NEW.version > OLD.version) EXECUTE FUNCTION refuse()"
    )
    await replica.worker.round()
    clock.advance(timedelta(seconds=61))
    await superuser.execute("DROP FUNCTION refuse CASCADE")
    await superuser.close()
    await replica.worker.round()
    await asyncio.wait_for(replica.replay.drain(), 10)
    assert len(scene.refreshes()) == 1
    now = await scene.now(stored.credential)
    assert now.version == 2
    access, _ = await scene.secrets_of(now)
    assert scene.works(access)
    assert "connection.needs_reauth" not in [event.type for event in await scene.events()]


async def test_a_spool_directory_with_odd_things_in_it_stops_nobody(
    scene: Scene, replicas: Replicas, config: ProviderConfig, clock: ManualClock
) -> None:
    """A directory where a file should be is passed over."""
    replica = await replicas.start()
    (replicas.spool_dir / "1-aa.spool").mkdir()
    stored = await scene.connected(config, due_at=clock.now())
    assert await replica.replay.adopt() == 0
    await replica.worker.round()
    assert (await scene.now(stored.credential)).version == 2


async def test_a_row_somebody_holds_does_not_stop_housekeeping_or_refreshing(
    scene: Scene,
    replica: Replica,
    config: ProviderConfig,
    clock: ManualClock,
    dsns: Dsns,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Previous secrets of a locked row wait for another round, and nobody waits for them."""
    monkeypatch.setattr(worker_module, "IDLE_S", 0.02)
    other = await scene.connected(config, user_id="other")
    superuser = await asyncpg.connect(dsns.superuser)
    await superuser.execute("UPDATE credentials SET previous_until = $1", clock.now())
    due = await scene.connected(config, user_id="due", due_at=clock.now())
    async with superuser.transaction():
        await superuser.execute(
            "SELECT FROM credentials WHERE credential_id = $1 FOR UPDATE", other.credential.credential_id
        )
        running = asyncio.create_task(replica.worker.run())
        async with asyncio.timeout(10):
            while (await scene.now(due.credential)).version == 1:
                await asyncio.sleep(0.01)
        replica.worker.stop()
        await running
    await superuser.close()


async def test_what_was_not_asked_did_not_fail(
    scene: Scene, replica: Replica, config: ProviderConfig, clock: ManualClock
) -> None:
    """After a pause one credential is the trial; the others keep their record and their turn."""
    stored = [await scene.connected(config, user_id=str(number), due_at=clock.now()) for number in range(12)]
    for _ in range(8):
        replica.limits.failed(config.provider_config_id)
    clock.advance(timedelta(seconds=16))
    await replica.worker.round()
    rows = [await scene.now(each.credential) for each in stored]
    assert sum(row.refresh_failures for row in rows) == 0
    assert await scene.events("credential.refresh_failed") == []
    clock.advance(timedelta(seconds=20))
    await replica.worker.round()
    assert {(await scene.now(each.credential)).version for each in stored} == {2}


async def test_a_waiting_caller_is_not_held_to_the_pauses_of_an_outage_that_is_over(
    scene: Scene, replica: Replica, config: ProviderConfig, clock: ManualClock
) -> None:
    """Half a minute after the last attempt a caller may cause another."""
    stored = await scene.connected(config, lifetime=HOUR)
    assert stored.credential.refresh_due_at is not None
    clock.advance(stored.credential.refresh_due_at - clock.now())
    scene.sandbox.state.faults.add(FaultOrder("status", provider="discord", status=503))
    for _ in range(120):
        await replica.worker.round()
        clock.advance(timedelta(seconds=5))
    scene.sandbox.state.faults.clear()
    wanted = CredentialRequest(provider="discord", tenant_id=scene.tenant_id, user_id="user_123")
    for _ in range(12):
        try:
            await replica.reader.get(scene.environment_id, wanted)
        except ProviderUnavailable:
            clock.advance(timedelta(seconds=5))
        else:
            break
    else:
        pytest.fail("still refused a minute after the provider was well")


async def test_an_answer_without_a_lifetime_does_not_make_a_token_last_for_ever(
    scene: Scene, replica: Replica, clock: ManualClock
) -> None:
    """It lives as long as the one before it."""
    stored = await scene.connected(await scene.config("dialpad"), due_at=clock.now(), lifetime=HOUR)
    body = {"access_token": "a" * 20, "refresh_token": "r" * 20, "token_type": "bearer"}
    scene.sandbox.state.faults.add(
        FaultOrder("status", provider="dialpad", grant_type="refresh_token", status=200, body=body, times=1)
    )
    await replica.worker.round()
    now = await scene.now(stored.credential)
    assert now.version == 2
    assert now.expires_at == clock.now() + HOUR
    assert now.refresh_due_at is not None
