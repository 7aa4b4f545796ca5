"""A refresh is not alone: other holders, newer tokens, and people who change things meanwhile."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

from authpipe.credentials.contexts import refresh_context, secret_context
from authpipe.credentials.outcome import Refreshed
from authpipe.domain.clock import ManualClock
from authpipe.domain.connection import Connection, ConnectionStatus
from authpipe.domain.provider_config import ProviderConfig
from authpipe.domain.secret import Secret
from authpipe.sandbox.faults import FaultOrder
from authpipe.store.credentials import RefreshedSecrets
from support.replica import Replica, Replicas
from support.scene import Scene, Stored

LEASE = timedelta(seconds=60)


async def attempt(scene: Scene, replica: Replica, stored: Stored) -> Refreshed:
    return await replica.engine.attempt(await scene.claim(stored.credential))


async def names(scene: Scene) -> list[str]:
    return [event.type for event in await scene.events()]


async def test_a_refused_token_that_was_replaced_meanwhile_condemns_nothing(
    scene: Scene, replicas: Replicas, config: ProviderConfig, clock: ManualClock
) -> None:
    """``invalid_grant`` is final only if the row still holds the token that was refused."""
    stored = await scene.connected(config)
    claimed = await scene.claim(stored.credential)
    newer = scene.issue("discord")

    async def write_newer() -> None:
        place = (scene.environment_id, scene.tenant_id, stored.credential.credential_id)
        assert newer.refresh_token is not None
        secrets = RefreshedSecrets(
            secret_ciphertext=await scene.vault.encrypt(Secret(newer.access_token), secret_context(*place)),
            refresh_ciphertext=await scene.vault.encrypt(
                Secret(newer.refresh_token), refresh_context(*place)
            ),
            scopes=("identify",),
            expires_at=clock.now() + timedelta(hours=1),
            refresh_due_at=clock.now() + timedelta(minutes=50),
            refresh_expires_at=None,
            issued_at=clock.now(),
            previous_until=clock.now() + timedelta(hours=1),
        )
        async with scene.database.tenant(*place[:2]) as transaction:
            assert await transaction.credentials.commit_refresh(claimed, secrets)

    replica = await replicas.start()
    held = scene.sandbox.state.faults.add(FaultOrder("hold", grant_type="refresh_token", point="before"))
    refreshing = asyncio.create_task(replica.engine.attempt(claimed))
    assert await held.wait_for(1, 10)
    await write_newer()
    ledger = scene.sandbox.state.ledgers["discord"]
    assert stored.issued.refresh_token is not None
    old = ledger.find("refresh", stored.issued.refresh_token)
    assert old is not None
    old.used = True
    held.release()
    assert await refreshing is Refreshed.SUPERSEDED
    assert (await scene.owner(stored)).status is ConnectionStatus.ACTIVE
    assert (await scene.secrets_of(await scene.now(stored.credential)))[0] == newer.access_token
    assert await names(scene) == []


async def test_a_late_answer_is_kept_although_the_lease_was_lost(
    scene: Scene, replicas: Replicas, config: ProviderConfig, clock: ManualClock
) -> None:
    """The first holder has the only good token; the second, refused with the old one, gives way."""
    stored = await scene.connected(config)
    first, second = await replicas.start(), await replicas.start()
    held = scene.sandbox.state.faults.add(FaultOrder("hold", grant_type="refresh_token", times=1))
    late = asyncio.create_task(first.engine.attempt(await scene.claim(stored.credential)))
    assert await held.wait_for(1, 10)
    clock.advance(LEASE)
    blocked = scene.sandbox.state.faults.add(
        FaultOrder("hold", grant_type="refresh_token", times=1, point="before")
    )
    claimed = await scene.claim(stored.credential)
    assert claimed.outcome_unknown
    other = asyncio.create_task(second.engine.attempt(claimed))
    assert await blocked.wait_for(1, 10)
    held.release()
    assert await late is Refreshed.REFRESHED
    blocked.release()
    assert await other is Refreshed.SUPERSEDED
    now = await scene.now(stored.credential)
    access, refresh = await scene.secrets_of(now)
    assert scene.works(access)
    assert scene.refresh_works(refresh)
    assert (now.version, now.lease) == (2, None)
    assert (await scene.owner(stored)).status is ConnectionStatus.ACTIVE


async def test_an_answer_that_comes_after_the_connection_was_given_up_revives_it(
    scene: Scene, replicas: Replicas, config: ProviderConfig, clock: ManualClock
) -> None:
    """Both events are told, and the credential is due again."""
    stored = await scene.connected(config)
    first, second = await replicas.start(), await replicas.start()
    held = scene.sandbox.state.faults.add(FaultOrder("hold", grant_type="refresh_token", times=1))
    late = asyncio.create_task(first.engine.attempt(await scene.claim(stored.credential)))
    assert await held.wait_for(1, 10)
    clock.advance(LEASE)
    assert await attempt(scene, second, stored) is Refreshed.CONDEMNED
    held.release()
    assert await late is Refreshed.REFRESHED
    owner = await scene.owner(stored)
    assert (owner.status, owner.status_reason) == (ConnectionStatus.ACTIVE, None)
    assert (await scene.now(stored.credential)).refresh_due_at is not None
    assert await names(scene) == ["connection.needs_reauth", "credential.refreshed", "connection.recovered"]


async def test_a_refresh_does_not_revive_what_was_ended_for_another_reason(
    scene: Scene, replica: Replica, config: ProviderConfig
) -> None:
    """A connection that fell with its installation waits for a person, whatever its token can do."""
    stored = await scene.connected(config)
    async with scene.database.tenant(scene.environment_id, scene.tenant_id) as transaction:
        await transaction.connections.set_status(
            scene.environment_id,
            scene.tenant_id,
            stored.owner_id,
            status=ConnectionStatus.NEEDS_REAUTH,
            reason="installation_removed",
            at=scene.clock.now(),
        )
    assert await attempt(scene, replica, stored) is Refreshed.REFRESHED
    owner = await scene.owner(stored)
    assert (owner.status, owner.status_reason) == (ConnectionStatus.NEEDS_REAUTH, "installation_removed")


async def test_a_call_that_could_outlive_its_lease_is_not_made(
    scene: Scene, replica: Replica, config: ProviderConfig, clock: ManualClock
) -> None:
    """Two holders must never use one refresh token at the same time."""
    stored = await scene.connected(config)
    claimed = await scene.claim(stored.credential)
    clock.advance(LEASE - timedelta(seconds=20))
    assert await replica.engine.attempt(claimed) is Refreshed.POSTPONED
    assert scene.refreshes() == []
    assert not (await scene.now(stored.credential)).outcome_unknown


async def test_metadata_patched_during_a_refresh_is_not_reverted(
    scene: Scene, replica: Replica, config: ProviderConfig
) -> None:
    """A refresh writes the columns of the credential and nothing else."""
    stored = await scene.connected(config)
    held = scene.sandbox.state.faults.add(FaultOrder("hold", grant_type="refresh_token"))
    refreshing = asyncio.create_task(attempt(scene, replica, stored))
    assert await held.wait_for(1, 10)
    place = (scene.environment_id, scene.tenant_id, stored.owner_id)
    async with scene.database.tenant(*place[:2]) as transaction:
        connection = await transaction.connections.lock(*place)
        assert connection is not None
        patched = replace(connection, metadata={"team": "blue"}, label="work", is_primary=True)
        await transaction.connections.update(patched, at=scene.clock.now())
    held.release()
    assert await refreshing is Refreshed.REFRESHED
    owner = await scene.owner(stored)
    assert isinstance(owner, Connection)
    assert (owner.metadata, owner.label, owner.is_primary) == ({"team": "blue"}, "work", True)


async def test_a_connection_ended_during_a_refresh_stays_ended(
    scene: Scene, replica: Replica, config: ProviderConfig
) -> None:
    """The answer finds no row any more and creates none."""
    stored = await scene.connected(config)
    held = scene.sandbox.state.faults.add(FaultOrder("hold", grant_type="refresh_token"))
    refreshing = asyncio.create_task(attempt(scene, replica, stored))
    assert await held.wait_for(1, 10)
    place = (scene.environment_id, scene.tenant_id, stored.owner_id)
    async with scene.database.tenant(*place[:2]) as transaction:
        await transaction.connections.set_status(
            *place, status=ConnectionStatus.REVOKED, reason="disconnected", at=scene.clock.now()
        )
        await transaction.credentials.destroy_owned(*place)
    held.release()
    assert await refreshing is Refreshed.SUPERSEDED
    assert (await scene.owner(stored)).status is ConnectionStatus.REVOKED
    assert await names(scene) == []
    assert replica.spool.outstanding == 0
