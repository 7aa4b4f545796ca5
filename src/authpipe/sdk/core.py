"""What both clients do, apart from waiting: every path from a call to its result, as steps for a driver."""

from __future__ import annotations

from typing import TypeVar

from authpipe.sdk.cache import CredentialCache, Entry, Key
from authpipe.sdk.calls import Call
from authpipe.sdk.clock import Clock
from authpipe.sdk.credential import Credential
from authpipe.sdk.errors import (
    AuthpipeError,
    AuthpipeUnavailable,
    ProviderUnavailable,
    RateLimited,
    ReauthorizationRequired,
)
from authpipe.sdk.exchange import Persistence, Steps, exchange
from authpipe.sdk.fetch import fetch
from authpipe.sdk.problem import read_answer
from authpipe.sdk.settings import Settings

T = TypeVar("T")

# After these an unexpired cached credential is as good as it was before.
_PASSING = (AuthpipeUnavailable, ProviderUnavailable, RateLimited)

ATTEMPTS = 4
# Two, because the first may meet a kept-alive connection that the server has just closed.
QUICK_ATTEMPTS = 2
# How long a caller is kept waiting when there is something unexpired to fall back on.
FALLBACK_DEADLINE_S = 3.0


class Core:
    """Settings, cache and clock of one client, and the steps of everything it can do."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self.settings = settings
        self.clock = clock
        self.cache = CredentialCache(
            max_staleness_s=settings.max_staleness_s,
            refetch_retry_s=settings.refetch_retry_s,
            # A probe every refetch_retry_s, each of which may itself take timeout_s to fail, keeps it alive.
            outage_memory_s=max(settings.max_staleness_s, settings.timeout_s + 2 * settings.refetch_retry_s),
            max_entries=settings.max_entries,
        )
        self._patient = Persistence(ATTEMPTS, settings.timeout_s)
        self._quick = Persistence(QUICK_ATTEMPTS, settings.timeout_s)
        self._brief = Persistence(QUICK_ATTEMPTS, min(settings.timeout_s, FALLBACK_DEADLINE_S))

    def perform(self, call: Call[T]) -> Steps[T]:
        """One call of the API.  What it changed is dropped from the cache."""
        answer = yield from exchange(call.request, self.clock, self._patient)
        try:
            result = read_answer(answer, call.read, about_connecting=call.about_connecting)
        except ReauthorizationRequired as error:
            self.cache.forget((error.connection_id, error.installation_id))
            raise
        self.cache.forget(call.changed(result))
        return result

    def obtain(self, key: Key, entry: Entry | None) -> Steps[Credential]:
        """Fetch while a caller waits; ``entry`` is what to fall back on, for as long as it is unexpired."""
        fallback = entry if entry is not None and self.clock.elapsed() < entry.expires else None
        try:
            return (yield from self._ask(key, entry, self._patient if fallback is None else self._brief))
        except _PASSING:
            if fallback is not None and self.clock.elapsed() < fallback.expires:
                return fallback.credential
            raise

    def refetch(self, key: Key, entry: Entry) -> Steps[None]:
        """Fetch while nobody waits.  A definite no drops the entry; the next caller gets to hear it."""
        try:
            yield from self._ask(key, entry, self._quick)
        except AuthpipeError:
            return
        finally:
            self.cache.refetch_ended(key)

    def _ask(self, key: Key, entry: Entry | None, persistence: Persistence) -> Steps[Credential]:
        generation = self.cache.generation
        try:
            fetched = yield from fetch(key, self.clock, persistence)
        except _PASSING as error:
            self.cache.unanswered(entry, error, self.clock.elapsed())
            raise
        except AuthpipeError as error:
            self.cache.refused(key, entry)
            if isinstance(error, ReauthorizationRequired):
                # The same connection may be cached under other arguments.
                self.cache.forget((error.connection_id, error.installation_id))
            raise
        self.cache.store(key, fetched, self.clock.elapsed(), generation=generation)
        return fetched.credential
