"""What somebody who can write to the database can do to ciphertexts and wrapped keys: nothing useful."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from authpipe.domain.clock import ManualClock
from authpipe.domain.environment import Environment, EnvironmentKind
from authpipe.domain.errors import VaultError
from authpipe.domain.identifiers import new_id
from authpipe.domain.secret import Secret
from authpipe.store.database import Database
from authpipe.store.vault_keysets import DatabaseKeysets
from authpipe.vault.context import EncryptionContext
from authpipe.vault.keks.local import LocalKek
from authpipe.vault.keks.ring import KekRing
from authpipe.vault.vault import Vault
from support.postgres import Dsns

PLAIN = Secret("the access token")
TENANTS = ("org_acme", "org_other", *(f"org_{number}" for number in range(5)))


@pytest.fixture
async def attacker(dsns: Dsns) -> AsyncIterator[asyncpg.Connection[Any]]:
    """Somebody with a superuser's SQL and no KEK."""
    connection = await asyncpg.connect(dsns.superuser)
    yield connection
    await connection.close()


@pytest.fixture
async def environments(database: Database, clock: ManualClock) -> tuple[UUID, UUID]:
    made = []
    for name in ("development", "production"):
        environment = Environment(
            environment_id=new_id(),
            name=name,
            kind=EnvironmentKind.DEVELOPMENT,
            return_urls=(),
            origins=(),
            created_at=clock.now(),
        )
        async with database.environment(environment.environment_id) as transaction:
            assert await transaction.environments.add(environment)
            # A keyset is made for a tenant that exists.
            for tenant_id in TENANTS:
                await transaction.tenants.ensure(environment.environment_id, tenant_id, at=clock.now())
        made.append(environment.environment_id)
    return made[0], made[1]


@pytest.fixture
def place(environments: tuple[UUID, UUID]) -> EncryptionContext:
    return EncryptionContext(
        environment_id=environments[0], tenant_id="org_acme", row_id=new_id(), field="secret"
    )


def fresh(database: Database, kek: LocalKek, clock: ManualClock) -> Vault:
    """A process that has no key in memory yet."""
    return Vault(KekRing(kek), DatabaseKeysets(database), clock)


async def test_another_process_decrypts_what_one_encrypted(
    vault: Vault, database: Database, kek: LocalKek, clock: ManualClock, place: EncryptionContext
) -> None:
    """Through the database and the KEK alone."""
    ciphertext = await vault.encrypt(PLAIN, place)
    assert await fresh(database, kek, clock).decrypt(ciphertext, place) == PLAIN


async def test_a_ciphertext_moved_to_another_row_tenant_field_or_environment_does_not_decrypt(
    vault: Vault, place: EncryptionContext, environments: tuple[UUID, UUID]
) -> None:
    """Even where the other place's keyset exists and holds good keys."""
    ciphertext = await vault.encrypt(PLAIN, place)
    for elsewhere in (
        replace(place, row_id=new_id()),
        replace(place, tenant_id="org_other"),
        replace(place, tenant_id=None),
        replace(place, field="refresh_token"),
        replace(place, environment_id=environments[1]),
    ):
        await vault.encrypt(PLAIN, elsewhere)
        with pytest.raises(VaultError):
            await vault.decrypt(ciphertext, elsewhere)


async def test_a_truncated_ciphertext_does_not_decrypt(vault: Vault, place: EncryptionContext) -> None:
    """At any length."""
    ciphertext = await vault.encrypt(PLAIN, place)
    for length in range(len(ciphertext)):
        with pytest.raises(VaultError):
            await vault.decrypt(ciphertext[:length], place)


async def test_a_flipped_bit_does_not_decrypt(vault: Vault, place: EncryptionContext) -> None:
    """In any byte: version, key id, nonce, text or tag."""
    ciphertext = await vault.encrypt(PLAIN, place)
    for index in range(len(ciphertext)):
        flipped = bytearray(ciphertext)
        flipped[index] ^= 1 << index % 8
        with pytest.raises(VaultError):
            await vault.decrypt(bytes(flipped), place)


async def test_a_keyset_moved_to_another_tenant_opens_nothing(
    vault: Vault,
    database: Database,
    kek: LocalKek,
    clock: ManualClock,
    place: EncryptionContext,
    attacker: asyncpg.Connection[Any],
) -> None:
    """The whole row of the wrapped key is moved in the table; it does not unwrap for its new owner."""
    ciphertext = await vault.encrypt(PLAIN, place)
    await attacker.execute("UPDATE data_keys SET tenant_id = 'org_other' WHERE tenant_id = 'org_acme'")
    thief = fresh(database, kek, clock)
    for attempt in (place, replace(place, tenant_id="org_other")):
        with pytest.raises(VaultError):
            await thief.decrypt(ciphertext, attempt)


async def test_a_wrapped_key_moved_to_another_tenants_row_opens_nothing(
    vault: Vault,
    database: Database,
    kek: LocalKek,
    clock: ManualClock,
    place: EncryptionContext,
    attacker: asyncpg.Connection[Any],
) -> None:
    """Otherwise one tenant could be made to read with, and write under, another's key."""
    other = replace(place, tenant_id="org_other")
    mine, theirs = await vault.encrypt(PLAIN, other), await vault.encrypt(PLAIN, place)
    await attacker.execute(
        "UPDATE data_keys SET wrapped = (SELECT wrapped FROM data_keys WHERE tenant_id = 'org_acme')"
        " WHERE tenant_id = 'org_other'"
    )
    thief = fresh(database, kek, clock)
    for ciphertext in (mine, theirs):
        with pytest.raises(VaultError):
            await thief.decrypt(ciphertext, other)
    assert await thief.decrypt(theirs, place) == PLAIN


async def test_a_keyset_copied_into_another_environment_opens_nothing(
    vault: Vault,
    database: Database,
    kek: LocalKek,
    clock: ManualClock,
    place: EncryptionContext,
    environments: tuple[UUID, UUID],
    attacker: asyncpg.Connection[Any],
) -> None:
    """A copy of production's rows in development is worth nothing there."""
    ciphertext = await vault.encrypt(PLAIN, place)
    await attacker.execute(
        "INSERT INTO data_keys"
        " SELECT $2, tenant_id, key_id, kek_id, wrapped, is_primary, encryptions, created_at"
        " FROM data_keys WHERE environment_id = $1",
        *environments,
    )
    with pytest.raises(VaultError):
        await fresh(database, kek, clock).decrypt(ciphertext, replace(place, environment_id=environments[1]))


async def test_without_the_kek_nothing_decrypts_and_the_error_names_it(
    vault: Vault,
    database: Database,
    clock: ManualClock,
    kek: LocalKek,
    place: EncryptionContext,
    tmp_path: Path,
) -> None:
    """A stolen database, or a lost key file: the id of the missing KEK is all that is said."""
    ciphertext = await vault.encrypt(PLAIN, place)
    stranger = fresh(database, LocalKek.create(tmp_path / "other"), clock)
    with pytest.raises(VaultError, match=re.escape(kek.kek_id)):
        await stranger.decrypt(ciphertext, place)


async def test_a_destroyed_keyset_takes_its_secrets_with_it(
    vault: Vault,
    database: Database,
    kek: LocalKek,
    clock: ManualClock,
    place: EncryptionContext,
    attacker: asyncpg.Connection[Any],
) -> None:
    """Crypto-shredding: the ciphertext is still there and means nothing."""
    ciphertext = await vault.encrypt(PLAIN, place)
    await attacker.execute("DELETE FROM data_keys WHERE tenant_id = 'org_acme'")
    with pytest.raises(VaultError):
        await fresh(database, kek, clock).decrypt(ciphertext, place)


async def test_two_processes_that_encrypt_first_agree_on_one_keyset(
    database: Database,
    kek: LocalKek,
    clock: ManualClock,
    place: EncryptionContext,
    attacker: asyncpg.Connection[Any],
) -> None:
    """Both ciphertexts stay readable, and the tenant has one primary key."""
    vaults = [fresh(database, kek, clock) for _ in range(6)]
    for round_ in range(5):
        here = replace(place, tenant_id=f"org_{round_}")
        tasks = [vault.encrypt(PLAIN, here) for vault in vaults]
        ciphertexts = await asyncio.gather(*tasks)
        assert len({ciphertext[1:17] for ciphertext in ciphertexts}) == 1
        assert {(await vault.decrypt(c, here)).reveal() for vault in vaults for c in ciphertexts} == {
            PLAIN.reveal()
        }
        assert (
            await attacker.fetchval(
                "SELECT count(*) FROM data_keys WHERE tenant_id = $1 AND is_primary", here.tenant_id
            )
            == 1
        )


async def test_replicas_that_wear_a_key_out_together_replace_it_once(
    database: Database,
    kek: LocalKek,
    clock: ManualClock,
    place: EncryptionContext,
    attacker: asyncpg.Connection[Any],
) -> None:
    """There is always exactly one primary, no key passes its bound, and everything stays readable."""
    vaults = [
        Vault(
            KekRing(kek), DatabaseKeysets(database), clock, rotate_after_encryptions=20, reservation_block=5
        )
        for _ in range(3)
    ]
    ciphertexts = [
        ciphertext
        for _ in range(10)
        for ciphertext in await asyncio.gather(*(vault.encrypt(PLAIN, place) for vault in vaults))
    ]
    keys = await attacker.fetch("SELECT * FROM data_keys")
    assert [key["is_primary"] for key in keys].count(True) == 1
    assert len(keys) >= 2
    assert all(
        sum(ciphertext[1:17] == key["key_id"].bytes for ciphertext in ciphertexts) <= 20 for key in keys
    )
    for ciphertext in ciphertexts:
        assert await vaults[0].decrypt(ciphertext, place) == PLAIN


async def test_the_database_holds_no_plaintext(
    vault: Vault, place: EncryptionContext, kek: LocalKek, attacker: asyncpg.Connection[Any]
) -> None:
    """Neither the secret nor a usable key stands in any column of the keyset."""
    ciphertext = await vault.encrypt(PLAIN, place)
    rows = await attacker.fetch("SELECT * FROM data_keys")
    dump = repr([tuple(row.values()) for row in rows]).encode() + ciphertext
    assert PLAIN.reveal_bytes() not in dump
    assert rows[0]["kek_id"] == kek.kek_id
