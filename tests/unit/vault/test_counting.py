"""Encryptions are counted before they happen, and a worn key is replaced."""

from __future__ import annotations

import asyncio

import pytest
from tests.unit.vault.memory_keysets import MemoryKeysets
from tests.unit.vault.replicas import ENVIRONMENT, Replicas, place

from authpipe.domain.errors import VaultError
from authpipe.domain.secret import Secret
from authpipe.vault.failure import PUBLIC_MESSAGE

PLAINTEXT = Secret("ghu_counted")


async def test_encryptions_are_reserved_in_blocks(replicas: Replicas, store: MemoryKeysets) -> None:
    """One write of the counter for each block, made before the first encryption of it."""
    vault = replicas.start(reservation_block=10)
    for made in range(1, 26):
        await vault.encrypt(PLAINTEXT, place())
        [key] = store.keys(ENVIRONMENT, "org_acme")
        assert key.encryptions == -(-made // 10) * 10
    assert store.reservations == [10, 10, 10]


async def test_a_crash_counts_too_much_and_never_too_little(replicas: Replicas, store: MemoryKeysets) -> None:
    """A process that begins anew reserves anew; what its predecessor had left is lost to the counter."""
    made = 0
    for _ in range(4):
        vault = replicas.start(reservation_block=10)
        for _ in range(3):
            await vault.encrypt(PLAINTEXT, place())
            made += 1
        [key] = store.keys(ENVIRONMENT, "org_acme")
        assert key.encryptions >= made
    assert key.encryptions == 40


async def test_concurrent_encryptions_share_a_reservation(replicas: Replicas, store: MemoryKeysets) -> None:
    """25 at once with blocks of ten: three reservations, and no encryption without one."""
    vault = replicas.start(reservation_block=10)
    await asyncio.gather(*[vault.encrypt(PLAINTEXT, place()) for _ in range(25)])
    assert store.reservations == [10, 10, 10]


async def test_a_reservation_outlives_the_cached_keyset(replicas: Replicas, store: MemoryKeysets) -> None:
    """Two tenants that push each other out of memory do not write the counter each time."""
    vault = replicas.start(cache_size=1)
    for _ in range(5):
        await vault.encrypt(PLAINTEXT, place())
        await vault.encrypt(PLAINTEXT, place(tenant_id="org_other"))
    assert store.reservations == [1024, 1024]


async def test_a_worn_key_is_replaced_and_still_decrypts(replicas: Replicas, store: MemoryKeysets) -> None:
    """25 encryptions with keys good for ten: three keys, one primary, everything readable by anyone."""
    vault = replicas.start(rotate_after_encryptions=10, reservation_block=5)
    ciphertexts = [await vault.encrypt(PLAINTEXT, place()) for _ in range(25)]
    keys = store.keys(ENVIRONMENT, "org_acme")
    assert [key.is_primary for key in keys] == [False, False, True]
    used = [ciphertext[1:17] for ciphertext in ciphertexts]
    assert [used.count(key.key_id.bytes) for key in keys] == [10, 10, 5]
    for reader in (vault, replicas.start()):
        for ciphertext in ciphertexts:
            assert await reader.decrypt(ciphertext, place()) == PLAINTEXT


async def test_replicas_together_never_use_a_key_more_often_than_allowed(
    replicas: Replicas, store: MemoryKeysets
) -> None:
    """Four replicas, 400 concurrent encryptions, keys good for 60: none is used a 61st time."""
    vaults = [replicas.start(rotate_after_encryptions=60, reservation_block=7) for _ in range(4)]
    ciphertexts = await asyncio.gather(
        *[vaults[number % 4].encrypt(PLAINTEXT, place()) for number in range(400)]
    )
    keys = store.keys(ENVIRONMENT, "org_acme")
    used = [ciphertext[1:17] for ciphertext in ciphertexts]
    assert sum(used.count(key.key_id.bytes) for key in keys) == 400
    assert max(used.count(key.key_id.bytes) for key in keys) <= 60
    assert sum(key.is_primary for key in keys) == 1
    for ciphertext in ciphertexts:
        assert await vaults[0].decrypt(ciphertext, place()) == PLAINTEXT


async def test_replicas_that_race_to_replace_a_worn_key_agree_on_one(
    replicas: Replicas, store: MemoryKeysets
) -> None:
    """Both see the counter pass the mark, both offer a successor, one is stored."""
    settings = {"rotate_after_encryptions": 2, "reservation_block": 1}
    one, other = replicas.start(**settings), replicas.start(**settings)
    await one.encrypt(PLAINTEXT, place())
    await other.encrypt(PLAINTEXT, place())
    adds = store.adds
    first, second = await asyncio.gather(one.encrypt(PLAINTEXT, place()), other.encrypt(PLAINTEXT, place()))
    assert store.adds == adds + 2
    assert len(store.keys(ENVIRONMENT, "org_acme")) == 2
    assert first[1:17] == second[1:17]


async def test_a_key_destroyed_elsewhere_is_refused_and_then_replaced(
    replicas: Replicas, store: MemoryKeysets
) -> None:
    """When the counter's row is gone the encryption fails and memory is dropped; the next starts anew."""
    vault = replicas.start(reservation_block=1)
    old = await vault.encrypt(PLAINTEXT, place())
    store.rows.clear()
    with pytest.raises(VaultError, match=PUBLIC_MESSAGE):
        await vault.encrypt(PLAINTEXT, place())
    new = await vault.encrypt(PLAINTEXT, place())
    assert new[1:17] != old[1:17]
    assert await replicas.start().decrypt(new, place()) == PLAINTEXT


async def test_a_store_that_shows_no_new_primary_is_an_error_and_not_a_loop(
    replicas: Replicas, store: MemoryKeysets, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replica that reads stale data says so instead of adding keys for ever."""

    async def nothing(*_: object) -> list[object]:
        return []

    monkeypatch.setattr(store, "load", nothing)
    with pytest.raises(VaultError, match=PUBLIC_MESSAGE):
        await replicas.start().encrypt(PLAINTEXT, place())
    assert store.adds == 1


@pytest.mark.parametrize("block", [0, 11])
def test_a_block_must_fit_within_the_life_of_a_key(replicas: Replicas, block: int) -> None:
    """Otherwise every key would be worn before its first use."""
    with pytest.raises(ValueError, match="block"):
        replicas.start(rotate_after_encryptions=10, reservation_block=block)
