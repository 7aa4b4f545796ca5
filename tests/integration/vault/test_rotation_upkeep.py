"""The worker's part: primaries of a certain age, stragglers, and the end of retired keys."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest

from authpipe.credentials.contexts import refresh_context, secret_context
from authpipe.credentials.outcome import Refreshed
from authpipe.credentials.spool import Spool, SpoolRecord
from authpipe.domain.clock import ManualClock
from authpipe.domain.credential import StoredCredential
from authpipe.domain.errors import VaultError
from authpipe.domain.provider_config import ProviderConfig
from authpipe.domain.secret import Secret
from authpipe.store.credentials import RefreshedSecrets
from authpipe.store.database import Database
from authpipe.vault import upkeep
from authpipe.vault.envelope import key_id_of
from authpipe.vault.keks.local import LocalKek
from authpipe.vault.keyset import KeysetOwner, RotationCause, RotationReason
from authpipe.vault.upkeep import RetiredKey
from support.key_rotation import ORIGIN, Keys, keyset_events
from support.replica import Replica, Replicas
from support.scene import Scene, Stored

DAY = timedelta(days=1)
AGED = RotationCause(RotationReason.AGE, ORIGIN)
LATE_SECRET = "told by the provider a long time ago"


@pytest.fixture
def keys(database: Database, clock: ManualClock, kek: LocalKek) -> Keys:
    return Keys(database, clock, kek)


@pytest.fixture
async def config(scene: Scene) -> ProviderConfig:
    return await scene.config()


@pytest.fixture
async def replica(replicas: Replicas) -> Replica:
    return await replicas.start()


def place(scene: Scene) -> tuple[UUID, str]:
    return scene.environment_id, scene.tenant_id


async def live(keys: Keys, clock: ManualClock, time: timedelta) -> None:
    """Let time go by with a worker that looks every six hours."""
    for _ in range(int(time / (DAY / 4))):
        clock.advance(DAY / 4)
        await keys.upkeep.round()


def answer(credential: StoredCredential, ciphertext: bytes) -> SpoolRecord:
    """As a refresh leaves it on disk."""
    return SpoolRecord(
        environment_id=credential.environment_id,
        tenant_id=credential.tenant_id,
        credential_id=credential.credential_id,
        version=credential.version,
        secrets=RefreshedSecrets(
            secret_ciphertext=ciphertext,
            refresh_ciphertext=None,
            scopes=credential.scopes,
            expires_at=None,
            refresh_due_at=None,
            refresh_expires_at=None,
            issued_at=credential.issued_at,
            previous_until=credential.issued_at,
        ),
    )


async def late_answer(scene: Scene, keys: Keys, stored: Stored) -> SpoolRecord:
    """Encrypted under the primary of now."""
    context = secret_context(*place(scene), stored.credential.credential_id)
    return answer(stored.credential, await keys.vault.encrypt(Secret(LATE_SECRET), context))


async def left_behind(spool_dir: Path, record: SpoolRecord) -> None:
    """On the disk of a process that died."""
    spool = Spool(spool_dir)
    await spool.append(record)
    spool.close()


# Age


async def test_a_primary_is_replaced_at_its_age_and_its_payloads_follow(
    scene: Scene, config: ProviderConfig, database: Database, clock: ManualClock, kek: LocalKek
) -> None:
    """Not a day before; then within two rounds everything is under the new one, and the record says why."""
    keys = Keys(database, clock, kek, max_age=90 * DAY)
    await scene.connected(config)
    old = await keys.primary(*place(scene))
    clock.advance(90 * DAY - timedelta(seconds=1))
    assert await keys.upkeep.round() == 0
    clock.advance(timedelta(seconds=1))
    # The tenant's and the environment's, each rotated and then looked at.
    assert await keys.upkeep.round() == 4
    assert await keys.primary(*place(scene)) != old
    assert await keys.astray() == 0
    [rotated] = [
        event
        for event in await keyset_events(database, scene.environment_id)
        if event.type == "keyset.rotated" and event.tenant_id == scene.tenant_id
    ]
    assert rotated.data["reason"] == "age"
    assert rotated.origin.actor_kind == "worker"


async def test_without_an_age_nothing_is_replaced(
    scene: Scene, config: ProviderConfig, keys: Keys, clock: ManualClock
) -> None:
    """However old it is."""
    await scene.connected(config)
    clock.advance(3650 * DAY)
    assert await keys.upkeep.round() == 0


async def test_one_round_replaces_a_bounded_number(
    scene: Scene,
    database: Database,
    clock: ManualClock,
    kek: LocalKek,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Keysets of one age do not rotate all at once; every one has its turn."""
    monkeypatch.setattr(upkeep, "AGED_AT_ONCE", 4)
    keys = Keys(database, clock, kek, max_age=DAY)
    for number in range(10):
        tenant_id = await scene.tenant(f"org_{number}")
        context = secret_context(scene.environment_id, tenant_id, UUID(int=number))
        await keys.vault.encrypt(Secret("x"), context)
    clock.advance(DAY)
    rotated = []
    for _ in range(4):
        await keys.upkeep.round()
        events = await keyset_events(database, scene.environment_id)
        rotated.append(sum(event.type == "keyset.rotated" for event in events))
    assert rotated == [4, 8, 10, 10]


async def test_workers_at_once_replace_each_key_once(
    scene: Scene, config: ProviderConfig, database: Database, clock: ManualClock, kek: LocalKek
) -> None:
    """Both see the same keys due; the second finds another primary and leaves it."""
    workers = [Keys(database, clock, kek, max_age=DAY) for _ in range(3)]
    await scene.connected(config)
    clock.advance(DAY)
    await asyncio.gather(*[worker.upkeep.round() for worker in workers])
    assert len(await workers[0].keyset(*place(scene))) == 2
    assert len(await workers[0].keyset(scene.environment_id, None)) == 2


async def test_a_tenant_that_is_being_erased_keeps_nobody_from_rotating(
    scene: Scene, config: ProviderConfig, database: Database, clock: ManualClock, kek: LocalKek
) -> None:
    """Its keyset gets no new key; those behind it in the same round do."""
    keys = Keys(database, clock, kek, max_age=DAY)
    await scene.connected(config)
    erasing = scene.tenant_id
    clock.advance(timedelta(seconds=1))
    scene.tenant_id = await scene.tenant("org_other")
    await scene.connected(config)
    async with database.system() as transaction:
        await transaction.connection.execute(
            "UPDATE tenants SET erasing_at = now() WHERE tenant_id = $1", erasing
        )
    clock.advance(DAY)
    await keys.upkeep.round()
    assert len(await keys.keyset(scene.environment_id, erasing)) == 1
    assert len(await keys.keyset(scene.environment_id, "org_other")) == 2


# The end of a retired key


async def test_a_retired_key_is_destroyed_after_its_time(
    scene: Scene, config: ProviderConfig, keys: Keys, clock: ManualClock
) -> None:
    """Kept for thirty days though nothing is under it; then it is gone, and the record names it."""
    stored = await scene.connected(config)
    old = await keys.primary(*place(scene))
    await keys.rotate(*place(scene))
    await live(keys, clock, 29 * DAY)
    assert old in {key.key_id for key in await keys.keyset(*place(scene))}
    await live(keys, clock, 3 * DAY)
    [key] = await keys.keyset(*place(scene))
    assert key.key_id != old
    [destroyed] = [
        event
        for event in await keyset_events(keys.database, scene.environment_id)
        if event.type == "keyset.key_destroyed"
    ]
    assert destroyed.data["key_id"] == str(old)
    access, _ = await scene.secrets_of(await scene.now(stored.credential))
    assert access == stored.issued.access_token
    # And nothing is looked at any more.
    await live(keys, clock, 2 * DAY)
    assert await keys.upkeep.round() == 0


async def test_a_key_is_looked_at_less_and_less(
    scene: Scene, config: ProviderConfig, keys: Keys, clock: ManualClock
) -> None:
    """Every minute at first, later once a day: a hundred thousand retired keys cost next to nothing."""
    await scene.connected(config)
    await keys.rotate(*place(scene))
    looks = []
    for minute in range(2000):
        looks += [minute] * await keys.upkeep.round()
        clock.advance(timedelta(minutes=1))
    assert looks[:6] == [0, 1, 2, 4, 8, 16]
    assert len(looks) < 14


async def test_a_key_with_a_payload_is_never_destroyed(
    scene: Scene, config: ProviderConfig, keys: Keys, clock: ManualClock, kek: LocalKek, tmp_path: Path
) -> None:
    """Its KEK is away, so nothing can be moved: it stays for as long as that takes."""
    stored = await scene.connected(config)
    other = LocalKek.create(tmp_path / "other")
    both = Keys(keys.database, clock, other, kek)
    old = await keys.primary(*place(scene))
    await both.vault.rotate(*place(scene), replaces=old, cause=AGED)
    await live(Keys(keys.database, clock, other), clock, 60 * DAY)
    assert len(await keys.keyset(*place(scene))) == 2
    await live(both, clock, 5 * DAY)
    [key] = await keys.keyset(*place(scene))
    assert key.kek_id == other.kek_id
    now = await scene.now(stored.credential)
    context = secret_context(*place(scene), now.credential_id)
    assert now.secret_ciphertext is not None
    clear = await Keys(keys.database, clock, other).vault.decrypt(now.secret_ciphertext, context)
    assert clear.reveal() == stored.issued.access_token


async def test_one_keysets_trouble_is_not_the_others(
    scene: Scene, config: ProviderConfig, keys: Keys, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be looked at is tried again later; the next keyset has its turn in the same round."""
    await scene.connected(config)
    mine = scene.tenant_id
    scene.tenant_id = await scene.tenant("org_other")
    await scene.connected(config)
    for tenant_id in (mine, "org_other"):
        old = await keys.primary(scene.environment_id, tenant_id)
        await keys.vault.rotate(scene.environment_id, tenant_id, replaces=old, cause=AGED)
        clock.advance(timedelta(milliseconds=1))
    count = keys.payloads.count

    async def fail_for_mine(owner: KeysetOwner) -> object:
        if owner.tenant_id == mine:
            raise VaultError("no")
        return await count(owner)

    monkeypatch.setattr(keys.payloads, "count", fail_for_mine)
    assert await keys.upkeep.round() == 2
    astray = {owner.tenant_id: each.under_retired_keys for owner, each in (await keys.statuses()).items()}
    assert (astray[mine], astray["org_other"]) == (2, 0)
    monkeypatch.undo()
    clock.advance(upkeep.EXAMINATION)
    await keys.upkeep.round()
    assert await keys.astray() == 0


# Answers that come late


async def test_an_answer_from_a_disk_is_stored_under_its_retired_key_and_moved(
    scene: Scene, config: ProviderConfig, keys: Keys, clock: ManualClock, replica: Replica, replicas: Replicas
) -> None:
    """Twenty days late, when the key has long been found unused: it is readable, and the key lasts longer."""
    stored = await scene.connected(config)
    record = await late_answer(scene, keys, stored)
    old = key_id_of(record.secrets.secret_ciphertext)
    await keys.rotate(*place(scene))
    await live(keys, clock, 29 * DAY)
    await left_behind(replicas.spool_dir, record)
    assert await replica.replay.adopt() == 1
    secret, _ = await scene.secrets_of(await scene.now(stored.credential))
    assert secret == LATE_SECRET
    clock.advance(DAY)
    await keys.upkeep.round()
    assert await keys.astray() == 0
    # Whoever had read the row before it was moved still finds the key; a day or two later it goes.
    assert old in {key.key_id for key in await keys.keyset(*place(scene))}
    await live(keys, clock, 4 * DAY)
    assert old not in {key.key_id for key in await keys.keyset(*place(scene))}
    secret, _ = await scene.secrets_of(await scene.now(stored.credential))
    assert secret == LATE_SECRET


async def test_an_answer_whose_key_is_gone_is_not_stored(
    scene: Scene, config: ProviderConfig, keys: Keys, clock: ManualClock, replica: Replica, replicas: Replicas
) -> None:
    """Nobody could read it: what is stored stays, and the file does not come back for ever."""
    stored = await scene.connected(config)
    record = await late_answer(scene, keys, stored)
    await keys.rotate(*place(scene))
    await live(keys, clock, 33 * DAY)
    assert len(await keys.keyset(*place(scene))) == 1
    await left_behind(replicas.spool_dir, record)
    await replica.replay.adopt()
    now = await scene.now(stored.credential)
    assert now.version == stored.credential.version
    secret, _ = await scene.secrets_of(now)
    assert secret == stored.issued.access_token
    assert await replica.replay.adopt() == 0


async def destroyable(scene: Scene, keys: Keys, clock: ManualClock, old: UUID) -> RetiredKey:
    """The old key, at the end of its time and not destroyed yet."""
    await live(keys, clock, 29 * DAY)
    clock.advance(2 * DAY)
    [claimed] = await keys.retired_keys.claim(now=clock.now(), until=clock.now() + DAY, limit=10)
    assert claimed.key_id == old
    return claimed


async def destroy(keys: Keys, clock: ManualClock, key: RetiredKey) -> bool:
    return await keys.retired_keys.destroy(
        key,
        retired_until=clock.now() - upkeep.RETIRED_KEPT,
        unused_until=clock.now() - upkeep.UNUSED_KEPT,
        origin=ORIGIN,
        at=clock.now(),
    )


async def test_an_answer_stored_in_the_same_moment_keeps_its_key(
    scene: Scene, config: ProviderConfig, keys: Keys, clock: ManualClock
) -> None:
    """Destruction waits for whoever holds the key, and then finds that it is in use."""
    stored = await scene.connected(config)
    record = await late_answer(scene, keys, stored)
    old = key_id_of(record.secrets.secret_ciphertext)
    await keys.rotate(*place(scene))
    claimed = await destroyable(scene, keys, clock, old)
    current = await scene.now(stored.credential)
    async with keys.database.tenant(*place(scene)) as transaction:
        assert await transaction.data_keys.hold(*place(scene), {old})
        destroying = asyncio.create_task(destroy(keys, clock, claimed))
        await waits_for_a_lock(keys.database)
        assert not destroying.done()
        assert await transaction.credentials.commit_refresh(current, record.secrets) is not None
    assert await destroying is False
    assert old in {key.key_id for key in await keys.keyset(*place(scene))}


async def test_an_answer_that_comes_a_moment_later_finds_no_key(
    scene: Scene, config: ProviderConfig, keys: Keys, clock: ManualClock
) -> None:
    """It waits until the key is gone, and says so."""
    await scene.connected(config)
    old = await keys.primary(*place(scene))
    await keys.rotate(*place(scene))
    claimed = await destroyable(scene, keys, clock, old)
    now = clock.now()

    async def hold() -> bool:
        async with keys.database.tenant(*place(scene)) as transaction:
            return await transaction.data_keys.hold(*place(scene), {old})

    async with keys.database.system() as transaction:
        assert await transaction.key_rotation.lock_unused(
            claimed, retired_until=now - upkeep.RETIRED_KEPT, unused_until=now - upkeep.UNUSED_KEPT
        )
        holding = asyncio.create_task(hold())
        await waits_for_a_lock(keys.database)
        await transaction.key_rotation.destroy(claimed)
    assert await holding is False


async def waits_for_a_lock(database: Database) -> None:
    """Return once some transaction of this database waits for another."""
    async with asyncio.timeout(10):
        while True:
            async with database.read() as transaction:
                if await transaction.connection.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
                    return
            await asyncio.sleep(0.01)


async def written_back(scene: Scene, config: ProviderConfig, keys: Keys, clock: ManualClock) -> RetiredKey:
    """A provider config read before re-encryption and written after it, at the end of its key's time."""
    old = await keys.primary(scene.environment_id, None)
    async with keys.database.environment(scene.environment_id) as transaction:
        read = await transaction.provider_configs.get(scene.environment_id, config.provider_config_id)
    assert read is not None
    await keys.rotate(scene.environment_id, None)
    claimed = await destroyable(scene, keys, clock, old)
    await scene.change_config(
        config,
        client_secret_ciphertext=read.client_secret_ciphertext,
        app_credential_ciphertext=read.app_credential_ciphertext,
    )
    assert await keys.astray() == 2
    return claimed


async def test_the_last_look_finds_what_nobody_announced(
    scene: Scene, config: ProviderConfig, keys: Keys, clock: ManualClock
) -> None:
    """The key was due to be destroyed; there is something under it after all."""
    claimed = await written_back(scene, config, keys, clock)
    assert await destroy(keys, clock, claimed) is False


async def test_whoever_had_a_row_in_hand_when_it_was_moved_still_finds_its_key(
    scene: Scene, config: ProviderConfig, keys: Keys, clock: ManualClock
) -> None:
    """The command brought the straggler over a moment ago: the key's last day begins anew."""
    claimed = await written_back(scene, config, keys, clock)
    await keys.rotation.reencrypt(claimed.owner, origin=ORIGIN)
    assert await keys.astray() == 0
    assert await destroy(keys, clock, claimed) is False
    await live(keys, clock, 3 * DAY)
    assert claimed.key_id not in {key.key_id for key in await keys.keyset(scene.environment_id, None)}


async def test_the_worker_stops_at_once(keys: Keys) -> None:
    """Whatever the round is at; and twice is once."""
    running = asyncio.create_task(keys.upkeep.run())
    await asyncio.sleep(0)
    keys.upkeep.stop()
    keys.upkeep.stop()
    await asyncio.wait_for(running, 5)


async def test_a_late_commit_of_a_live_process_holds_its_keys_too(
    scene: Scene, config: ProviderConfig, keys: Keys, replica: Replica, clock: ManualClock
) -> None:
    """An answer that waited for the database in memory is written the same way."""
    stored = await scene.connected(config)
    record = await late_answer(scene, keys, stored)
    assert await replica.replay._commits.write_late(record) is Refreshed.REFRESHED
    context = refresh_context(*place(scene), stored.credential.credential_id)
    now = await scene.now(stored.credential)
    assert now.refresh_ciphertext is not None
    assert (await keys.vault.decrypt(now.refresh_ciphertext, context)).reveal() == stored.issued.refresh_token
