"""API keys in memory: the answers to recent lookups, bounded in number and in time."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from authpipe.access.refusals import Refusal
from authpipe.domain.environment import ApiKey, Environment

#: How long a key that is no good is refused without asking again.
_REFUSED_FOR = timedelta(seconds=10)
_NOT_ANY_MORE = datetime.min.replace(tzinfo=UTC)


@dataclass(slots=True)
class KnownKey:
    """A good key with its environment, when it was looked up, until when that is believed, and when its use
    was last noted."""

    api_key: ApiKey
    environment: Environment
    since: datetime
    until: datetime
    noted_at: datetime | None


class KnownKeys:
    """At most ``size`` good keys, each believed for at most ``ttl``, and as many refused ones for 10 s.

    What was looked up before a change and arrives after it is not kept: :attr:`generation`, read before the
    lookup, tells.
    """

    def __init__(self, *, size: int, ttl: timedelta) -> None:
        self._size = size
        self._ttl = ttl
        self._good: OrderedDict[bytes, KnownKey] = OrderedDict()
        self._hashes: dict[UUID, bytes] = {}
        self._refused: OrderedDict[bytes, tuple[datetime, Refusal]] = OrderedDict()
        self.generation = 0

    def find(self, key_hash: bytes, *, now: datetime) -> KnownKey | None:
        """The good key, or None when it must be looked up."""
        known = self._good.get(key_hash)
        if known is None or known.until <= now:
            return None
        self._good.move_to_end(key_hash)
        return known

    def was_good(self, key_hash: bytes) -> bool:
        """Whether the last lookup found a good key, however long ago that is."""
        return key_hash in self._good

    def refusal(self, key_hash: bytes, *, now: datetime) -> Refusal | None:
        """Why a lookup a moment ago found nothing good; None when it did, or when nobody looked."""
        refused = self._refused.get(key_hash)
        if refused is None:
            return None
        until, reason = refused
        if until <= now:
            del self._refused[key_hash]
            return None
        return reason

    def keep(
        self, key_hash: bytes, api_key: ApiKey, environment: Environment, *, now: datetime, generation: int
    ) -> KnownKey:
        """Remember a good key, unless something changed since ``generation``."""
        before = self._good.get(key_hash)
        # The note of a use may be on its way to the database still.
        noted_at = api_key.last_used_at if before is None else before.noted_at or api_key.last_used_at
        known = KnownKey(api_key, environment, now, now + self._ttl, noted_at)
        if generation == self.generation:
            self._good[key_hash] = known
            self._good.move_to_end(key_hash)
            self._hashes[api_key.api_key_id] = key_hash
            if len(self._good) > self._size:
                self._drop(next(iter(self._good)))
        return known

    def refuse(self, key_hash: bytes, reason: Refusal, *, now: datetime) -> None:
        """Remember that a key is no good."""
        self._drop(key_hash)
        self._refused[key_hash] = now + _REFUSED_FOR, reason
        if len(self._refused) > self._size:
            self._refused.popitem(last=False)

    def forget(self, api_key_id: UUID) -> None:
        """The key changed: it is looked up again before it is believed."""
        self.generation += 1
        key_hash = self._hashes.get(api_key_id)
        if key_hash is not None:
            self._good[key_hash].until = _NOT_ANY_MORE

    def forget_all(self) -> None:
        """Any key may have changed."""
        self.generation += 1
        for known in self._good.values():
            known.until = _NOT_ANY_MORE
        self._refused.clear()

    def _drop(self, key_hash: bytes) -> None:
        known = self._good.pop(key_hash, None)
        if known is not None:
            self._hashes.pop(known.api_key.api_key_id, None)
