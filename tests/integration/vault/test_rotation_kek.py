"""Every data key moves to the primary KEK; nobody else notices."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from authpipe.domain.clock import ManualClock
from authpipe.domain.environment import WORKSPACE_ID
from authpipe.domain.errors import VaultError, VaultUnavailable
from authpipe.domain.identifiers import new_id
from authpipe.domain.secret import Secret
from authpipe.store.database import Database
from authpipe.vault import rewrapping
from authpipe.vault.aes_key import AesKey
from authpipe.vault.context import EncryptionContext
from authpipe.vault.failure import unavailable
from authpipe.vault.keks.local import LocalKek
from authpipe.vault.rewrapping import Rewrap
from support.key_rotation import ORIGIN, Keys, keyset_events
from support.postgres import Dsns
from support.scene import Scene

TENANTS = 30


@pytest.fixture
def new_kek(tmp_path: Path) -> LocalKek:
    return LocalKek.create(tmp_path / "new-kek")


@pytest.fixture
async def superuser(dsns: Dsns) -> AsyncIterator[asyncpg.Connection[Any]]:
    connection = await asyncpg.connect(dsns.superuser)
    yield connection
    await connection.close()


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rewrapping, "BATCH", 7)


@pytest.fixture
async def secrets(scene: Scene) -> dict[EncryptionContext, bytes]:
    """One under each keyset: thirty tenants', the environment's, the workspace's."""
    owners = [(scene.environment_id, await scene.tenant(f"org_{number}")) for number in range(TENANTS)]
    contexts = [
        EncryptionContext(environment_id=environment_id, tenant_id=tenant_id, row_id=new_id(), field="secret")
        for environment_id, tenant_id in [*owners, (scene.environment_id, None), (WORKSPACE_ID, None)]
    ]
    return {each: await scene.vault.encrypt(Secret(f"of {each.tenant_id}"), each) for each in contexts}


async def all_readable(keys: Keys, secrets: dict[EncryptionContext, bytes]) -> None:
    for context, ciphertext in secrets.items():
        assert (await keys.vault.decrypt(ciphertext, context)).reveal() == f"of {context.tenant_id}"


async def test_every_key_is_wrapped_anew_and_the_old_kek_can_go(
    secrets: dict[EncryptionContext, bytes], database: Database, clock: ManualClock, kek: LocalKek,
    new_kek: LocalKek,
) -> None:  # fmt: skip
    """The same data keys: ciphertexts stay, and a process that knows the new KEK alone reads them."""
    both = Keys(database, clock, new_kek, kek)
    done = await both.rewrap()
    assert (done.moved, done.left, dict(done.unknown)) == (len(secrets), 0, {})
    await all_readable(Keys(database, clock, new_kek), secrets)
    assert (await both.rewrap()).moved == 0
    async with database.system() as transaction:
        assert await transaction.key_rotation.count_by_kek() == {new_kek.kek_id: len(secrets)}
    with pytest.raises(VaultError, match=new_kek.kek_id):
        await all_readable(Keys(database, clock, kek), secrets)


async def test_the_record_tells_how_many_of_which_environment(
    secrets: dict[EncryptionContext, bytes], scene: Scene, database: Database, clock: ManualClock,
    kek: LocalKek, new_kek: LocalKek,
) -> None:  # fmt: skip
    """Every transaction its event: the sum is what was done, whenever somebody pulled the plug."""
    await Keys(database, clock, new_kek, kek).rewrap()
    for environment_id, count in ((scene.environment_id, TENANTS + 1), (WORKSPACE_ID, 1)):
        events = await keyset_events(database, environment_id)
        assert {event.type for event in events} == {"keyset.rewrapped"}
        assert {event.origin for event in events} == {ORIGIN}
        assert sum(event.data["keys"] for event in events) == count
        assert all(event.data["kek_id"] == new_kek.kek_id for event in events)
        assert all(set(event.data["from_kek_ids"]) == {kek.kek_id} for event in events)


async def test_two_at_once_do_each_key_once(
    secrets: dict[EncryptionContext, bytes], scene: Scene, database: Database, clock: ManualClock,
    kek: LocalKek, new_kek: LocalKek,
) -> None:  # fmt: skip
    """Neither waits for the other, the counts add up, and everything is readable under the new KEK."""
    one, other = (Keys(database, clock, new_kek, kek) for _ in range(2))
    first, second = await asyncio.gather(one.rewrap(), other.rewrap())
    assert first.moved + second.moved == len(secrets)
    assert (first.left, second.left) == (0, 0)
    events = await keyset_events(database, scene.environment_id)
    assert sum(event.data["keys"] for event in events) == TENANTS + 1
    await all_readable(Keys(database, clock, new_kek), secrets)


async def test_a_key_of_an_unknown_kek_is_named_and_left(
    secrets: dict[EncryptionContext, bytes], scene: Scene, database: Database, clock: ManualClock,
    kek: LocalKek, new_kek: LocalKek, tmp_path: Path,
) -> None:  # fmt: skip
    """The others move; once its KEK is configured again it moves too."""
    third = LocalKek.create(tmp_path / "third")
    place = EncryptionContext(
        environment_id=scene.environment_id,
        tenant_id=await scene.tenant("org_third"),
        row_id=new_id(),
        field="secret",
    )
    secrets[place] = await Keys(database, clock, third).vault.encrypt(Secret("of org_third"), place)
    done = await Keys(database, clock, new_kek, kek).rewrap()
    assert (done.moved, done.left, dict(done.unknown)) == (len(secrets) - 1, 0, {third.kek_id: 1})
    done = await Keys(database, clock, new_kek, third).rewrap()
    assert (done.moved, done.left, dict(done.unknown)) == (1, 0, {})
    await all_readable(Keys(database, clock, new_kek), secrets)


async def test_an_altered_key_is_left_as_it_is(
    secrets: dict[EncryptionContext, bytes], scene: Scene, database: Database, clock: ManualClock,
    kek: LocalKek, new_kek: LocalKek, superuser: asyncpg.Connection[Any],
) -> None:  # fmt: skip
    """A wrapped key moved to another tenant does not unwrap there, so it is not wrapped for it either."""
    await superuser.execute(
        "UPDATE data_keys SET wrapped = (SELECT wrapped FROM data_keys WHERE tenant_id = 'org_2')"
        " WHERE tenant_id = 'org_1'"
    )
    done = await Keys(database, clock, new_kek, kek).rewrap()
    assert (done.moved, done.left) == (len(secrets) - 1, 1)
    kept = await superuser.fetchval("SELECT kek_id FROM data_keys WHERE tenant_id = 'org_1'")
    assert kept == kek.kek_id


class Stubborn:
    """A KEK that stops to answer, or that may wrap and not unwrap."""

    def __init__(self, kek: LocalKek, *, answers: int = 10_000, unwraps: bool = True) -> None:
        self._kek = kek
        self._answers = answers
        self._unwraps = unwraps
        self.uri, self.kek_id = kek.uri, kek.kek_id

    async def wrap(self, key: AesKey, associated_data: bytes) -> bytes:
        self._answers -= 1
        if self._answers < 0:
            raise unavailable("it went away")
        return await self._kek.wrap(key, associated_data)

    async def unwrap(self, wrapped: bytes, associated_data: bytes) -> AesKey:
        if not self._unwraps:
            raise VaultError("it may not", detail="AccessDenied")
        return await self._kek.unwrap(wrapped, associated_data)

    def close(self) -> None:
        """Nothing is open."""


async def test_what_an_absent_kek_cut_off_is_resumed(
    secrets: dict[EncryptionContext, bytes], scene: Scene, database: Database, clock: ManualClock,
    kek: LocalKek, new_kek: LocalKek,
) -> None:  # fmt: skip
    """Whole batches are done, the rest is not; all stays readable, and the next run does only the rest."""
    with pytest.raises(VaultUnavailable):
        await Keys(database, clock, Stubborn(new_kek, answers=17), kek).rewrap()
    await all_readable(Keys(database, clock, new_kek, kek), secrets)
    done = await Keys(database, clock, new_kek, kek).rewrap()
    assert done.moved == len(secrets) - 14
    await all_readable(Keys(database, clock, new_kek), secrets)


async def test_a_kek_that_does_not_unwrap_what_it_wraps_takes_no_key(
    secrets: dict[EncryptionContext, bytes], database: Database, clock: ManualClock, kek: LocalKek,
    new_kek: LocalKek,
) -> None:  # fmt: skip
    """A KMS grants the two apart: no wrap is written before it was unwrapped once."""
    with pytest.raises(VaultError):
        await Keys(database, clock, Stubborn(new_kek, unwraps=False), kek).rewrap()
    await all_readable(Keys(database, clock, kek), secrets)


async def test_a_key_changed_meanwhile_is_not_overwritten(
    secrets: dict[EncryptionContext, bytes], scene: Scene, database: Database, clock: ManualClock,
    kek: LocalKek, new_kek: LocalKek,
) -> None:  # fmt: skip
    """Compare and swap on the wrap itself; counting encryptions meanwhile is no change of it."""
    keys = Keys(database, clock, new_kek, kek)
    place = (scene.environment_id, "org_0")
    [stored] = await keys.keyset(*place)
    await keys.keysets.reserve_encryptions(*place, stored.key_id, 5)
    swap = Rewrap(stored, b"as if it were wrapped")
    now = clock.now()
    assert await keys.wrapped_keys.swap([swap], kek_id="x", origin=ORIGIN, at=now) == 1
    assert await keys.wrapped_keys.swap([swap], kek_id="y", origin=ORIGIN, at=now) == 0
    [changed] = await keys.keyset(*place)
    assert (changed.kek_id, changed.wrapped) == ("x", b"as if it were wrapped")
    assert changed.encryptions == stored.encryptions + 5


async def test_a_key_that_is_being_counted_is_not_waited_for(
    secrets: dict[EncryptionContext, bytes], scene: Scene, database: Database, clock: ManualClock,
    kek: LocalKek, new_kek: LocalKek,
) -> None:  # fmt: skip
    """It is left and named; the next run finds it."""
    keys = Keys(database, clock, new_kek, kek)
    place = (scene.environment_id, "org_0")
    [stored] = await keys.keyset(*place)
    async with database.keysets(*place) as transaction:
        await transaction.data_keys.count_encryptions(*place, stored.key_id, 1)
        async with asyncio.timeout(10):
            done = await keys.rewrap()
    assert (done.moved, done.left) == (len(secrets) - 1, 1)
    assert (await keys.rewrap()).moved == 1


async def test_encryption_goes_on_during_it(
    secrets: dict[EncryptionContext, bytes], scene: Scene, database: Database, clock: ManualClock,
    kek: LocalKek, new_kek: LocalKek,
) -> None:  # fmt: skip
    """A process that is not told of anything encrypts and decrypts all the while, with what it holds."""
    busy = Keys(database, clock, new_kek, kek, reservation_block=1)
    [*places] = list(secrets)[:5]
    made: list[tuple[EncryptionContext, bytes]] = []

    async def encrypt() -> None:
        while True:
            for place in places:
                made.append((place, await busy.vault.encrypt(Secret(f"of {place.tenant_id}"), place)))
                await busy.vault.decrypt(made[-1][1], place)

    task = asyncio.create_task(encrypt())
    while not made:
        await asyncio.sleep(0)
    await Keys(database, clock, new_kek, kek).rewrap()
    assert not task.done()
    task.cancel()
    assert (await Keys(database, clock, new_kek, kek).rewrap()).left == 0
    await all_readable(Keys(database, clock, new_kek), dict(made))
