"""The cache: which answer may be served now, which must be asked for again, and which must be waited for.

An entry passes these points in time, all on the elapsed clock:

asked_at      the request that fetched it was sent
confirmed_at  the latest moment at which it is known to have been good: ``asked_at``, or when a stream that
              was live before ``asked_at`` was last heard, because that stream would have told of a change
fresh_until   until here it is served with one comparison: ``confirmed_at + max_staleness`` or ``due_at``,
              whichever is first
due_at        the server's wish for a refetch (``refetch_at``), or ``wait_from`` when that is earlier
wait_from     a little before expiry: from here a caller waits for a new one
expires       from here it is never served

At ``fresh_until`` an entry that a live stream has confirmed meanwhile is fresh again, without a request.
Nothing else has to happen when a stream is lost, silently or not: what it confirmed ends by itself, at most
``max_staleness`` after it was last heard.

Between ``fresh_until`` and ``wait_from`` an entry is served at once while one background refetch runs, and no
call blocks; except one confirmed more than twice ``max_staleness`` ago: nobody has used it for so long that
nobody noticed a revocation either, so its next caller waits.  While the server is known to be away, nobody
waits before expiry.

An entry from a snapshot was never confirmed to this process.  It is never fresh, and served only while the
server is known to be away; its next caller after that waits.

A change that a stream tells drops what it concerns at once, and so does what this client changes itself.

The hit path (in the clients) reads ``entries`` without a lock; everything that writes is here, under one.
"""

from __future__ import annotations

import enum
import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable

from authpipe.sdk.changes import (
    Change,
    Dead,
    Key,
    KeyRefused,
    Owners,
    RecentChanges,
    Rejected,
    Told,
    Unknown,
)
from authpipe.sdk.credential import Credential
from authpipe.sdk.entry import NEVER, Entry, Fetched, entry_of, newer_version
from authpipe.sdk.errors import (
    AuthenticationFailed,
    AuthpipeError,
    ProviderUnavailable,
    RateLimited,
    ReauthorizationRequired,
)
from authpipe.sdk.refusals import Refusals

# Times max_staleness: the age from which an entry that is due is waited for instead of served.
UNUSED_LONG = 2.0


class Verdict(enum.Enum):
    """What to do with a call that was not a hit."""

    SERVE = "serve"
    SERVE_AND_REFETCH = "serve and refetch"
    WAIT = "wait"


class Coverage:
    """What one stream vouches for: entries asked for after ``since`` were good at ``heard_at``."""

    __slots__ = ("heard_at", "since")

    def __init__(self) -> None:
        self.since = math.inf
        self.heard_at = NEVER


class CredentialCache:
    """Entries in the order they were last fetched or found due, the front of which is evicted.

    That order is an approximation of least recently used that costs a hit nothing: an entry in use is found
    due at least once per ``max_staleness``.  Methods are thread-safe and take the elapsed time as ``now``.
    """

    def __init__(
        self,
        *,
        max_staleness_s: float,
        refetch_retry_s: float,
        outage_memory_s: float,
        max_entries: int,
        negative_s: float = 0.0,
    ) -> None:
        self.entries: OrderedDict[Key, Entry] = OrderedDict()
        self._max_staleness_s = max_staleness_s
        self._refetch_retry_s = refetch_retry_s
        self._outage_memory_s = outage_memory_s
        self._max_entries = max_entries
        self._by_place: dict[tuple[str, str], set[Key]] = {}
        self._unconfirmed: set[Key] = set()
        self._refusals = Refusals(seconds=negative_s, limit=max_entries)
        self._changes = RecentChanges()
        self._revision = 0
        self._closed = False
        self._reset_concurrency()

    def _reset_concurrency(self) -> None:
        self._lock = threading.Lock()
        self._refetching: set[Key] = set()
        self._failed_at: float | None = None
        self._ask_again_at = -math.inf
        self._streams: list[Coverage] = []

    def after_fork(self) -> None:
        """In a forked child: entries stay valid; locks, streams and work under way were the parent's."""
        self._reset_concurrency()

    @property
    def generation(self) -> int:
        """Grows with every change; to be noted when a fetch begins."""
        return self._changes.told

    @property
    def revision(self) -> int:
        """Grows whenever an entry comes or goes."""
        return self._revision

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
            self._confirm(entry)
            if now < self._fresh_until(entry):
                entry.fresh_until = self._fresh_until(entry)
                self._used(key, entry, now)
                return Verdict.SERVE, entry
            away = self._known_away(now)
            unused_long = now - entry.confirmed_at >= UNUSED_LONG * self._max_staleness_s
            if (unused_long or now >= entry.wait_from) and not away:
                return Verdict.WAIT, entry
            self._used(key, entry, now)
            self._rest(entry, now, self._refetch_retry_s)
            # One refetch per key; in an outage one for the whole client, as a probe.
            probing = self._refetching if away else key in self._refetching
            if probing or now < self._ask_again_at:
                return Verdict.SERVE, entry
            self._refetching.add(key)
            return Verdict.SERVE_AND_REFETCH, entry

    def refusal(self, key: Key, now: float) -> AuthpipeError | None:
        """A refusal heard a moment ago, as an exception of the caller's own; None to ask the server."""
        if not self._refusals:
            return None
        with self._lock:
            return self._refusals.find(key, now)

    def store(self, key: Key, fetched: Fetched, now: float, *, generation: int) -> bool:
        """Keep what was fetched, unless what is there is newer.

        False when a change that concerns it has been told since ``generation``: it may be from before that
        change, is not kept, and should be asked for again.
        """
        entry = entry_of(fetched, now, refetch_retry_s=self._refetch_retry_s)
        with self._lock:
            self._answered()
            if self._overtaken(generation, lambda told: told.concerns(key, fetched.credential)):
                return False
            known = self.entries.get(key)
            if self._closed or (known is not None and not _replaces(fetched, known)):
                return True
            self._drop(key)
            self._refusals.drop(key)
            if now < entry.wait_from:
                self._confirm(entry)
                entry.fresh_until = self._fresh_until(entry)
                self._keep(key, entry)
            return True

    def refused(
        self, key: Key, entry: Entry | None, error: AuthpipeError, now: float, *, generation: int
    ) -> None:
        """The server's answer was a definite no: what was cached is no longer good.

        A no about a connection speaks for every key it is cached under, a no to the API key for everything.
        """
        with self._lock:
            self._answered()
            outdated = self._overtaken(generation, lambda told: told.concerns_refusal(key))
            if entry is not None and self.entries.get(key) is entry:
                self._drop(key)
            if isinstance(error, AuthenticationFailed):
                self._tell(KeyRefused())
            elif isinstance(error, ReauthorizationRequired) and (named := _owners(error)):
                self._tell(Dead(named))
            if not self._closed and not outdated:
                self._refusals.keep(key, error, now)

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
            if entry is not None and self._may_rest(entry, now):
                # A limit or an outage of the provider is no outage of the server: its wish binds this entry.
                wait = (
                    pause if isinstance(error, ProviderUnavailable | RateLimited) else self._refetch_retry_s
                )
                self._rest(entry, now, wait)

    def may_fall_back_on(self, entry: Entry, now: float) -> bool:
        """Whether ``entry`` may be served although its refetch just failed."""
        with self._lock:
            return now < entry.expires and self._may_rest(entry, now)

    def refetch_ended(self, key: Key) -> None:
        """The refetch that a verdict asked for is over."""
        with self._lock:
            self._refetching.discard(key)

    def forget(self, identifiers: Iterable[str | None]) -> None:
        """Drop every entry of these connections or installations, and what is being fetched right now."""
        changed = frozenset(identifier for identifier in identifiers if identifier is not None)
        if changed:
            with self._lock:
                self._tell(Owners(changed))

    def change(self, change: Change, now: float) -> list[Key]:
        """Drop what ``change`` concerns.

        Returns the keys worth fetching again before anybody asks: those in use, of which only the secret is a
        new one.
        """
        with self._lock:
            gone = self._tell(change, place=(change.provider, change.tenant_id))
        if not change.only_refreshed:
            return []
        return [key for key, entry in gone if now - entry.used_at <= self._max_staleness_s]

    def reject(
        self, credential_id: str, version: int, now: float
    ) -> tuple[Credential | None, Collection[Key]]:
        """Drop this version and older ones.  Returns a fresh newer version, if there is one, and the keys."""
        with self._lock:
            gone = self._tell(Rejected(credential_id, version))
            for entry in self.entries.values():
                if entry.credential.credential_id == credential_id and now < entry.fresh_until:
                    return entry.credential, ()
            return None, [key for key, _ in gone]

    def key_refused(self) -> None:
        """The API key is not valid any more: drop everything that was read with it."""
        with self._lock:
            self._answered()
            self._tell(KeyRefused())

    def stream_begins(self, coverage: Coverage, now: float) -> None:
        """From now on ``coverage`` hears of every change.  Its ``heard_at`` is its reader's to move on."""
        with self._lock:
            self._answered()
            coverage.since = coverage.heard_at = now
            if coverage not in self._streams:
                self._streams.append(coverage)

    def stream_ends(self, coverage: Coverage) -> None:
        """``coverage`` hears of nothing any more, or has missed something: what it vouched for is noted."""
        with self._lock:
            if coverage not in self._streams:
                return
            for entry in self.entries.values():
                self._confirm(entry)
            self._streams.remove(coverage)
            self._tell(Unknown())

    def unexpired(self, now: float) -> tuple[int, list[tuple[Key, Entry]]]:
        """The revision, and every entry not yet to be waited for, the one in longest disuse first."""
        with self._lock:
            return self._revision, [item for item in self.entries.items() if now < item[1].wait_from]

    def restore(self, key: Key, entry: Entry) -> None:
        """Take in an entry from a snapshot, where there is none."""
        with self._lock:
            if not self._closed and key not in self.entries:
                self._keep(key, entry)

    def close(self) -> None:
        """Drop everything and keep nothing from now on."""
        with self._lock:
            self._closed = True
            self.entries.clear()
            self._by_place.clear()
            self._unconfirmed.clear()
            self._refusals.drop_where(lambda key: True)

    def _known_away(self, now: float) -> bool:
        return self._failed_at is not None and now - self._failed_at <= self._outage_memory_s

    def _answered(self) -> None:
        if self._failed_at is not None:
            for key in self._unconfirmed:
                self.entries[key].fresh_until = NEVER
        self._failed_at = None
        self._ask_again_at = -math.inf

    def _may_rest(self, entry: Entry, now: float) -> bool:
        return not entry.unconfirmed or self._known_away(now)

    def _rest(self, entry: Entry, now: float, pause: float) -> None:
        until = entry.wait_from if now < entry.wait_from else entry.expires
        entry.fresh_until = min(now + pause, until)

    def _fresh_until(self, entry: Entry) -> float:
        return min(entry.confirmed_at + self._max_staleness_s, entry.due_at)

    def _confirm(self, entry: Entry) -> None:
        for stream in self._streams:
            if stream.since < entry.asked_at and stream.heard_at > entry.confirmed_at:
                entry.confirmed_at = stream.heard_at

    def _used(self, key: Key, entry: Entry, now: float) -> None:
        entry.used_at = now
        self.entries.move_to_end(key)

    def _overtaken(self, generation: int, concerns: Callable[[Told], bool]) -> bool:
        since = self._changes.since(generation)
        return since is None or any(concerns(told) for told in since)

    def _tell(
        self, told: Told, *, place: tuple[str | None, str | None] = (None, None)
    ) -> list[tuple[Key, Entry]]:
        """Note what was told and drop what it concerns, which is returned."""
        self._changes.add(told)
        self._refusals.drop_where(told.concerns_refusal)
        provider, tenant_id = place
        near: Iterable[Key] = self.entries
        if provider is not None and tenant_id is not None:
            near = self._by_place.get((provider, tenant_id), ())
        gone = [
            (key, entry)
            for key, entry in ((key, self.entries[key]) for key in near)
            if told.concerns(key, entry.credential)
        ]
        for key, _ in gone:
            self._drop(key)
        return gone

    def _keep(self, key: Key, entry: Entry) -> None:
        self.entries[key] = entry
        self._by_place.setdefault(key[:2], set()).add(key)
        if entry.unconfirmed:
            self._unconfirmed.add(key)
        self._revision += 1
        while len(self.entries) > self._max_entries:
            self._drop(next(iter(self.entries)))

    def _drop(self, key: Key) -> None:
        if self.entries.pop(key, None) is None:
            return
        self._unconfirmed.discard(key)
        place = self._by_place[key[:2]]
        place.discard(key)
        if not place:
            del self._by_place[key[:2]]
        self._revision += 1


def _replaces(fetched: Fetched, known: Entry) -> bool:
    # What was asked for later is newer, whenever it arrives; and so is a later version.
    return fetched.asked_at >= known.asked_at or newer_version(fetched.credential, known.credential)


def _owners(error: ReauthorizationRequired) -> frozenset[str]:
    named = (error.connection_id, error.installation_id)
    return frozenset(identifier for identifier in named if identifier is not None)
