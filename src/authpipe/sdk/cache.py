"""The cache: which answer may be served now, which must be asked for again, and which must be waited for.

An entry passes four points in time, all on the elapsed clock:

asked_at     the request that fetched it was sent
fresh_until  until here it is served with one comparison.  The earliest of ``refetch_at`` (the server's wish),
             ``asked_at + max_staleness`` and ``wait_from``
wait_from    a little before expiry: from here a caller waits for a new one
expires      from here it is never served

Between ``fresh_until`` and ``wait_from`` it is served at once while one background refetch runs, and no call
blocks; except an entry older than twice ``max_staleness``: nobody has used it for so long that nobody noticed
a revocation either, so its next caller waits.  While the server is known to be away, nobody waits before
expiry.

The hit path (in the clients) reads ``entries`` without a lock; everything that writes is here, under one.
"""

from __future__ import annotations

import enum
import math
import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from authpipe.sdk.credential import Credential
from authpipe.sdk.errors import AuthpipeError, ProviderUnavailable, RateLimited

# provider, tenant_id, user_id, credential_for, installation_id, label, kind
Key: TypeAlias = tuple[str, str, str | None, str, str | None, str | None, str | None]

# Long enough for the caller's own request to arrive before expiry, at most a tenth of what is left, so that
# tokens that live a minute are still cached.
EXPIRY_MARGIN_S = 5.0
EXPIRY_MARGIN_SHARE = 0.1

# Times max_staleness: the age from which an entry that is due is waited for instead of served.
UNUSED_LONG = 2.0


class Verdict(enum.Enum):
    """What to do with a call that was not a hit."""

    SERVE = "serve"
    SERVE_AND_REFETCH = "serve and refetch"
    WAIT = "wait"


@dataclass(slots=True, kw_only=True)
class Fetched:
    """A credential with its remaining life and the wished refetch, in seconds from ``asked_at``.

    None means that it does not expire, or that the server has no wish.
    """

    credential: Credential
    asked_at: float
    life_s: float | None
    refetch_in_s: float | None


class Entry:
    """One cached credential and its four points in time."""

    __slots__ = ("asked_at", "credential", "expires", "fresh_until", "wait_from")

    def __init__(
        self, credential: Credential, *, asked_at: float, fresh_until: float, wait_from: float, expires: float
    ) -> None:
        self.credential = credential
        self.asked_at = asked_at
        self.fresh_until = fresh_until
        self.wait_from = wait_from
        self.expires = expires


class CredentialCache:
    """Entries in the order they were last fetched or found due, the front of which is evicted.

    That order is an approximation of least recently used that costs a hit nothing: an entry in use is found
    due at least once per ``max_staleness``.  Methods are thread-safe and take the elapsed time as ``now``.
    """

    def __init__(
        self, *, max_staleness_s: float, refetch_retry_s: float, outage_memory_s: float, max_entries: int
    ) -> None:
        self.entries: OrderedDict[Key, Entry] = OrderedDict()
        self._max_staleness_s = max_staleness_s
        self._refetch_retry_s = refetch_retry_s
        self._outage_memory_s = outage_memory_s
        self._max_entries = max_entries
        self._closed = False
        self._reset_concurrency()

    def _reset_concurrency(self) -> None:
        self._lock = threading.Lock()
        self._refetching: set[Key] = set()
        self._generation = 0
        self._failed_at: float | None = None
        self._ask_again_at = -math.inf

    def after_fork(self) -> None:
        """In a forked child: entries stay valid, locks and work under way were the parent's."""
        self._reset_concurrency()

    @property
    def generation(self) -> int:
        """Grows when entries are forgotten; a fetch that began before that must not be stored."""
        return self._generation

    def judge(self, key: Key, now: float) -> tuple[Verdict, Entry | None]:
        """What to do about ``key``.  With a verdict to serve, the entry is there and unexpired.

        SERVE_AND_REFETCH is given to one caller, who must see to a refetch and then call
        :meth:`refetch_ended`.  A due entry rests for ``refetch_retry_s`` afterwards, whatever comes of it.
        """
        with self._lock:
            entry = self.entries.get(key)
            if entry is None or now >= entry.expires:
                return Verdict.WAIT, entry
            if now < entry.fresh_until:
                return Verdict.SERVE, entry
            unused_long = now - entry.asked_at >= UNUSED_LONG * self._max_staleness_s
            if (unused_long or now >= entry.wait_from) and not self._known_away(now):
                return Verdict.WAIT, entry
            self.entries.move_to_end(key)
            self._rest(entry, now, self._refetch_retry_s)
            # One refetch per key; in an outage one for the whole client, as a probe.
            probing = self._refetching if self._known_away(now) else key in self._refetching
            if probing or now < self._ask_again_at:
                return Verdict.SERVE, entry
            self._refetching.add(key)
            return Verdict.SERVE_AND_REFETCH, entry

    def store(self, key: Key, fetched: Fetched, now: float, *, generation: int) -> None:
        """Keep what was fetched, unless it is older than what is there or has been forgotten meanwhile."""
        entry = self._entry(fetched, now)
        with self._lock:
            self._answered()
            if self._closed or generation != self._generation:
                return
            known = self.entries.get(key)
            if known is not None and known.asked_at > fetched.asked_at:
                return
            if now >= entry.wait_from:
                self.entries.pop(key, None)
                return
            self.entries[key] = entry
            self.entries.move_to_end(key)
            while len(self.entries) > self._max_entries:
                self.entries.popitem(last=False)

    def refused(self, key: Key, entry: Entry | None) -> None:
        """The server's answer was a definite no: what was cached is no longer good."""
        with self._lock:
            self._answered()
            if entry is not None and self.entries.get(key) is entry:
                del self.entries[key]

    def unanswered(self, entry: Entry | None, error: AuthpipeError, now: float) -> None:
        """There was no answer to be had now.  An unexpired entry stays, and asks again later."""
        wished = getattr(error, "retry_after_s", None) or 0.0
        # A wish for patience does not stretch how old an entry may get before it is asked for again.
        pause = max(self._refetch_retry_s, min(wished, self._max_staleness_s))
        with self._lock:
            if isinstance(error, ProviderUnavailable):
                self._answered()
            else:
                self._failed_at = now
                self._ask_again_at = now + pause
            if entry is not None:
                # A limit or an outage of the provider is no outage of the server: its wish binds this entry.
                wait = (
                    pause if isinstance(error, ProviderUnavailable | RateLimited) else self._refetch_retry_s
                )
                self._rest(entry, now, wait)

    def refetch_ended(self, key: Key) -> None:
        """The refetch that a verdict asked for is over."""
        with self._lock:
            self._refetching.discard(key)

    def forget(self, identifiers: Iterable[str | None]) -> None:
        """Drop every entry of these connections or installations, and what is being fetched right now."""
        changed = {identifier for identifier in identifiers if identifier is not None}
        if not changed:
            return
        with self._lock:
            self._generation += 1
            gone = [
                key
                for key, entry in self.entries.items()
                if entry.credential.connection_id in changed or entry.credential.installation_id in changed
            ]
            for key in gone:
                del self.entries[key]

    def close(self) -> None:
        """Drop everything and keep nothing from now on."""
        with self._lock:
            self._closed = True
            self.entries.clear()

    def _known_away(self, now: float) -> bool:
        return self._failed_at is not None and now - self._failed_at <= self._outage_memory_s

    def _answered(self) -> None:
        self._failed_at = None
        self._ask_again_at = -math.inf

    def _rest(self, entry: Entry, now: float, pause: float) -> None:
        until = entry.wait_from if now < entry.wait_from else entry.expires
        entry.fresh_until = min(now + pause, until)

    def _entry(self, fetched: Fetched, now: float) -> Entry:
        expires = math.inf if fetched.life_s is None else fetched.asked_at + fetched.life_s
        margin = min(EXPIRY_MARGIN_S, EXPIRY_MARGIN_SHARE * max(0.0, expires - now))
        wait_from = expires - margin
        fresh_until = min(fetched.asked_at + self._max_staleness_s, wait_from)
        if fetched.refetch_in_s is not None:
            # The wish is already past when the server's own refresh is late: ask again soon, not at once.
            wished = fetched.asked_at + fetched.refetch_in_s
            fresh_until = min(fresh_until, max(wished, now + self._refetch_retry_s))
        return Entry(
            fetched.credential,
            asked_at=fetched.asked_at,
            fresh_until=fresh_until,
            wait_from=wait_from,
            expires=expires,
        )
