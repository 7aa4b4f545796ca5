"""The first encryption of an owner makes its keyset, once."""

from __future__ import annotations

import asyncio

import pytest
from tests.unit.vault.memory_keysets import MemoryKeysets
from tests.unit.vault.replicas import ENVIRONMENT, OTHER_ENVIRONMENT, Replicas, place

from authpipe.domain.secret import Secret
from authpipe.vault.vault import Vault

PLAINTEXT = Secret("xoxb-first")


async def test_every_owner_gets_a_keyset_of_its_own(vault: Vault, store: MemoryKeysets) -> None:
    """Two tenants, the environment itself and another environment: four keysets, four keys."""
    places = [
        place(),
        place(tenant_id="org_other"),
        place(tenant_id=None),
        place(environment_id=OTHER_ENVIRONMENT),
    ]
    ciphertexts = [await vault.encrypt(PLAINTEXT, one) for one in places]
    assert len({ciphertext[1:17] for ciphertext in ciphertexts}) == 4
    assert [len(keys) for keys in store.rows.values()] == [1, 1, 1, 1]


async def test_replicas_that_race_for_the_first_use_agree_on_one_primary(
    replicas: Replicas, store: MemoryKeysets
) -> None:
    """Each offers a key, one is stored, all encrypt under it and read each other."""
    vaults = [replicas.start() for _ in range(5)]
    ciphertexts = await asyncio.gather(*[one.encrypt(PLAINTEXT, place()) for one in vaults])
    assert store.adds == 5
    [key] = store.keys(ENVIRONMENT, "org_acme")
    assert {ciphertext[1:17] for ciphertext in ciphertexts} == {key.key_id.bytes}
    for one in vaults:
        for ciphertext in ciphertexts:
            assert await one.decrypt(ciphertext, place()) == PLAINTEXT


async def test_callers_of_one_process_share_the_making_of_a_keyset(
    vault: Vault, store: MemoryKeysets
) -> None:
    """A hundred first encryptions at once: one load before, one key offered, one load after."""
    ciphertexts = await asyncio.gather(*[vault.encrypt(PLAINTEXT, place()) for _ in range(100)])
    assert len(set(ciphertexts)) == 100
    assert (store.loads, store.adds, store.reservations) == (2, 1, [1024])


async def test_a_keyset_made_elsewhere_after_an_empty_look_is_used(replicas: Replicas) -> None:
    """A replica that remembers an owner without keys finds the other's primary when it wants to add one."""
    late = replicas.start()
    ciphertext = await replicas.start().encrypt(PLAINTEXT, place(tenant_id="org_other"))
    with pytest.raises(Exception, match="cannot be decrypted"):
        await late.decrypt(ciphertext, place())
    made = await replicas.start().encrypt(PLAINTEXT, place())
    assert (await late.encrypt(PLAINTEXT, place()))[1:17] == made[1:17]


async def test_a_cancelled_caller_leaves_the_keyset_to_the_others(vault: Vault, store: MemoryKeysets) -> None:
    """The caller that happened to begin the load may go away; whoever waits with it still gets an answer."""
    store.gate = asyncio.Event()
    first = asyncio.create_task(vault.encrypt(PLAINTEXT, place()))
    second = asyncio.create_task(vault.encrypt(PLAINTEXT, place()))
    while store.loads == 0:
        await asyncio.sleep(0)
    first.cancel()
    store.gate.set()
    ciphertext = await second
    assert first.cancelled()
    assert await vault.decrypt(ciphertext, place()) == PLAINTEXT


async def test_an_error_of_the_store_reaches_every_waiter_and_is_not_remembered(
    vault: Vault, store: MemoryKeysets, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database being away is not a verdict on the keyset: the next call tries again."""

    async def away(*_: object) -> list[object]:
        raise ConnectionError("the database is away")

    with monkeypatch.context() as broken:
        broken.setattr(store, "load", away)
        outcomes = await asyncio.gather(
            *[vault.encrypt(PLAINTEXT, place()) for _ in range(3)], return_exceptions=True
        )
    assert [type(outcome) for outcome in outcomes] == [ConnectionError] * 3
    assert await vault.decrypt(await vault.encrypt(PLAINTEXT, place()), place()) == PLAINTEXT
