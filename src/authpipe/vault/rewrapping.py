"""Every data key from the KEKs of before to the primary one: the same keys, wrapped anew."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple, Protocol

from authpipe.domain.clock import Clock
from authpipe.domain.errors import VaultError
from authpipe.domain.event import Origin
from authpipe.telemetry.logs import get_logger
from authpipe.vault.failure import unusable
from authpipe.vault.keks.ring import KekRing
from authpipe.vault.keyset import KeysetOwner, WrappedKey
from authpipe.vault.rotation import Progress

#: Keys written by one transaction.
BATCH = 100
#: Keys in the hands of KEKs at a time: a KMS has a rate, an HSM a number of sessions.
CONCURRENCY = 16
#: Walks over all keys, at most; the second finds only what somebody was writing during the first.
_WALKS = 5

_log = get_logger(__name__)


class Rewrap(NamedTuple):
    """A stored key, and the same key under the primary KEK."""

    key: WrappedKey
    wrapped: bytes


class WrappedKeyStore(Protocol):
    """The stored keys of all keysets."""

    async def count_by_kek(self) -> Mapping[str, int]:
        """How many keys each KEK wraps."""
        ...

    async def page(
        self, kek_ids: Sequence[str], *, after: WrappedKey | None, limit: int
    ) -> Sequence[WrappedKey]:
        """Keys under one of these KEKs, in the order of owner and key, from beyond ``after``."""
        ...

    async def swap(self, rewraps: Sequence[Rewrap], *, kek_id: str, origin: Origin, at: datetime) -> int:
        """Write those whose key is still wrapped as it was; returns how many.

        Never waits for a key that somebody else is writing: it is left as it is.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewrapped:
    """What became of the keys that the primary KEK did not wrap.

    ``unknown`` counts those under each KEK that is not configured here; ``left`` those under a known one that
    did not unwrap, or that somebody was writing each time.
    """

    moved: int
    left: int
    unknown: Mapping[str, int] = field(default_factory=dict)


class Rewrapping:
    """Rewraps online: payloads and the keys in anybody's memory stay as they are.

    Safe to be cut off at any moment, to be run again and to be run by several processes at once: each key is
    replaced by compare-and-swap, and only after the primary KEK unwrapped what it wrapped.
    """

    def __init__(self, *, keks: KekRing, keys: WrappedKeyStore, clock: Clock) -> None:
        self._keks = keks
        self._keys = keys
        self._clock = clock

    async def run(self, *, origin: Origin, progress: Progress) -> Rewrapped:
        """Bring every key whose KEK is known here under the primary KEK.

        Raises ``VaultUnavailable`` when a KEK does not answer, ``VaultError`` when the primary does not
        unwrap what it wraps; what was done until then stays done.
        """
        moved = 0
        for _ in range(_WALKS):
            old, unknown = self._sorted(await self._keys.count_by_kek())
            left = sum(old.values())
            if left == 0:
                break
            before, total = moved, moved + left
            progress(moved, total)
            after: WrappedKey | None = None
            while page := await self._keys.page(list(old), after=after, limit=BATCH):
                after = page[-1]
                rewraps = await self._rewrapped(page)
                if rewraps:
                    moved += await self._keys.swap(
                        rewraps, kek_id=self._keks.primary.kek_id, origin=origin, at=self._clock.now()
                    )
                progress(moved, max(moved, total))
            if moved == before:
                break
        old, unknown = self._sorted(await self._keys.count_by_kek())
        return Rewrapped(moved=moved, left=sum(old.values()), unknown=unknown)

    def _sorted(self, counts: Mapping[str, int]) -> tuple[dict[str, int], dict[str, int]]:
        """Of the KEKs that are not primary: those known here, and those that are not."""
        known: dict[str, int] = {}
        unknown: dict[str, int] = {}
        for kek_id, count in counts.items():
            if kek_id == self._keks.primary.kek_id:
                continue
            try:
                self._keks.find(kek_id)
                known[kek_id] = count
            except VaultError:
                unknown[kek_id] = count
        return known, unknown

    async def _rewrapped(self, page: Sequence[WrappedKey]) -> list[Rewrap]:
        slots = asyncio.Semaphore(CONCURRENCY)

        async def one(key: WrappedKey) -> Rewrap | None:
            async with slots:
                return await self._rewrap(key)

        done = await asyncio.gather(*[one(key) for key in page])
        return [rewrap for rewrap in done if rewrap is not None]

    async def _rewrap(self, stored: WrappedKey) -> Rewrap | None:
        owner = KeysetOwner(stored.environment_id, stored.tenant_id)
        associated_data = owner.associated_data(stored.key_id)
        try:
            key = await self._keks.find(stored.kek_id).unwrap(stored.wrapped, associated_data)
        except VaultError as error:
            _log.error(
                "a data key does not unwrap",
                key_id=str(stored.key_id),
                kek_id=stored.kek_id,
                reason=error.detail,
            )
            return None
        primary = self._keks.primary
        wrapped = await primary.wrap(key, associated_data)
        # A KEK that may wrap and not unwrap (a KMS grants the two apart) would lose the key for good.
        again = await primary.unwrap(wrapped, associated_data)
        if again.fingerprint() != key.fingerprint():
            raise unusable(f"{primary.kek_id} unwraps another key than it wrapped")
        return Rewrap(stored, wrapped)
