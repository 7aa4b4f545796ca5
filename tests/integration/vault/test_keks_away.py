"""A KEK whose place does not answer: nothing is condemned for it, and it comes back by itself."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from tests.unit.vault.memory_keysets import MemoryKeysets
from tests.unit.vault.replicas import ENVIRONMENT
from tests.unit.vault.replicas import place as secret_place

from authpipe.domain.clock import ManualClock
from authpipe.domain.errors import ConfigurationError, VaultUnavailable
from authpipe.domain.secret import Secret
from authpipe.vault.aes_key import AesKey
from authpipe.vault.keks.kek import Kek
from authpipe.vault.keks.ring import KekRing
from authpipe.vault.keks.uri import open_keks
from authpipe.vault.vault import Vault
from support.kek_places import HsmPlace, KmsPlace, PlaceThatCanBeAway

Open = Callable[[str], Kek]


@pytest.fixture(params=["aws-kms", "pkcs11"])
def place(request: pytest.FixtureRequest) -> PlaceThatCanBeAway:
    if request.param == "aws-kms":
        return KmsPlace(request.getfixturevalue("kms"))
    return HsmPlace(request.getfixturevalue("hsm"))


async def test_it_says_so_and_works_again_by_itself(place: PlaceThatCanBeAway, open_kek: Open) -> None:
    """Twice, in both directions, with a message that may be shown and no secret in it."""
    kek = open_kek(place.make())
    wrapped = await kek.wrap(AesKey.generate(), b"place")
    for _ in range(2):
        with place.away():
            for work in (kek.wrap(AesKey.generate(), b"place"), kek.unwrap(wrapped, b"place")):
                with pytest.raises(VaultUnavailable, match="cannot be reached") as caught:
                    await work
                assert caught.value.retryable
                assert caught.value.public_fields() == {"retry_after_s": 5.0}
                assert not any(secret in str(caught.value.detail) for secret in place.secrets)
        await kek.unwrap(wrapped, b"place")
        await kek.wrap(AesKey.generate(), b"place")


async def test_the_vault_passes_it_on_and_serves_what_it_knows(
    place: PlaceThatCanBeAway, open_kek: Open
) -> None:
    """A keyset in memory still works; one that must be unwrapped is unavailable and not unusable."""
    store, plaintext = MemoryKeysets(), Secret("a refresh token")
    vault = Vault(KekRing(open_kek(place.make())), store, ManualClock(datetime(2026, 1, 1, tzinfo=UTC)))
    ciphertext = await vault.encrypt(plaintext, secret_place())
    with place.away():
        assert await vault.decrypt(ciphertext, secret_place()) == plaintext
        vault.forget(ENVIRONMENT, "org_acme")
        with pytest.raises(VaultUnavailable):
            await vault.decrypt(ciphertext, secret_place())
        with pytest.raises(VaultUnavailable):
            await vault.encrypt(plaintext, secret_place(tenant_id="org_new"))
    assert await vault.decrypt(ciphertext, secret_place()) == plaintext
    await vault.encrypt(plaintext, secret_place(tenant_id="org_new"))


def test_a_process_does_not_start_without_it(place: PlaceThatCanBeAway) -> None:
    """The operator learns at once; no secret is told."""
    uri = place.make()
    with place.away(), pytest.raises(ConfigurationError) as caught:
        open_keks([uri], production=True)
    assert not any(secret in str(caught.value) for secret in place.secrets)
    open_keks([uri], production=True).close()
