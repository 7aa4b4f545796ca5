"""What both clients do, apart from waiting: every path from a call to its result, as steps for a driver."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import quote

from authpipe.sdk.cache import CredentialCache
from authpipe.sdk.calls import Call
from authpipe.sdk.changes import Key
from authpipe.sdk.clock import Clock
from authpipe.sdk.credential import Credential
from authpipe.sdk.entry import Entry
from authpipe.sdk.errors import (
    AuthenticationFailed,
    AuthpipeError,
    AuthpipeUnavailable,
    InvalidRequest,
    ProviderUnavailable,
    RateLimited,
    ReauthorizationRequired,
)
from authpipe.sdk.exchange import Persistence, Request, Steps, exchange
from authpipe.sdk.fetch import fetch, fetched_from
from authpipe.sdk.problem import read_answer
from authpipe.sdk.settings import Settings
from authpipe.sdk.warming import Warmed, field_in_whole, key_of, read_batch

T = TypeVar("T")

# After these an unexpired cached credential is as good as it was before.
_PASSING = (AuthpipeUnavailable, ProviderUnavailable, RateLimited)

ATTEMPTS = 4
# Two, because the first may meet a kept-alive connection that the server has just closed.
QUICK_ATTEMPTS = 2
# How long a caller is kept waiting when there is something unexpired to fall back on.
FALLBACK_DEADLINE_S = 3.0
# The most that the server takes in one batch.
BATCH = 100


def _nothing_to_tend() -> None:
    return


class Core:
    """Settings, cache and clock of one client, and the steps of everything it can do.

    ``tend`` is called whenever entries may have come or gone; the client sets it.
    """

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self.settings = settings
        self.clock = clock
        self.tend: Callable[[], None] = _nothing_to_tend
        self.cache = CredentialCache(
            max_staleness_s=settings.max_staleness_s,
            refetch_retry_s=settings.refetch_retry_s,
            # A probe every refetch_retry_s, each of which may itself take timeout_s to fail, keeps it alive.
            outage_memory_s=max(settings.max_staleness_s, settings.timeout_s + 2 * settings.refetch_retry_s),
            max_entries=settings.max_entries,
            negative_s=settings.negative_s,
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
            self.tend()
            raise
        self.cache.forget(call.changed(result))
        self.tend()
        return result

    def obtain(self, key: Key, entry: Entry | None) -> Steps[Credential]:
        """Fetch while a caller waits; ``entry`` is what to fall back on, for as long as it is unexpired."""
        fallback = entry if entry is not None and self.clock.elapsed() < entry.expires else None
        try:
            return (yield from self._ask(key, entry, self._patient if fallback is None else self._brief))
        except _PASSING:
            if fallback is not None and self.cache.may_fall_back_on(fallback, self.clock.elapsed()):
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

    def report_rejected(self, credential: Credential) -> Steps[Credential]:
        """Tell the server that the provider refused ``credential``, and get the one to use instead.

        A newer version that is cached and fresh is the answer without a request: somebody else has reported
        this one.
        """
        newer, keys = self.cache.reject(
            credential.credential_id, credential.version, now=self.clock.elapsed()
        )
        self.tend()
        if newer is not None:
            return newer
        generation = self.cache.generation
        request = Request(
            method="POST",
            path=f"/v1/credentials/{quote(credential.credential_id, safe='')}/rejected",
            body={"tenant_id": credential.tenant_id, "version": credential.version},
            same_twice=True,
        )
        try:
            answer = yield from exchange(request, self.clock, self._patient)
            fetched = fetched_from(answer, self.clock)
        except AuthpipeError as error:
            if isinstance(error, ReauthorizationRequired):
                self.cache.forget((error.connection_id, error.installation_id))
            for key in keys:
                self._failed(key, None, error, self.cache.generation)
            raise
        now = self.clock.elapsed()
        if fetched.credential.version > credential.version:
            # A read that began after the report may still bring the old version.
            self.cache.reject(credential.credential_id, fetched.credential.version - 1, now=now)
        for key in keys:
            self.cache.store(key, fetched, now, generation=generation)
        self.tend()
        return fetched.credential

    def warm(self, requests: Sequence[Mapping[str, Any]]) -> Steps[Warmed]:
        """Fetch many credentials in few requests.  Raises where a whole request fails."""
        keys = [key_of(**request) for request in requests]
        now = self.clock.elapsed()
        cached = 0
        errors: dict[int, AuthpipeError] = {}
        wanted = []
        for index, key in enumerate(keys):
            entry = self.cache.entries.get(key)
            if entry is not None and now < entry.fresh_until:
                cached += 1
            else:
                wanted.append((index, key))
        for begin in range(0, len(wanted), BATCH):
            chunk = wanted[begin : begin + BATCH]
            try:
                results = yield from self._batch([key for _, key in chunk])
            except InvalidRequest as invalid:
                invalid.field = field_in_whole(invalid.field, [index for index, _ in chunk])
                raise
            for (index, _), error in zip(chunk, results, strict=True):
                if error is None:
                    cached += 1
                else:
                    errors[index] = error
        return Warmed(cached=cached, errors=errors)

    def _batch(self, keys: Sequence[Key]) -> Steps[list[AuthpipeError | None]]:
        generation = self.cache.generation
        try:
            results = yield from read_batch(keys, self.clock, self._patient)
        except AuthpipeError as error:
            if isinstance(error, _PASSING):
                self.cache.unanswered(None, error, self.clock.elapsed())
            elif isinstance(error, AuthenticationFailed):
                self.cache.key_refused()
                self.tend()
            raise
        errors: list[AuthpipeError | None] = []
        for key, result in zip(keys, results, strict=True):
            if isinstance(result, AuthpipeError):
                self._failed(key, self.cache.entries.get(key), result, generation)
                errors.append(result)
            else:
                self.cache.store(key, result, self.clock.elapsed(), generation=generation)
                errors.append(None)
        self.tend()
        return errors

    def _ask(self, key: Key, entry: Entry | None, persistence: Persistence) -> Steps[Credential]:
        for _ in range(2):
            generation = self.cache.generation
            try:
                fetched = yield from fetch(key, self.clock, persistence)
            except AuthpipeError as error:
                self._failed(key, entry, error, generation)
                raise
            if self.cache.store(key, fetched, self.clock.elapsed(), generation=generation):
                break
            # A change was told while the answer was on its way, which may be from before it.
        self.tend()
        return fetched.credential

    def _failed(self, key: Key, entry: Entry | None, error: AuthpipeError, generation: int) -> None:
        now = self.clock.elapsed()
        if isinstance(error, _PASSING):
            self.cache.unanswered(entry, error, now)
        else:
            self.cache.refused(key, entry, error, now, generation=generation)
            self.tend()
