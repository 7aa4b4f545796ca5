"""The key that encrypts: made at first use, counted, and replaced long before it is worn out."""

from __future__ import annotations

from functools import partial
from uuid import UUID

from authpipe.domain.clock import Clock
from authpipe.domain.errors import VaultError
from authpipe.domain.event import ActorKind, Origin
from authpipe.domain.identifiers import new_id
from authpipe.vault.aes_key import AesKey
from authpipe.vault.failure import unusable
from authpipe.vault.keks.ring import KekRing
from authpipe.vault.keyset import KeysetOwner, KeysetStore, RotationCause, RotationReason, WrappedKey
from authpipe.vault.open_keysets import OpenKeysets
from authpipe.vault.reservations import Reservations
from authpipe.vault.single_flight import SingleFlight

_WORN = RotationCause(RotationReason.ENCRYPTIONS, Origin(actor_kind=ActorKind.WORKER))


class Primaries:
    """Hands out a keyset's primary for exactly one encryption at a time.

    Encryptions are counted in the store before they happen, ``block`` at a time, so that neither a crash nor
    a second replica makes the counter too low.  A key whose counter would pass ``rotate_after`` is replaced
    and used for no further encryption.
    """

    def __init__(
        self,
        keks: KekRing,
        store: KeysetStore,
        clock: Clock,
        keysets: OpenKeysets,
        *,
        rotate_after: int,
        block: int,
        limit: int,
    ) -> None:
        if not 1 <= block <= rotate_after:
            raise ValueError("a block of reserved encryptions must fit within the life of a key")
        self._keks = keks
        self._store = store
        self._clock = clock
        self._keysets = keysets
        self._rotate_after = rotate_after
        self._block = block
        self._reservations = Reservations(limit=limit)
        self._changes: SingleFlight[tuple[KeysetOwner, UUID | None], None] = SingleFlight()

    async def take(self, owner: KeysetOwner, *, create: bool = True) -> tuple[UUID, AesKey]:
        """The primary's id and key, for one encryption.

        Makes the keyset when the owner has none, or without ``create`` raises ``VaultError``.
        """
        while True:
            keyset = await self._keysets.get(owner)
            primary_id = keyset.primary_id
            if primary_id is None:
                if not create:
                    raise unusable("the keyset does not exist any more")
                await self._changes.run((owner, None), partial(self._replace, owner, None, _WORN))
                continue
            # Unwrapped before it is counted and used: a KEK that wraps and does not unwrap loses no secret.
            key = keyset.opened.get(primary_id) or await self._keysets.open_key(keyset, primary_id)
            if self._reservations.take(primary_id):
                return primary_id, key
            await self._changes.run((owner, primary_id), partial(self._reserve, owner, primary_id))

    async def rotate(self, owner: KeysetOwner, replaces: UUID, cause: RotationCause) -> None:
        """Put a new primary in place of ``replaces``, if that is still the primary."""
        await self._changes.run((owner, replaces), partial(self._replace, owner, replaces, cause))

    async def _reserve(self, owner: KeysetOwner, key_id: UUID) -> None:
        try:
            total = await self._store.reserve_encryptions(
                owner.environment_id, owner.tenant_id, key_id, self._block
            )
        except VaultError:
            # Destroyed elsewhere: what memory holds of this keyset is the past.
            self._keysets.forget(owner)
            raise unusable(f"key {key_id} does not exist any more") from None
        if total > self._rotate_after:
            await self._replace(owner, key_id, _WORN)
        else:
            self._reservations.add(key_id, self._block)

    async def _replace(self, owner: KeysetOwner, replaces: UUID | None, cause: RotationCause) -> None:
        """Put a new primary in place of ``replaces``; another replica's, when it was first, is as good."""
        await self._store.add_primary(await self._make(owner), replaces=replaces, cause=cause)
        keyset = await self._keysets.load(owner)
        if keyset.primary_id in (None, replaces):
            raise unusable("the store shows no new primary after one was added")

    async def _make(self, owner: KeysetOwner) -> WrappedKey:
        key_id = new_id()
        kek = self._keks.primary
        return WrappedKey(
            key_id=key_id,
            environment_id=owner.environment_id,
            tenant_id=owner.tenant_id,
            kek_id=kek.kek_id,
            wrapped=await kek.wrap(AesKey.generate(), owner.associated_data(key_id)),
            is_primary=True,
            encryptions=0,
            created_at=self._clock.now(),
        )
