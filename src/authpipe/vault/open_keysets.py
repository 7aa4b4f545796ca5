"""From a keyset's owner to its unwrapped keys, by way of the cache, the store and the KEKs."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from authpipe.domain.clock import Clock
from authpipe.domain.errors import VaultError
from authpipe.telemetry import traces
from authpipe.vault.aes_key import AesKey
from authpipe.vault.failure import unusable
from authpipe.vault.keks.ring import KekRing
from authpipe.vault.keyset import KeysetOwner, KeysetStore
from authpipe.vault.keyset_cache import KeysetCache, OpenKeyset
from authpipe.vault.single_flight import SingleFlight

#: A ciphertext that names an unknown key makes its keyset load again (another replica may have rotated) at
#: most this often, so that a table of garbage does not become a storm of queries.
RELOAD_INTERVAL = timedelta(seconds=1)


class OpenKeysets:
    """Loads each keyset once for all who want it at the same moment, and unwraps its keys on demand."""

    def __init__(self, keks: KekRing, store: KeysetStore, clock: Clock, cache: KeysetCache) -> None:
        self._keks = keks
        self._store = store
        self._clock = clock
        self._cache = cache
        self._loads: SingleFlight[tuple[KeysetOwner, int, bool], OpenKeyset] = SingleFlight()
        self._unwraps: SingleFlight[tuple[KeysetOwner, int, UUID], AesKey] = SingleFlight()
        self._forgettings = 0

    def cached_key(self, owner: KeysetOwner, key_id: UUID) -> AesKey | None:
        """The key when it is in memory, without waiting."""
        keyset = self._cache.get(owner)
        return None if keyset is None else keyset.opened.get(key_id)

    async def get(self, owner: KeysetOwner) -> OpenKeyset:
        """The keyset, from memory or from the store."""
        keyset = self._cache.get(owner)
        if keyset is not None:
            return keyset
        return await self._loads.run((owner, self._forgettings, False), lambda: self.load(owner))

    async def load(self, owner: KeysetOwner, *, reloaded_at: datetime | None = None) -> OpenKeyset:
        """The keyset as the store has it now, which is what memory holds from then on."""
        forgettings = self._forgettings
        keys = await self._store.load(owner.environment_id, owner.tenant_id)
        keyset = OpenKeyset(owner, keys, reloaded_at=reloaded_at)
        if forgettings == self._forgettings:
            # Otherwise something was forgotten meanwhile, perhaps this: what was read may be the past.
            self._cache.put(keyset)
        return keyset

    async def find_key(self, owner: KeysetOwner, key_id: UUID) -> AesKey:
        """The key of that id.  Raises ``VaultError`` when the owner's keyset has none."""
        keyset = await self.get(owner)
        if key_id not in keyset.wrapped:
            keyset = await self._search_again(keyset)
        if key_id not in keyset.wrapped:
            raise unusable(f"the keyset has no key {key_id}")
        return await self.open_key(keyset, key_id)

    async def open_key(self, keyset: OpenKeyset, key_id: UUID) -> AesKey:
        """Unwrap one key of a keyset.

        Raises ``VaultError`` when its KEK is not configured, or when the wrapped key was altered or made for
        another owner or id.
        """
        opened = keyset.opened.get(key_id)
        if opened is not None:
            return opened
        flight = (keyset.owner, self._forgettings, key_id)
        key = await self._unwraps.run(flight, lambda: self._unwrap(keyset, key_id))
        keyset.opened[key_id] = key
        return key

    def forget(self, owner: KeysetOwner) -> None:
        """Drop the keyset; a load that is under way does not bring it back."""
        self._forgettings += 1
        self._cache.forget(owner)

    def forget_all(self) -> None:
        """Drop every keyset; loads that are under way bring none back."""
        self._forgettings += 1
        self._cache.forget_all()

    async def _search_again(self, keyset: OpenKeyset) -> OpenKeyset:
        now = self._clock.now()
        last = keyset.reloaded_at
        if last is not None and timedelta(0) <= now - last < RELOAD_INTERVAL:
            return keyset
        owner = keyset.owner
        # Apart from ordinary loads: one that began earlier may have read before the other replica wrote.
        return await self._loads.run(
            (owner, self._forgettings, True), lambda: self.load(owner, reloaded_at=now)
        )

    async def _unwrap(self, keyset: OpenKeyset, key_id: UUID) -> AesKey:
        stored = keyset.wrapped[key_id]
        kek = self._keks.find(stored.kek_id)
        # The owner that was asked for, not the one the row claims: a row moved to another tenant must fail.
        associated_data = keyset.owner.associated_data(key_id)
        try:
            with traces.span("vault.unwrap", kek_id=stored.kek_id, key_id=key_id):
                return await kek.unwrap(stored.wrapped, associated_data)
        except VaultError as error:
            raise unusable(f"key {key_id} does not unwrap under {stored.kek_id}: {error.detail}") from None
