"""A keyset gets a new primary and its payloads follow, while everybody goes on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from authpipe.credentials.contexts import secret_context
from authpipe.credentials.outcome import Refreshed
from authpipe.domain.clock import ManualClock
from authpipe.domain.environment import WORKSPACE_ID
from authpipe.domain.errors import NotFound
from authpipe.domain.identifiers import new_id
from authpipe.domain.provider_config import ProviderConfig
from authpipe.domain.secret import Secret
from authpipe.store.database import Database
from authpipe.store.keysets import CHANNEL, announced
from authpipe.store.payload_columns import PAYLOAD_COLUMNS
from authpipe.vault.envelope import key_id_of
from authpipe.vault.keks.local import LocalKek
from authpipe.vault.keyset import KeysetOwner, RotationCause, RotationReason
from authpipe.vault.payloads import Reencryption
from support.every_table import insert, rows_of
from support.key_rotation import ORIGIN, Keys, keyset_events
from support.postgres import Dsns
from support.replica import Replicas
from support.scene import Scene

CAUSE = RotationCause(RotationReason.REQUESTED, ORIGIN)


@pytest.fixture
def keys(database: Database, clock: ManualClock, kek: LocalKek) -> Keys:
    return Keys(database, clock, kek)


@pytest.fixture
def other_kek(tmp_path: Path) -> LocalKek:
    return LocalKek.create(tmp_path / "other-kek")


@pytest.fixture
async def config(scene: Scene) -> ProviderConfig:
    return await scene.config()


@pytest.fixture
async def superuser(dsns: Dsns) -> AsyncIterator[asyncpg.Connection[Any]]:
    connection = await asyncpg.connect(dsns.superuser)
    await connection.set_type_codec("jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog")
    yield connection
    await connection.close()


async def fill(superuser: asyncpg.Connection[Any], keys: Keys, owner: KeysetOwner) -> int:
    """A row in every table with payloads of the owner, in every column of it; returns how many payloads."""
    columns = [column for column in PAYLOAD_COLUMNS if column.holds(owner)]
    rows = rows_of(owner.environment_id, owner.tenant_id or "x", 7)
    if owner.environment_id == WORKSPACE_ID:
        columns = [column for column in columns if column.table in ("audit_heads", "sign_in_attempts")]
    for table in {column.table for column in columns}:
        row = {**rows[table]}
        if table == "audit_heads":
            row["environment_id"] = owner.environment_id
        for column in columns:
            if column.table == table:
                context = column.context(owner, row[column.row_id])
                row[column.column] = await keys.vault.encrypt(Secret(f"{column.name} in the clear"), context)
        await superuser.execute("SET session_replication_role = replica")
        await insert(superuser, table, row)
        await superuser.execute("SET session_replication_role = origin")
    return len(columns)


async def payloads(superuser: asyncpg.Connection[Any], owner: KeysetOwner) -> dict[str, tuple[UUID, bytes]]:
    """By column, the row's id and its ciphertext."""
    found = {}
    for column in PAYLOAD_COLUMNS:
        if column.holds(owner):
            for row in await superuser.fetch(
                f"SELECT {column.row_id} AS row_id, {column.column} AS ciphertext FROM {column.table}"
                f" WHERE {column.column} IS NOT NULL"
            ):
                found[column.name] = (row["row_id"], row["ciphertext"])
    return found


@pytest.mark.parametrize("whose", ["tenant", "environment", "workspace"])
async def test_every_payload_follows_to_the_new_primary(
    scene: Scene, keys: Keys, superuser: asyncpg.Connection[Any], whose: str
) -> None:
    """Of every column there is, whatever the keyset; the plaintext stays, and the record tells how many."""
    owner = {
        "tenant": KeysetOwner(scene.environment_id, scene.tenant_id),
        "environment": KeysetOwner(scene.environment_id, None),
        "workspace": KeysetOwner(WORKSPACE_ID, None),
    }[whose]
    count = await fill(superuser, keys, owner)
    old = await keys.primary(*owner)
    done = await keys.rotate(*owner)
    assert done.new_primary == await keys.primary(*owner) != old
    assert (done.reencrypted.moved, done.reencrypted.left) == (count, 0)
    found = await payloads(superuser, owner)
    assert len(found) == count
    reader = Keys(keys.database, scene.clock, *[keys.keks.primary]).vault
    for column in PAYLOAD_COLUMNS:
        if column.name in found:
            row_id, ciphertext = found[column.name]
            assert key_id_of(ciphertext) == done.new_primary
            clear = await reader.decrypt(ciphertext, column.context(owner, row_id))
            assert clear.reveal() == f"{column.name} in the clear"
    events = await keyset_events(keys.database, owner.environment_id)
    assert [event.type for event in events] == ["keyset.rotated"] + ["keyset.reencrypted"] * count
    assert {(event.tenant_id, event.origin) for event in events} == {(owner.tenant_id, ORIGIN)}
    assert sum(event.data.get("payloads", 0) for event in events) == count
    assert events[0].data["retired_key_id"] == str(old)


async def test_nothing_of_a_row_changes_but_the_ciphertext(
    scene: Scene, config: ProviderConfig, keys: Keys
) -> None:
    """Neither version nor lease nor time: whoever works on the row does not notice."""
    stored = await scene.connected(config)
    before = await scene.claim(stored.credential)
    await keys.rotate(scene.environment_id, scene.tenant_id)
    after = await scene.now(stored.credential)
    assert after.secret_ciphertext != before.secret_ciphertext
    changed = {"secret_ciphertext", "refresh_ciphertext"}
    for name in set(after.__slots__) - changed:
        assert getattr(after, name) == getattr(before, name), name


async def test_a_refresh_that_is_under_way_succeeds(
    scene: Scene, config: ProviderConfig, keys: Keys, replicas: Replicas
) -> None:
    """It read the row before, holds the lease, and commits after; what it replaced stays readable."""
    replica = await replicas.start()
    stored = await scene.connected(config)
    claimed = await scene.claim(stored.credential)
    await keys.rotate(scene.environment_id, scene.tenant_id)
    assert await replica.engine.attempt(claimed) is Refreshed.REFRESHED
    now = await scene.now(stored.credential)
    access, refresh = await scene.secrets_of(now)
    assert scene.works(access)
    assert scene.refresh_works(refresh)


async def test_a_refresh_that_ends_first_is_not_overwritten(
    scene: Scene, config: ProviderConfig, keys: Keys, replicas: Replicas
) -> None:
    """What re-encryption has in hand by then is the past, and it notices."""
    replica = await replicas.start()
    stored = await scene.connected(config)
    owner = KeysetOwner(scene.environment_id, scene.tenant_id)
    old = await keys.primary(*owner)
    claimed = await scene.claim(stored.credential)
    await keys.vault.rotate(*owner, replaces=old, cause=CAUSE)
    column = "credentials.secret_ciphertext"
    [payload] = await keys.payloads.page(owner, column, under=[old], after=None, limit=10)
    becomes = await keys.vault.reencrypt(payload.ciphertext, payload.context)
    assert await replica.engine.attempt(claimed) is Refreshed.REFRESHED
    swap = Reencryption(payload.context.row_id, payload.ciphertext, becomes)
    assert await keys.payloads.swap(owner, column, [swap], origin=ORIGIN, at=scene.clock.now()) == 0
    access, _ = await scene.secrets_of(await scene.now(stored.credential))
    assert scene.works(access)
    # The refresh kept the old secret as the previous one: that follows.
    assert (await keys.rotate(*owner)).reencrypted.left == 0
    assert await keys.astray() == 0


async def test_a_row_that_somebody_writes_is_not_waited_for(
    scene: Scene, config: ProviderConfig, keys: Keys, database: Database
) -> None:
    """It is left as it is, counted, and taken the next time."""
    stored = await scene.connected(config)
    await scene.connected(config, user_id="other")
    async with database.tenant(scene.environment_id, scene.tenant_id) as transaction:
        await transaction.connection.execute(
            "UPDATE credentials SET scopes = '{}' WHERE credential_id = $1", stored.credential.credential_id
        )
        async with asyncio.timeout(10):
            done = await keys.rotate(scene.environment_id, scene.tenant_id)
    assert (done.reencrypted.moved, done.reencrypted.left) == (2, 2)
    again = await keys.rotate(scene.environment_id, scene.tenant_id)
    assert again.new_primary is None
    assert (again.reencrypted.moved, again.reencrypted.left) == (2, 0)


async def test_a_crash_after_the_new_primary_is_resumed_and_not_begun_again(
    scene: Scene, config: ProviderConfig, keys: Keys
) -> None:
    """The next run finds payloads under a retired key and moves them; only then is there a new rotation."""
    await scene.connected(config)
    place = (scene.environment_id, scene.tenant_id)
    await keys.vault.rotate(*place, replaces=await keys.primary(*place), cause=CAUSE)
    assert await keys.astray() == 2
    resumed = await keys.rotate(*place)
    assert resumed.new_primary is None
    assert resumed.reencrypted.moved == 2
    assert len(await keys.keyset(*place)) == 2
    assert await keys.astray() == 0
    assert (await keys.rotate(*place)).new_primary is not None
    assert len(await keys.keyset(*place)) == 3


async def test_a_new_primary_can_be_demanded(scene: Scene, config: ProviderConfig, keys: Keys) -> None:
    """As after a leak: an earlier rotation need not be finished; everything ends under the newest."""
    await scene.connected(config)
    place = (scene.environment_id, scene.tenant_id)
    first = await keys.primary(*place)
    await keys.vault.rotate(*place, replaces=first, cause=CAUSE)
    second = await keys.primary(*place)
    done = await keys.rotate(*place, force=True)
    assert done.new_primary not in (None, first, second)
    assert await keys.astray() == 0


async def test_two_rotations_at_once_end_clean(
    scene: Scene, config: ProviderConfig, database: Database, clock: ManualClock, kek: LocalKek
) -> None:
    """Whoever is first; nothing is lost, and everything is under the one primary."""
    stored = [await scene.connected(config, user_id=f"u{number}") for number in range(300)]
    one, other = Keys(database, clock, kek), Keys(database, clock, kek)
    place = (scene.environment_id, scene.tenant_id)
    await asyncio.gather(one.rotate(*place), other.rotate(*place))
    done = await one.rotation.reencrypt(KeysetOwner(*place), origin=ORIGIN)
    assert done.left == 0
    assert await one.astray() == 0
    for each in stored:
        access, refresh = await scene.secrets_of(await scene.now(each.credential))
        assert (access, refresh) == (each.issued.access_token, each.issued.refresh_token)


async def test_a_replica_that_listens_stops_at_once_to_use_the_old_primary(
    scene: Scene, keys: Keys, database: Database, replicas: Replicas
) -> None:
    """The rotation's commit tells every process whose keyset to drop."""
    replica = await replicas.start()
    heard = asyncio.Event()

    def hear(payload: str) -> None:
        replica.vault.forget(*announced(payload))
        heard.set()

    replica.changes.on(CHANNEL, hear)
    await replica.changes.listening()
    place = secret_context(scene.environment_id, scene.tenant_id, new_id())
    await replica.vault.encrypt(Secret("before"), place)
    done = await keys.rotate(scene.environment_id, scene.tenant_id)
    await asyncio.wait_for(heard.wait(), 5)
    assert key_id_of(await replica.vault.encrypt(Secret("after"), place)) == done.new_primary


@pytest.mark.parametrize("tenant_id", ["org_acme", "a/b", "ünï-*", None])
async def test_announcements_name_the_keyset(
    scene: Scene, keys: Keys, tenant_id: str | None, dsns: Dsns
) -> None:
    """Whatever characters a tenant's id has."""
    told: asyncio.Queue[str] = asyncio.Queue()
    listener: asyncpg.Connection[Any] = await asyncpg.connect(dsns.owner)
    await listener.add_listener(CHANNEL, lambda *told_: told.put_nowait(told_[-1]))
    if tenant_id is not None:
        await scene.tenant(tenant_id)
    place = (scene.environment_id, tenant_id)
    async with keys.database.keysets(*place) as transaction:
        await transaction.data_keys.announce(*place)
    assert announced(await asyncio.wait_for(told.get(), 5)) == place
    await listener.close()


async def test_what_a_deaf_replica_writes_later_is_found(
    scene: Scene, config: ProviderConfig, keys: Keys, database: Database, clock: ManualClock, kek: LocalKek
) -> None:
    """It still holds the old primary; the worker's next look brings its payload over."""
    deaf = Scene(database, Keys(database, clock, kek).vault, scene.catalog, clock, scene.sandbox)
    deaf.environment_id, deaf.tenant_id = scene.environment_id, scene.tenant_id
    await deaf.connected(config, user_id="early")
    await keys.rotate(scene.environment_id, scene.tenant_id)
    late = await deaf.connected(config, user_id="late")
    assert await keys.astray() == 2
    await keys.upkeep.round()
    assert await keys.astray() == 0
    access, _ = await scene.secrets_of(await scene.now(late.credential))
    assert access == late.issued.access_token


async def test_a_process_that_missed_a_rotation_reencrypts_under_the_primary_of_now(
    scene: Scene, config: ProviderConfig, keys: Keys, database: Database, clock: ManualClock, kek: LocalKek
) -> None:
    """It looks at the store before it begins, whatever it holds in memory."""
    stored = await scene.connected(config)
    owner = KeysetOwner(scene.environment_id, scene.tenant_id)
    deaf = Keys(database, clock, kek)
    context = secret_context(scene.environment_id, scene.tenant_id, stored.credential.credential_id)
    await deaf.vault.encrypt(Secret("and with that it holds the primary"), context)
    await keys.vault.rotate(*owner, replaces=await keys.primary(*owner), cause=CAUSE)
    done = await deaf.rotation.reencrypt(owner, origin=ORIGIN)
    assert (done.moved, done.left) == (2, 0)
    assert await keys.astray() == 0


async def test_a_payload_that_does_not_decrypt_stays_and_stops_nobody(
    scene: Scene, config: ProviderConfig, keys: Keys, superuser: asyncpg.Connection[Any]
) -> None:
    """It is counted as left; the others are moved, and the command comes to an end."""
    spoilt = await scene.connected(config, user_id="spoilt")
    await scene.connected(config, user_id="good")
    await superuser.execute(
        "UPDATE credentials SET secret_ciphertext = substr(secret_ciphertext, 1, 40)"
        " || sha256(secret_ciphertext) WHERE credential_id = $1",
        spoilt.credential.credential_id,
    )
    done = await keys.rotate(scene.environment_id, scene.tenant_id)
    assert (done.reencrypted.moved, done.reencrypted.left) == (3, 1)


async def test_payloads_under_a_key_that_cannot_be_opened_stay(
    scene: Scene,
    config: ProviderConfig,
    keys: Keys,
    database: Database,
    clock: ManualClock,
    kek: LocalKek,
    other_kek: LocalKek,
) -> None:
    """Without the KEK of a retired key nothing is read, nothing is changed, and the key is named."""
    await scene.connected(config)
    place = (scene.environment_id, scene.tenant_id)
    old = await keys.primary(*place)
    await Keys(database, clock, other_kek, kek).vault.rotate(*place, replaces=old, cause=CAUSE)
    done = await Keys(database, clock, other_kek).rotate(*place)
    assert (done.reencrypted.moved, done.reencrypted.left) == (0, 2)
    assert dict(done.reencrypted.closed) == {old: kek.kek_id}
    assert (await keys.keyset(*place))[0].key_id == old
    assert (await Keys(database, clock, other_kek, kek).rotate(*place)).reencrypted.left == 0


async def test_an_erased_keyset_is_not_made_anew(scene: Scene, config: ProviderConfig, keys: Keys) -> None:
    """Re-encryption that is under way when the keyset is destroyed fails; it does not bring it back."""
    await scene.connected(config)
    place = (scene.environment_id, scene.tenant_id)
    async with keys.database.tenant(*place) as transaction:
        assert await transaction.data_keys.destroy_all(*place) == 1
    with pytest.raises(NotFound, match="no keyset"):
        await keys.rotate(*place)
    assert (await keys.rotation.reencrypt(KeysetOwner(*place), origin=ORIGIN)).moved == 0
    assert await keys.keyset(*place) == []
    status = (await keys.statuses())[KeysetOwner(*place)]
    assert (status.lost, status.under_retired_keys) == (2, 0)


async def test_other_tenants_are_not_touched(scene: Scene, config: ProviderConfig, keys: Keys) -> None:
    """Their ciphertexts stay byte for byte, and so do those of the environment."""
    await scene.connected(config)
    mine = scene.tenant_id
    scene.tenant_id = await scene.tenant("org_other")
    other = await scene.connected(config)
    await keys.rotate(scene.environment_id, mine)
    now = await scene.now(other.credential)
    assert now.secret_ciphertext == other.credential.secret_ciphertext
    assert len(await keys.keyset(scene.environment_id, "org_other")) == 1
    assert len(await keys.keyset(scene.environment_id, None)) == 1
