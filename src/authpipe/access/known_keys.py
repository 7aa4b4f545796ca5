"""API keys in memory: the answers to recent lookups, bounded in number and in time."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from authpipe.domain.environment import ApiKey, Environment

#: How long a key that is no good is refused without asking again.
_REFUSED_FOR = timedelta(seconds=10)


@dataclass(slots=True)
class KnownKey:
    """A good key with its environment, until when that is believed, and when its use was last noted."""

    api_key: ApiKey
    environment: Environment
    until: datetime
    noted_at: datetime | None


class KnownKeys:
    """At most ``size`` good keys, each for at most ``ttl``, and as many refused ones for 10 s.

    What was looked up before a change and arrives after it is not kept: :attr:`generation`, read before the
    lookup, tells.
    """

    def __init__(self, *, size: int, ttl: timedelta) -> None:
        self._size = size
        self._ttl = ttl
        self._good: OrderedDict[bytes, KnownKey] = OrderedDict()
        self._hashes: dict[UUID, bytes] = {}
        self._refused: OrderedDict[bytes, datetime] = OrderedDict()
        self.generation = 0

    def find(self, key_hash: bytes, *, now: datetime) -> KnownKey | None:
        """The good key, or None when it is not known."""
        known = self._good.get(key_hash)
        if known is None:
            return None
        if known.until <= now:
            self._drop(key_hash)
            return None
        self._good.move_to_end(key_hash)
        return known

    def is_refused(self, key_hash: bytes, *, now: datetime) -> bool:
        """Whether a lookup a moment ago found nothing good."""
        until = self._refused.get(key_hash)
        if until is None:
            return False
        if until <= now:
            del self._refused[key_hash]
            return False
        return True

    def keep(
        self, key_hash: bytes, api_key: ApiKey, environment: Environment, *, now: datetime, generation: int
    ) -> KnownKey:
        """Remember a good key, unless something changed since ``generation``."""
        known = KnownKey(api_key, environment, now + self._ttl, api_key.last_used_at)
        if generation == self.generation:
            self._good[key_hash] = known
            self._hashes[api_key.api_key_id] = key_hash
            if len(self._good) > self._size:
                self._drop(next(iter(self._good)))
        return known

    def refuse(self, key_hash: bytes, *, now: datetime) -> None:
        """Remember that a key is no good."""
        self._refused[key_hash] = now + _REFUSED_FOR
        if len(self._refused) > self._size:
            self._refused.popitem(last=False)

    def forget(self, api_key_id: UUID) -> None:
        """The key changed."""
        self.generation += 1
        key_hash = self._hashes.get(api_key_id)
        if key_hash is not None:
            self._drop(key_hash)

    def forget_all(self) -> None:
        """Any key may have changed."""
        self.generation += 1
        self._good.clear()
        self._hashes.clear()
        self._refused.clear()

    def _drop(self, key_hash: bytes) -> None:
        known = self._good.pop(key_hash)
        self._hashes.pop(known.api_key.api_key_id, None)
