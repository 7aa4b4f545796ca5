"""A new primary, the same plaintexts under it, and what memory holds meanwhile."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.unit.vault.memory_keysets import MemoryKeysets
from tests.unit.vault.replicas import ENVIRONMENT, Replicas, place

from authpipe.domain.errors import VaultError
from authpipe.domain.event import ActorKind, Origin
from authpipe.domain.secret import Secret
from authpipe.vault.envelope import key_id_of
from authpipe.vault.failure import PUBLIC_MESSAGE
from authpipe.vault.keks.local import LocalKek
from authpipe.vault.keks.ring import KekRing
from authpipe.vault.keyset import RotationCause, RotationReason
from authpipe.vault.vault import Vault

PLAINTEXT = Secret("ghu_rotated")
OWNER = (ENVIRONMENT, "org_acme")
CAUSE = RotationCause(RotationReason.REQUESTED, Origin(actor_kind=ActorKind.COMMAND_LINE))


async def rotated(vault: Vault, store: MemoryKeysets) -> None:
    [primary] = [key.key_id for key in store.keys(*OWNER) if key.is_primary]
    await vault.rotate(*OWNER, replaces=primary, cause=CAUSE)


async def test_what_was_encrypted_before_stays_readable_and_can_follow(
    replicas: Replicas, store: MemoryKeysets
) -> None:
    """Under the retired key as under the new one, by a process that was there and by one that was not."""
    vault = replicas.start()
    old = await vault.encrypt(PLAINTEXT, place())
    await rotated(vault, store)
    new = await vault.reencrypt(old, place())
    [retired, primary] = store.keys(*OWNER)
    assert (key_id_of(old), key_id_of(new)) == (retired.key_id, primary.key_id)
    for reader in (vault, replicas.start()):
        assert await reader.decrypt(old, place()) == PLAINTEXT
        assert await reader.decrypt(new, place()) == PLAINTEXT


async def test_only_the_primary_of_the_moment_is_replaced(replicas: Replicas, store: MemoryKeysets) -> None:
    """Who comes second with the same key to replace adds none: one rotation, however many wanted it."""
    vaults = [replicas.start() for _ in range(3)]
    await vaults[0].encrypt(PLAINTEXT, place())
    [first] = store.keys(*OWNER)
    await asyncio.gather(*[vault.rotate(*OWNER, replaces=first.key_id, cause=CAUSE) for vault in vaults])
    assert len(store.keys(*OWNER)) == 2


async def test_reencryption_counts_as_encryption(replicas: Replicas, store: MemoryKeysets) -> None:
    """Every nonce under a key is counted, whatever it was for."""
    vault = replicas.start(reservation_block=1)
    old = await vault.encrypt(PLAINTEXT, place())
    await rotated(vault, store)
    for _ in range(5):
        await vault.reencrypt(old, place())
    assert store.keys(*OWNER)[1].encryptions == 5


async def test_reencryption_binds_to_the_same_place(vault: Vault) -> None:
    """A ciphertext found where it does not belong is not made to belong there."""
    ciphertext = await vault.encrypt(PLAINTEXT, place())
    with pytest.raises(VaultError, match=PUBLIC_MESSAGE):
        await vault.reencrypt(ciphertext, place(field="refresh_token"))


async def test_reencryption_does_not_bring_a_destroyed_keyset_back(
    replicas: Replicas, store: MemoryKeysets
) -> None:
    """Encrypting for the owner would make one; moving what is there must not."""
    vault = replicas.start(reservation_block=1)
    ciphertext = await vault.encrypt(PLAINTEXT, place())
    store.rows.clear()
    for _ in range(3):
        with pytest.raises(VaultError, match=PUBLIC_MESSAGE):
            await vault.reencrypt(ciphertext, place())
    assert store.keys(*OWNER) == []


async def test_not_even_when_it_is_destroyed_between_reading_and_writing(
    vault: Vault, store: MemoryKeysets, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plaintext is in hand already, and memory has been told to forget."""
    ciphertext = await vault.encrypt(PLAINTEXT, place())
    decrypt = vault.decrypt

    async def decrypt_and_lose(*asked: Any) -> Secret:
        plaintext = await decrypt(*asked)
        store.rows.clear()
        vault.forget_all()
        return plaintext

    monkeypatch.setattr(vault, "decrypt", decrypt_and_lose)
    with pytest.raises(VaultError, match=PUBLIC_MESSAGE):
        await vault.reencrypt(ciphertext, place())
    assert store.keys(*OWNER) == []


async def test_everything_can_be_forgotten_at_once(replicas: Replicas, store: MemoryKeysets) -> None:
    """After a gap in the news: every keyset is loaded again, and a load under way brings none back."""
    vault = replicas.start()
    places = [place(tenant_id=f"org_{number}") for number in range(3)]
    ciphertexts = [await vault.encrypt(PLAINTEXT, one) for one in places]
    vault.forget_all()
    assert len(vault._keysets._cache) == 0
    store.gate = asyncio.Event()
    loading = asyncio.create_task(vault.decrypt(ciphertexts[0], places[0]))
    await asyncio.sleep(0.01)
    vault.forget_all()
    store.gate.set()
    assert await loading == PLAINTEXT
    assert len(vault._keysets._cache) == 0


async def test_a_key_can_be_tried_without_a_ciphertext(
    replicas: Replicas, store: MemoryKeysets, kek: LocalKek, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """What rotation asks before it looks at payloads: does the retired key unwrap here?"""
    await replicas.start().encrypt(PLAINTEXT, place())
    [key] = store.keys(*OWNER)
    await replicas.start().check_key(*OWNER, key.key_id)
    stranger = LocalKek.create(tmp_path_factory.mktemp("other") / "kek")
    with pytest.raises(VaultError, match=kek.kek_id):
        await replicas.start(keks=KekRing(stranger)).check_key(*OWNER, key.key_id)
