"""A payload and its place: what decrypts, and everything that must not."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.vault.memory_keysets import MemoryKeysets
from tests.unit.vault.replicas import ENVIRONMENT, OTHER_ENVIRONMENT, OTHER_ROW, Replicas, place

from authpipe.domain.errors import VaultError
from authpipe.domain.secret import Secret
from authpipe.vault.context import EncryptionContext
from authpipe.vault.failure import PUBLIC_MESSAGE
from authpipe.vault.keks.local import LocalKek
from authpipe.vault.keyset import KeysetOwner
from authpipe.vault.vault import Vault

PLAINTEXT = Secret("MTk4NjIyNDgzNDcxOTI1MjQ4.Cl2FMQ.marked-plaintext")


async def assert_refused(vault: Vault, ciphertext: bytes, context: EncryptionContext) -> None:
    with pytest.raises(VaultError) as caught:
        await vault.decrypt(ciphertext, context)
    assert caught.value.message == PUBLIC_MESSAGE
    told = f"{caught.value!s} {caught.value!r} {caught.value.detail}"
    assert PLAINTEXT.reveal() not in told
    for form in (ciphertext.hex(), repr(ciphertext)[2:-1]):
        assert not form or form not in told


async def test_a_ciphertext_decrypts_in_its_place(vault: Vault) -> None:
    """Decryption with the same context gives the plaintext back."""
    ciphertext = await vault.encrypt(PLAINTEXT, place())
    assert await vault.decrypt(ciphertext, place()) == PLAINTEXT


async def test_a_ciphertext_has_the_documented_layout(vault: Vault, store: MemoryKeysets) -> None:
    """Format byte, key id, nonce, ciphertext of the plaintext's length, tag."""
    ciphertext = await vault.encrypt(PLAINTEXT, place())
    [key] = store.keys(ENVIRONMENT, "org_acme")
    assert ciphertext[0] == 1
    assert ciphertext[1:17] == key.key_id.bytes
    assert len(ciphertext) == 1 + 16 + 12 + len(PLAINTEXT.reveal_bytes()) + 16
    assert PLAINTEXT.reveal_bytes() not in ciphertext


@pytest.mark.parametrize(
    "elsewhere",
    [
        pytest.param(place(row_id=OTHER_ROW), id="another row"),
        pytest.param(place(tenant_id="org_other"), id="another tenant"),
        pytest.param(place(tenant_id=""), id="a tenant without a name"),
        pytest.param(place(tenant_id=None), id="the environment itself"),
        pytest.param(place(field="refresh_token"), id="another field"),
        pytest.param(place(environment_id=OTHER_ENVIRONMENT), id="another environment"),
    ],
)
async def test_a_moved_ciphertext_does_not_decrypt(vault: Vault, elsewhere: EncryptionContext) -> None:
    """A ciphertext copied to another place is refused, also where that place has a keyset of its own."""
    ciphertext = await vault.encrypt(PLAINTEXT, place())
    await assert_refused(vault, ciphertext, elsewhere)
    await vault.encrypt(Secret("something of its own"), elsewhere)
    await assert_refused(vault, ciphertext, elsewhere)


@pytest.mark.parametrize(
    "elsewhere",
    [
        pytest.param(place(tenant_id="org_other"), id="another tenant"),
        pytest.param(place(tenant_id=None), id="the environment itself"),
        pytest.param(place(environment_id=OTHER_ENVIRONMENT), id="another environment"),
    ],
)
async def test_the_payload_is_bound_to_its_owner_even_under_the_same_key(
    vault: Vault, store: MemoryKeysets, elsewhere: EncryptionContext
) -> None:
    """The context holds by itself: a data key that another owner could unwrap would not help."""
    ciphertext = await vault.encrypt(PLAINTEXT, place())
    await vault.encrypt(PLAINTEXT, elsewhere)
    [stored] = store.keys(ENVIRONMENT, "org_acme")
    key = vault._keysets.cached_key(KeysetOwner(ENVIRONMENT, "org_acme"), stored.key_id)
    theirs = await vault._keysets.get(KeysetOwner(elsewhere.environment_id, elsewhere.tenant_id))
    assert key is not None
    theirs.opened[stored.key_id] = key
    await assert_refused(vault, ciphertext, elsewhere)


async def test_a_ciphertext_truncated_at_any_length_does_not_decrypt(vault: Vault) -> None:
    """From nothing at all to all but the last byte, and with a byte too many."""
    ciphertext = await vault.encrypt(PLAINTEXT, place())
    for length in range(len(ciphertext)):
        await assert_refused(vault, ciphertext[:length], place())
    await assert_refused(vault, ciphertext + b"\x00", place())


async def test_a_flipped_bit_anywhere_does_not_decrypt(vault: Vault) -> None:
    """Every bit of format byte, key id, nonce, ciphertext and tag counts."""
    ciphertext = await vault.encrypt(PLAINTEXT, place())
    for position in range(len(ciphertext) * 8):
        flipped = bytearray(ciphertext)
        flipped[position // 8] ^= 1 << position % 8
        await assert_refused(vault, bytes(flipped), place())
    assert await vault.decrypt(ciphertext, place()) == PLAINTEXT


async def test_the_key_id_cannot_be_exchanged(replicas: Replicas, store: MemoryKeysets) -> None:
    """A ciphertext that names another key of the same keyset is refused."""
    vault = replicas.start(rotate_after_encryptions=1, reservation_block=1)
    first = await vault.encrypt(PLAINTEXT, place())
    second = await vault.encrypt(PLAINTEXT, place())
    assert first[1:17] != second[1:17]
    await assert_refused(vault, first[:1] + second[1:17] + first[17:], place())


async def test_nonces_never_repeat(vault: Vault) -> None:
    """20,000 encryptions of the same text under one key use 20,000 nonces."""
    ciphertexts = [await vault.encrypt(PLAINTEXT, place()) for _ in range(20_000)]
    assert len({ciphertext[1:17] for ciphertext in ciphertexts}) == 1
    assert len({ciphertext[17:29] for ciphertext in ciphertexts}) == 20_000


CONTEXTS = st.builds(
    EncryptionContext,
    environment_id=st.uuids(),
    tenant_id=st.none() | st.text(st.characters(codec="ascii"), max_size=20),
    row_id=st.uuids(),
    field=st.text(st.characters(codec="utf-8"), max_size=12),
)


@settings(max_examples=150, deadline=None)
@given(text=st.text(st.characters(codec="utf-8")), context=CONTEXTS, other=CONTEXTS)
def test_every_text_comes_back_from_its_context_and_from_no_other(
    text: str, context: EncryptionContext, other: EncryptionContext
) -> None:
    """Round trip for any text and context, through a second process that has nothing in memory."""

    async def round_trip() -> None:
        with tempfile.TemporaryDirectory() as directory:
            replicas = Replicas(LocalKek.create(Path(directory) / "kek"))
        ciphertext = await replicas.start().encrypt(Secret(text), context)
        reader = replicas.start()
        assert (await reader.decrypt(ciphertext, context)).reveal() == text
        if other != context:
            with pytest.raises(VaultError):
                await reader.decrypt(ciphertext, other)

    asyncio.run(round_trip())


@given(first=CONTEXTS, second=CONTEXTS, key=st.uuids(), other_key=st.uuids())
def test_associated_data_is_the_same_only_for_the_same_facts(
    first: EncryptionContext, second: EncryptionContext, key: object, other_key: object
) -> None:
    """No two sets of facts are authenticated as the same bytes."""
    one = first.associated_data(format_version=1, key_id=key)  # type: ignore[arg-type]
    assert (one == second.associated_data(format_version=1, key_id=key)) == (first == second)  # type: ignore[arg-type]
    assert (one == first.associated_data(format_version=1, key_id=other_key)) == (key == other_key)  # type: ignore[arg-type]
    assert one != first.associated_data(format_version=2, key_id=key)  # type: ignore[arg-type]
