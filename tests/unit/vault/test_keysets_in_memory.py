"""Unwrapped keysets are few, short-lived and fetched once."""

from __future__ import annotations

import asyncio
import gc
from datetime import timedelta

import pytest
from tests.unit.vault.memory_keysets import MemoryKeysets
from tests.unit.vault.replicas import ENVIRONMENT, Replicas, place

from authpipe.domain.clock import ManualClock
from authpipe.domain.errors import VaultError
from authpipe.domain.secret import Secret
from authpipe.vault.aes_key import AesKey
from authpipe.vault.keyset import KeysetOwner
from authpipe.vault.vault import Vault

PLAINTEXT = Secret("sk_cached")


def held(vault: Vault) -> int:
    return len(vault._keysets._cache)


async def test_a_warm_decryption_neither_asks_the_store_nor_gives_way(
    replicas: Replicas, store: MemoryKeysets
) -> None:
    """The coroutine runs to its end without once suspending."""
    vault = replicas.start()
    ciphertext = await vault.encrypt(PLAINTEXT, place())
    loads = store.loads
    with pytest.raises(StopIteration) as stopped:
        vault.decrypt(ciphertext, place()).send(None)
    assert stopped.value.value == PLAINTEXT
    assert store.loads == loads


async def test_concurrent_readers_share_one_load(replicas: Replicas, store: MemoryKeysets) -> None:
    """A hundred decryptions with nothing in memory load the keyset once."""
    ciphertext = await replicas.start().encrypt(PLAINTEXT, place())
    store.loads = 0
    reader = replicas.start()
    answers = await asyncio.gather(*[reader.decrypt(ciphertext, place()) for _ in range(100)])
    assert answers == [PLAINTEXT] * 100
    assert store.loads == 1


async def test_memory_holds_a_bounded_number_of_keysets_the_most_recently_used(
    replicas: Replicas, store: MemoryKeysets
) -> None:
    """With room for three, the fourth drops the one that was used longest ago."""
    vault = replicas.start(cache_size=3)
    places = [place(tenant_id=f"org_{number}") for number in range(4)]
    ciphertexts = [await vault.encrypt(PLAINTEXT, one) for one in places[:3]]
    await vault.decrypt(ciphertexts[0], places[0])
    ciphertexts.append(await vault.encrypt(PLAINTEXT, places[3]))
    assert held(vault) == 3
    store.loads = 0
    for number in (0, 2, 3):
        await vault.decrypt(ciphertexts[number], places[number])
    assert store.loads == 0
    await vault.decrypt(ciphertexts[1], places[1])
    assert store.loads == 1
    assert held(vault) == 3


async def test_a_keyset_is_loaded_again_after_its_time(
    replicas: Replicas, store: MemoryKeysets, clock: ManualClock
) -> None:
    """Use does not prolong it: five minutes after the load it is read again, not a moment before."""
    vault = replicas.start(cache_ttl=timedelta(minutes=5))
    ciphertext = await vault.encrypt(PLAINTEXT, place())
    store.loads = 0
    for _ in range(4):
        clock.advance(timedelta(seconds=74))
        await vault.decrypt(ciphertext, place())
    assert store.loads == 0
    clock.advance(timedelta(seconds=4))
    await vault.decrypt(ciphertext, place())
    assert store.loads == 1


async def test_expired_keysets_go_when_any_other_is_used(replicas: Replicas, clock: ManualClock) -> None:
    """Nobody has to ask for a keyset again to get its keys out of memory."""
    vault = replicas.start()
    for number in range(20):
        await vault.encrypt(PLAINTEXT, place(tenant_id=f"org_{number}"))
    assert held(vault) == 20
    clock.advance(timedelta(minutes=6))
    await vault.encrypt(PLAINTEXT, place(tenant_id="org_new"))
    assert held(vault) == 1


@pytest.mark.parametrize("how", ["time", "number", "forget"])
async def test_nothing_holds_the_keys_of_a_dropped_keyset(
    replicas: Replicas, clock: ManualClock, how: str
) -> None:
    """After eviction by any rule no reference to the unwrapped keyset is left."""
    vault = replicas.start(cache_size=1)
    await vault.encrypt(PLAINTEXT, place())
    keyset = await vault._keysets.get(KeysetOwner(ENVIRONMENT, "org_acme"))
    [fingerprint] = [key.fingerprint() for key in keyset.opened.values()]
    del keyset
    assert _objects_with_the_key(fingerprint) == 1
    if how == "time":
        clock.advance(timedelta(minutes=6))
        await vault.encrypt(PLAINTEXT, place(tenant_id="org_other"))
    elif how == "number":
        await vault.encrypt(PLAINTEXT, place(tenant_id="org_other"))
    else:
        vault.forget(ENVIRONMENT, "org_acme")
    # One round of the loop, in which finished tasks let go of their results.
    await asyncio.sleep(0)
    assert _objects_with_the_key(fingerprint) == 0


def _objects_with_the_key(fingerprint: str) -> int:
    gc.collect()
    keys = [one for one in gc.get_objects() if type(one) is AesKey]
    return sum(key.fingerprint() == fingerprint for key in keys)


async def test_a_key_added_by_another_replica_is_found(replicas: Replicas, store: MemoryKeysets) -> None:
    """An unknown key id makes the keyset load again, once."""
    reader = replicas.start()
    await reader.encrypt(PLAINTEXT, place())
    rotator = replicas.start(rotate_after_encryptions=1, reservation_block=1)
    ciphertext = await rotator.encrypt(PLAINTEXT, place())
    assert len(store.keys(ENVIRONMENT, "org_acme")) == 2
    store.loads = 0
    assert await reader.decrypt(ciphertext, place()) == PLAINTEXT
    assert await reader.decrypt(ciphertext, place()) == PLAINTEXT
    assert store.loads == 1


async def test_garbage_does_not_become_a_storm_of_queries(
    vault: Vault, store: MemoryKeysets, clock: ManualClock
) -> None:
    """A thousand ciphertexts with unknown keys, alone or at once: one reload for each second."""
    ciphertext = await vault.encrypt(PLAINTEXT, place())
    store.loads = 0

    async def read(number: int) -> None:
        garbage = ciphertext[:1] + number.to_bytes(16, "big") + ciphertext[17:]
        with pytest.raises(VaultError):
            await vault.decrypt(garbage, place())

    await asyncio.gather(*[read(number) for number in range(500)])
    for number in range(500):
        await read(number)
    assert store.loads == 1
    clock.advance(timedelta(seconds=1))
    for number in range(500):
        await read(number)
    assert store.loads == 2
    assert await vault.decrypt(ciphertext, place()) == PLAINTEXT


async def test_a_clock_set_back_does_not_keep_a_keyset_from_being_searched_again(
    replicas: Replicas, clock: ManualClock
) -> None:
    """The limit is one second of this clock, not all the time until it has caught up."""
    reader = replicas.start()
    ciphertext = await reader.encrypt(PLAINTEXT, place())
    with pytest.raises(VaultError):
        await reader.decrypt(ciphertext[:1] + bytes(16) + ciphertext[17:], place())
    clock.advance(timedelta(minutes=-10))
    rotator = replicas.start(rotate_after_encryptions=1, reservation_block=1)
    assert await reader.decrypt(await rotator.encrypt(PLAINTEXT, place()), place()) == PLAINTEXT


async def test_a_load_that_was_under_way_does_not_bring_a_forgotten_keyset_back(
    replicas: Replicas, store: MemoryKeysets
) -> None:
    """What was read before the keyset was forgotten may be the past; it is not kept, and not shared."""
    ciphertext = await replicas.start().encrypt(PLAINTEXT, place())
    reader = replicas.start()
    store.gate = asyncio.Event()
    store.loads = 0
    before = asyncio.create_task(reader.decrypt(ciphertext, place()))
    while store.loads == 0:
        await asyncio.sleep(0)
    reader.forget(ENVIRONMENT, "org_acme")
    after = asyncio.create_task(reader.decrypt(ciphertext, place()))
    while store.loads == 1:
        await asyncio.sleep(0)
    reader.forget(ENVIRONMENT, "org_acme")
    store.gate.set()
    assert await before == PLAINTEXT
    assert await after == PLAINTEXT
    assert held(reader) == 0


def test_a_cache_without_room_is_refused(replicas: Replicas) -> None:
    """Zero would mean a load for every call; nobody means that."""
    with pytest.raises(ValueError, match="at least one"):
        replicas.start(cache_size=0)
