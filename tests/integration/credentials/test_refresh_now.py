"""Callers that need a token now: one provider call for all of them, in any number of replicas."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import timedelta

import asyncpg
import pytest

from authpipe.credentials import refresh_now as refresh_now_module
from authpipe.credentials.outcome import Refreshed
from authpipe.credentials.serve import CredentialRequest
from authpipe.domain.clock import ManualClock
from authpipe.domain.connection import ConnectionStatus
from authpipe.domain.credential import StoredCredential
from authpipe.domain.errors import NotConnected, ProviderUnavailable, ReauthorizationRequired
from authpipe.domain.provider_config import ProviderConfig
from authpipe.sandbox.faults import FaultOrder
from support.postgres import Dsns
from support.replica import Replica, Replicas
from support.scene import Scene, Stored

HOUR = timedelta(hours=1)
REQUEST = CredentialRequest(provider="discord", tenant_id="org_acme", user_id="user_123")


async def beyond(replica: Replica, stored: Stored, *, version: int = 1) -> StoredCredential:
    credential = stored.credential
    return await replica.refresh_now.beyond(
        credential.environment_id, credential.tenant_id, credential.credential_id, version=version
    )


async def test_fifty_callers_in_two_replicas_cause_one_refresh(
    scene: Scene, replicas: Replicas, config: ProviderConfig, clock: ManualClock
) -> None:
    """One provider call, one event, and everybody gets the same new token."""
    stored = await scene.connected(config, lifetime=HOUR)
    clock.advance(HOUR)
    both = [await replicas.start(), await replicas.start()]
    got = await asyncio.gather(
        *(replica.reader.get(scene.environment_id, REQUEST) for _ in range(25) for replica in both)
    )
    assert len({credential.secret.reveal() for credential in got}) == 1
    assert scene.works(got[0].secret.reveal())
    assert got[0].secret.reveal() != stored.issued.access_token
    assert len(scene.refreshes()) == 1
    assert [event.type for event in await scene.events()] == ["credential.refreshed"]


async def test_callers_and_workers_together_cause_one_refresh(
    scene: Scene, replicas: Replicas, config: ProviderConfig, clock: ManualClock
) -> None:
    """The lease decides, whoever asks."""
    await scene.connected(config, lifetime=HOUR)
    clock.advance(HOUR)
    both = [await replicas.start(), await replicas.start()]
    await asyncio.gather(
        *(replica.worker.round() for replica in both),
        *(replica.reader.get(scene.environment_id, REQUEST) for _ in range(5) for replica in both),
    )
    assert len(scene.refreshes()) == 1


async def test_two_forced_refreshes_rotate_once(
    scene: Scene, replicas: Replicas, config: ProviderConfig
) -> None:
    """Both wanted something newer than version 1, and both have it."""
    stored = await scene.connected(config)
    both = [await replicas.start(), await replicas.start()]
    results = await asyncio.gather(*(beyond(replica, stored) for replica in both for _ in range(3)))
    assert {credential.version for credential in results} == {2}
    assert len(scene.refreshes()) == 1


async def test_a_failing_connection_under_a_hundred_callers_causes_one_call_and_one_event(
    scene: Scene, replicas: Replicas, config: ProviderConfig, clock: ManualClock
) -> None:
    """All of them hear of the failure, in both replicas, and nobody tries again on his own."""
    await scene.connected(config, lifetime=HOUR)
    clock.advance(HOUR)
    scene.sandbox.state.faults.add(FaultOrder("status", status=503))
    both = [await replicas.start(), await replicas.start()]

    async def storm() -> Counter[type]:
        results = await asyncio.gather(
            *(replica.reader.get(scene.environment_id, REQUEST) for _ in range(50) for replica in both),
            return_exceptions=True,
        )
        return Counter(type(result) for result in results)

    assert await storm() == {ProviderUnavailable: 100}
    assert await storm() == {ProviderUnavailable: 100}
    assert len(scene.refreshes()) == 1
    assert [event.type for event in await scene.events()] == ["credential.refresh_failed"]


async def test_a_revoked_connection_under_fifty_callers_is_asked_about_once(
    scene: Scene, replicas: Replicas, config: ProviderConfig, clock: ManualClock
) -> None:
    """One call, one event, and everybody is told to reconnect."""
    stored = await scene.connected(config, lifetime=HOUR)
    clock.advance(HOUR)
    scene.sandbox.state.ledgers["discord"].revoke()
    both = [await replicas.start(), await replicas.start()]
    results = await asyncio.gather(
        *(replica.reader.get(scene.environment_id, REQUEST) for _ in range(25) for replica in both),
        return_exceptions=True,
    )
    assert {type(result) for result in results} == {ReauthorizationRequired}
    assert {(result.reason, result.connection_id) for result in results} == {  # type: ignore[union-attr]
        ("revoked", str(stored.owner_id))
    }
    assert len(scene.refreshes()) == 1
    assert [event.type for event in await scene.events()] == ["connection.needs_reauth"]


async def test_after_a_failure_the_next_try_waits_its_time(
    scene: Scene, replica: Replica, config: ProviderConfig, clock: ManualClock
) -> None:
    """The error says how long; then one call goes out again, and succeeds."""
    await scene.connected(config, lifetime=HOUR)
    clock.advance(HOUR)
    fault = scene.sandbox.state.faults.add(FaultOrder("status", status=503))
    with pytest.raises(ProviderUnavailable) as caught:
        await replica.reader.get(scene.environment_id, REQUEST)
    wait = caught.value.retry_after_s
    assert wait is not None
    assert 1 <= wait <= 5
    scene.sandbox.state.faults.remove(fault.id)
    with pytest.raises(ProviderUnavailable):
        await replica.reader.get(scene.environment_id, REQUEST)
    clock.advance(timedelta(seconds=wait))
    assert scene.works((await replica.reader.get(scene.environment_id, REQUEST)).secret.reveal())
    assert len(scene.refreshes()) == 2


async def test_a_caller_that_hangs_up_does_not_stop_the_refresh(
    scene: Scene, replica: Replica, config: ProviderConfig
) -> None:
    """The other callers get the token."""
    stored = await scene.connected(config)
    held = scene.sandbox.state.faults.add(FaultOrder("hold", grant_type="refresh_token"))
    callers = [asyncio.create_task(beyond(replica, stored)) for _ in range(3)]
    assert await held.wait_for(1, 10)
    callers[0].cancel()
    await asyncio.wait([callers[0]])
    held.release()
    assert [(await caller).version for caller in callers[1:]] == [2, 2]
    assert len(scene.refreshes()) == 1


async def test_all_callers_may_hang_up(scene: Scene, replica: Replica, config: ProviderConfig) -> None:
    """The refresh is finished and stored for the next one."""
    stored = await scene.connected(config)
    held = scene.sandbox.state.faults.add(FaultOrder("hold", grant_type="refresh_token"))
    caller = asyncio.create_task(beyond(replica, stored))
    assert await held.wait_for(1, 10)
    caller.cancel()
    await asyncio.wait([caller])
    held.release()
    await replica.refresh_now.close()
    assert (await scene.now(stored.credential)).version == 2


async def test_a_caller_takes_over_from_a_replica_that_died(
    scene: Scene, replica: Replica, config: ProviderConfig, clock: ManualClock
) -> None:
    """It waits until the lease ran out, and no longer."""
    stored = await scene.connected(config)
    await scene.claim(stored.credential)
    caller = asyncio.create_task(beyond(replica, stored))
    done, _ = await asyncio.wait([caller], timeout=0.3)
    assert not done
    clock.advance(timedelta(seconds=60))
    assert (await asyncio.wait_for(caller, 5)).version == 2


async def test_a_caller_is_woken_when_another_replica_is_done(
    scene: Scene, replicas: Replicas, config: ProviderConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a notification, long before it would look again by itself."""
    monkeypatch.setattr(refresh_now_module, "_POLL_S", 20)
    stored = await scene.connected(config)
    waiting, working = await replicas.start(), await replicas.start()
    await asyncio.wait_for(waiting.changes.listening(), 5)
    claimed = await scene.claim(stored.credential)
    caller = asyncio.create_task(beyond(waiting, stored))
    done, _ = await asyncio.wait([caller], timeout=0.2)
    assert not done
    assert await working.engine.attempt(claimed) is Refreshed.REFRESHED
    assert (await asyncio.wait_for(caller, 5)).version == 2


async def test_a_caller_waits_for_a_bounded_time(
    scene: Scene, replica: Replica, config: ProviderConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While somebody else holds the lease: an error that says when to come again."""
    monkeypatch.setattr(refresh_now_module, "WAIT_S", 0.3)
    stored = await scene.connected(config)
    await scene.claim(stored.credential)
    with pytest.raises(ProviderUnavailable, match="try again") as caught:
        await beyond(replica, stored)
    assert caught.value.retry_after_s == 5


async def test_a_database_that_is_away_is_not_taken_for_a_busy_lease(
    scene: Scene, replica: Replica, config: ProviderConfig, dsns: Dsns
) -> None:
    """The caller hears of it at once instead of waiting for nobody."""
    stored = await scene.connected(config)
    superuser = await asyncpg.connect(dsns.superuser)
    await superuser.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'refused' USING ERRCODE = '57P01'; END $$;"
        "CREATE TRIGGER refuse BEFORE UPDATE ON credentials FOR EACH ROW EXECUTE FUNCTION refuse()"
    )
    try:
        with pytest.raises(asyncpg.AdminShutdownError):
            await asyncio.wait_for(beyond(replica, stored), 2)
    finally:
        await superuser.execute("DROP FUNCTION refuse CASCADE")
        await superuser.close()
    assert (await beyond(replica, stored)).version == 2


async def test_a_credential_that_is_gone_is_not_connected(
    scene: Scene, replica: Replica, config: ProviderConfig
) -> None:
    """Ended while somebody waited for it."""
    stored = await scene.connected(config)
    async with scene.database.tenant(scene.environment_id, scene.tenant_id) as transaction:
        await transaction.credentials.destroy_owned(scene.environment_id, scene.tenant_id, stored.owner_id)
    with pytest.raises(NotConnected):
        await beyond(replica, stored)


async def test_a_reader_that_waited_gets_the_credential_of_a_reconnect(
    scene: Scene, replica: Replica, config: ProviderConfig, clock: ManualClock
) -> None:
    """The user connected again meanwhile: the row it waited for is gone, and a better one is there."""
    connection = await scene.connection(config)
    stored = await scene.token(config, connection, lifetime=HOUR)
    clock.advance(HOUR)
    await scene.claim(stored.credential)
    reading = asyncio.create_task(replica.reader.get(scene.environment_id, REQUEST))
    done, _ = await asyncio.wait([reading], timeout=0.2)
    assert not done
    new = await scene.token(config, connection, anew=True)
    assert (await asyncio.wait_for(reading, 5)).secret.reveal() == new.issued.access_token
    assert scene.refreshes() == []


async def test_what_is_never_due_is_returned_as_it_stands(
    scene: Scene, replica: Replica, config: ProviderConfig
) -> None:
    """There is nothing to wait for."""
    stored = await scene.connected(config, lifetime=None)
    assert replace(await beyond(replica, stored)).version == 1
    assert scene.refreshes() == []
    assert (await scene.owner(stored)).status is ConnectionStatus.ACTIVE
