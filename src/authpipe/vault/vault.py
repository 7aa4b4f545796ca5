"""The one door for secrets: plaintext goes in with its context, ciphertext comes out, and the reverse."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from authpipe.domain.clock import Clock
from authpipe.domain.secret import Secret
from authpipe.vault import envelope
from authpipe.vault.context import EncryptionContext
from authpipe.vault.keks.ring import KekRing
from authpipe.vault.keyset import KeysetOwner, KeysetStore, RotationCause
from authpipe.vault.keyset_cache import KeysetCache
from authpipe.vault.open_keysets import OpenKeysets
from authpipe.vault.primaries import Primaries
from authpipe.vault.sealer import Sealer

#: SP 800-38D section 8.3 allows 2**32 encryptions with random nonces; a quarter of it leaves room for blocks
#: that replicas have reserved, and makes a nonce collision a matter of 2**-37.
ROTATE_AFTER_ENCRYPTIONS = 2**30


class Vault:
    """Envelope encryption under one keyset per tenant, and one per environment for what is its own.

    A ciphertext decrypts only with the context it was encrypted with, and only while its keyset and the KEK
    that wraps it exist.  Unwrapped keysets stay in memory, at most ``cache_size`` of them, each at most
    ``cache_ttl``.  Belongs to one event loop.
    """

    def __init__(
        self,
        keks: KekRing,
        keysets: KeysetStore,
        clock: Clock,
        *,
        cache_size: int = 10_000,
        cache_ttl: timedelta = timedelta(minutes=5),
        rotate_after_encryptions: int = ROTATE_AFTER_ENCRYPTIONS,
        reservation_block: int = 1_024,
    ) -> None:
        self._keysets = OpenKeysets(keks, keysets, clock, KeysetCache(clock, size=cache_size, ttl=cache_ttl))
        self._primaries = Primaries(
            keks,
            keysets,
            clock,
            self._keysets,
            rotate_after=rotate_after_encryptions,
            block=reservation_block,
            # A count is no secret and small: it may outlive its keyset in memory and save a write.
            limit=10 * cache_size,
        )

    async def encrypt(self, plaintext: Secret, context: EncryptionContext) -> bytes:
        """The ciphertext of ``plaintext``, bound to ``context``, under the primary of the owner's keyset.

        The first encryption for an owner makes the keyset.  Raises ``VaultError`` when the primary cannot be
        unwrapped.
        """
        key_id, key = await self._primaries.take(KeysetOwner(context.environment_id, context.tenant_id))
        return envelope.encrypt(plaintext, context, key_id=key_id, key=key)

    async def sealer(self, environment_id: UUID, tenant_id: str | None, *, encryptions: int) -> Sealer:
        """So many encryptions for one owner, prepared: they will work even when the store is away."""
        owner = KeysetOwner(environment_id, tenant_id)
        return Sealer(owner, [await self._primaries.take(owner) for _ in range(encryptions)])

    async def decrypt(self, ciphertext: bytes, context: EncryptionContext) -> Secret:
        """The plaintext of what :meth:`encrypt` returned for the same ``context``.

        Never waits while the key is in memory.  Raises ``VaultError`` when anything differs, or when a key is
        missing; only a missing KEK is told apart, by its id.
        """
        key_id = envelope.key_id_of(ciphertext)
        owner = KeysetOwner(context.environment_id, context.tenant_id)
        key = self._keysets.cached_key(owner, key_id) or await self._keysets.find_key(owner, key_id)
        return envelope.decrypt(ciphertext, context, key_id=key_id, key=key)

    async def reencrypt(self, ciphertext: bytes, context: EncryptionContext) -> bytes:
        """The same plaintext under the owner's primary as this process knows it.

        Raises ``VaultError`` as :meth:`decrypt` does, and when the keyset is gone: it is not made anew.
        """
        plaintext = await self.decrypt(ciphertext, context)
        owner = KeysetOwner(context.environment_id, context.tenant_id)
        key_id, key = await self._primaries.take(owner, create=False)
        return envelope.encrypt(plaintext, context, key_id=key_id, key=key)

    async def rotate(
        self, environment_id: UUID, tenant_id: str | None, *, replaces: UUID, cause: RotationCause
    ) -> None:
        """Give a keyset a new primary in place of ``replaces``, which goes on decrypting.

        Does nothing when ``replaces`` is the primary no more: somebody else was first.
        """
        await self._primaries.rotate(KeysetOwner(environment_id, tenant_id), replaces, cause)

    async def check_key(self, environment_id: UUID, tenant_id: str | None, key_id: UUID) -> None:
        """Unwrap a key of a keyset, unless it is in memory.  Raises ``VaultError`` when that cannot be."""
        await self._keysets.find_key(KeysetOwner(environment_id, tenant_id), key_id)

    def forget(self, environment_id: UUID, tenant_id: str | None) -> None:
        """Drop a keyset from memory, as after its rotation or destruction elsewhere."""
        self._keysets.forget(KeysetOwner(environment_id, tenant_id))

    def forget_all(self) -> None:
        """Drop every keyset from memory, as when news of rotations may have been missed."""
        self._keysets.forget_all()
