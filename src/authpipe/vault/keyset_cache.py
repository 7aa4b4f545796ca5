"""Unwrapped keysets in memory, bounded in number and in time."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from authpipe.domain.clock import Clock
from authpipe.vault.aes_key import AesKey
from authpipe.vault.keyset import KeysetOwner, WrappedKey


class OpenKeyset:
    """A keyset as loaded, with those of its keys that were needed so far unwrapped in ``opened``.

    Keys are unwrapped one by one on demand, so that an old key whose KEK is missing does not take the
    primary with it.  ``reloaded_at`` is set when it was loaded again in search of an unknown key.
    """

    __slots__ = ("opened", "owner", "primary_id", "reloaded_at", "wrapped")

    def __init__(
        self, owner: KeysetOwner, keys: Sequence[WrappedKey], *, reloaded_at: datetime | None = None
    ) -> None:
        self.owner = owner
        self.wrapped = {key.key_id: key for key in keys}
        self.primary_id: UUID | None = next((key.key_id for key in keys if key.is_primary), None)
        self.opened: dict[UUID, AesKey] = {}
        self.reloaded_at = reloaded_at


class KeysetCache:
    """At most ``size`` keysets, each for at most ``ttl``; the least recently used goes first.

    Any use of the cache drops all that have expired, not only the one asked for.
    """

    def __init__(self, clock: Clock, *, size: int, ttl: timedelta) -> None:
        if size < 1:
            raise ValueError("the cache must hold at least one keyset")
        self._clock = clock
        self._size = size
        self._ttl = ttl
        self._by_use: OrderedDict[KeysetOwner, OpenKeyset] = OrderedDict()
        self._by_age: OrderedDict[KeysetOwner, datetime] = OrderedDict()

    def get(self, owner: KeysetOwner) -> OpenKeyset | None:
        """The keyset when it is held and fresh."""
        self._drop_expired()
        keyset = self._by_use.get(owner)
        if keyset is not None:
            self._by_use.move_to_end(owner)
        return keyset

    def put(self, keyset: OpenKeyset) -> None:
        """Hold a keyset that was loaded just now, in place of an earlier one of the same owner."""
        self._drop_expired()
        self.forget(keyset.owner)
        self._by_use[keyset.owner] = keyset
        self._by_age[keyset.owner] = self._clock.now() + self._ttl
        if len(self._by_use) > self._size:
            self.forget(next(iter(self._by_use)))

    def forget(self, owner: KeysetOwner) -> None:
        """Drop the keyset and with it the last reference to its unwrapped keys."""
        self._by_use.pop(owner, None)
        self._by_age.pop(owner, None)

    def forget_all(self) -> None:
        """Drop every keyset."""
        self._by_use.clear()
        self._by_age.clear()

    def __len__(self) -> int:
        return len(self._by_use)

    def _drop_expired(self) -> None:
        now = self._clock.now()
        while self._by_age:
            owner = next(iter(self._by_age))
            if self._by_age[owner] > now:
                return
            self.forget(owner)
