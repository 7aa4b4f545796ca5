"""A data key and its place, and the KEK it needs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest
from tests.unit.vault.memory_keysets import MemoryKeysets
from tests.unit.vault.replicas import ENVIRONMENT, OTHER_ENVIRONMENT, Replicas, place

from authpipe.domain.errors import VaultError
from authpipe.domain.secret import Secret
from authpipe.vault.aes_key import AesKey
from authpipe.vault.failure import PUBLIC_MESSAGE
from authpipe.vault.keks.local import LocalKek
from authpipe.vault.keks.ring import KekRing
from authpipe.vault.keyset import KeysetOwner, WrappedKey

PLAINTEXT = Secret("a refresh token")


async def first_key(replicas: Replicas) -> tuple[WrappedKey, bytes]:
    ciphertext = await replicas.start().encrypt(PLAINTEXT, place())
    [key] = replicas.store.keys(ENVIRONMENT, "org_acme")
    return key, ciphertext


async def test_a_stored_key_says_everything_but_the_key(replicas: Replicas) -> None:
    """Owner, KEK, counter and time are readable; the wrapped bytes are longer than a key and not it."""
    key, _ = await first_key(replicas)
    assert key.kek_id == replicas.kek.kek_id
    assert key.is_primary
    assert key.created_at == replicas.clock.now()
    assert len(key.wrapped) > 32


@pytest.mark.parametrize(
    ("environment_id", "tenant_id"),
    [
        pytest.param(ENVIRONMENT, "org_other", id="another tenant"),
        pytest.param(ENVIRONMENT, None, id="the environment itself"),
        pytest.param(OTHER_ENVIRONMENT, "org_acme", id="another environment"),
    ],
)
async def test_a_wrapped_key_moved_to_another_owner_does_not_unwrap(
    replicas: Replicas, environment_id: UUID, tenant_id: str | None
) -> None:
    """Whoever can write the database cannot give one tenant's key to another, to read or to write."""
    key, ciphertext = await first_key(replicas)
    replicas.store.put(replace(key, environment_id=environment_id, tenant_id=tenant_id))
    vault = replicas.start()
    elsewhere = place(environment_id=environment_id, tenant_id=tenant_id)
    with pytest.raises(VaultError, match=PUBLIC_MESSAGE):
        await vault.decrypt(ciphertext, elsewhere)
    with pytest.raises(VaultError, match=PUBLIC_MESSAGE):
        await vault.encrypt(PLAINTEXT, elsewhere)


async def test_a_row_that_names_its_true_owner_does_not_unwrap_for_another(replicas: Replicas) -> None:
    """A query that returned another tenant's row by mistake hands out no key: the asking owner counts."""
    key, ciphertext = await first_key(replicas)
    replicas.store.rows[KeysetOwner(ENVIRONMENT, "org_other")] = {key.key_id: key}
    vault = replicas.start()
    with pytest.raises(VaultError, match=PUBLIC_MESSAGE):
        await vault.encrypt(PLAINTEXT, place(tenant_id="org_other"))
    with pytest.raises(VaultError, match=PUBLIC_MESSAGE):
        await vault.decrypt(ciphertext, place(tenant_id="org_other"))


async def test_a_wrapped_key_under_the_id_of_another_does_not_unwrap(replicas: Replicas) -> None:
    """Two keys of one keyset cannot change places, neither to read nor to write."""
    key, ciphertext = await first_key(replicas)
    impostor = UUID("01900000-0000-7000-8000-0000000000ff")
    replicas.store.rows[KeysetOwner(ENVIRONMENT, "org_acme")] = {impostor: replace(key, key_id=impostor)}
    vault = replicas.start()
    with pytest.raises(VaultError, match=PUBLIC_MESSAGE):
        await vault.decrypt(ciphertext[:1] + impostor.bytes + ciphertext[17:], place())
    with pytest.raises(VaultError, match=PUBLIC_MESSAGE):
        await vault.encrypt(PLAINTEXT, place())


async def test_a_wrapped_key_with_a_flipped_bit_or_a_missing_end_does_not_unwrap(replicas: Replicas) -> None:
    """Every bit and every length of the wrapped key counts."""
    key, ciphertext = await first_key(replicas)
    altered = [key.wrapped[:length] for length in range(len(key.wrapped))]
    for position in range(len(key.wrapped) * 8):
        flipped = bytearray(key.wrapped)
        flipped[position // 8] ^= 1 << position % 8
        altered.append(bytes(flipped))
    for wrapped in altered:
        replicas.store.put(replace(key, wrapped=wrapped))
        with pytest.raises(VaultError, match=PUBLIC_MESSAGE):
            await replicas.start().decrypt(ciphertext, place())


async def test_a_payload_cannot_pass_for_a_wrapped_key(replicas: Replicas) -> None:
    """Purposes differ: what a KEK authenticated as anything but a data key is not one."""
    key, ciphertext = await first_key(replicas)
    context = place().associated_data(format_version=1, key_id=key.key_id)
    replicas.store.put(replace(key, wrapped=await replicas.kek.wrap(AesKey.generate(), context)))
    with pytest.raises(VaultError, match=PUBLIC_MESSAGE):
        await replicas.start().decrypt(ciphertext, place())


async def test_a_missing_kek_is_named_with_its_remedy(replicas: Replicas, tmp_path: Path) -> None:
    """The operator learns which KEK to bring back; with it among the others everything reads again."""
    _, ciphertext = await first_key(replicas)
    successor = LocalKek.create(tmp_path / "successor")
    with pytest.raises(VaultError, match=f"{replicas.kek.kek_id} is missing; configure") as caught:
        await replicas.start(keks=KekRing(successor)).decrypt(ciphertext, place())
    assert "a refresh token" not in str(caught.value)
    both = replicas.start(keks=KekRing(successor, [replicas.kek]))
    assert await both.decrypt(ciphertext, place()) == PLAINTEXT


async def test_a_changed_key_file_is_a_missing_kek_and_not_a_wrong_answer(
    replicas: Replicas, tmp_path: Path
) -> None:
    """The id follows the key, so a file that was replaced under the same name is noticed."""
    _, ciphertext = await first_key(replicas)
    (tmp_path / "kek").unlink()
    changed = LocalKek.create(tmp_path / "kek")
    assert changed.uri == replicas.kek.uri
    with pytest.raises(VaultError, match=f"{replicas.kek.kek_id} is missing"):
        await replicas.start(keks=KekRing(changed)).decrypt(ciphertext, place())


async def test_an_old_key_whose_kek_is_missing_does_not_take_the_primary_with_it(
    replicas: Replicas, tmp_path: Path
) -> None:
    """What was encrypted under keys that can be unwrapped stays readable and writable."""
    _, old = await first_key(replicas)
    successor = LocalKek.create(tmp_path / "successor")
    rotator = replicas.start(
        keks=KekRing(successor, [replicas.kek]), rotate_after_encryptions=1, reservation_block=1
    )
    new = await rotator.encrypt(PLAINTEXT, place())
    alone = replicas.start(keks=KekRing(successor))
    assert await alone.decrypt(new, place()) == PLAINTEXT
    assert await alone.decrypt(await alone.encrypt(PLAINTEXT, place()), place()) == PLAINTEXT
    with pytest.raises(VaultError, match="is missing"):
        await alone.decrypt(old, place())


async def test_a_destroyed_keyset_leaves_nothing_to_read(replicas: Replicas, store: MemoryKeysets) -> None:
    """Without its keyset a tenant's ciphertext is noise; other tenants do not notice."""
    vault = replicas.start()
    ciphertext = await vault.encrypt(PLAINTEXT, place())
    other = await vault.encrypt(PLAINTEXT, place(tenant_id="org_other"))
    store.rows = {owner: keys for owner, keys in store.rows.items() if owner.tenant_id != "org_acme"}
    vault.forget(ENVIRONMENT, "org_acme")
    with pytest.raises(VaultError, match=PUBLIC_MESSAGE):
        await vault.decrypt(ciphertext, place())
    assert await vault.decrypt(other, place(tenant_id="org_other")) == PLAINTEXT
