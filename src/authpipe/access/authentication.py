"""From the text of an API key to the environment it opens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from authpipe.access.key_text import key_hash, refused
from authpipe.access.known_keys import KnownKey, KnownKeys
from authpipe.access.lookup_limits import LookupLimits
from authpipe.access.refusals import Refusal, Refusals
from authpipe.credentials.changes import Changes
from authpipe.domain.clock import Clock
from authpipe.domain.environment import ApiKey, Environment
from authpipe.domain.errors import RateLimited, Unauthenticated
from authpipe.domain.secret import Secret
from authpipe.store.database import Database, is_outage
from authpipe.telemetry.logs import get_logger

#: How long a key is believed to be good without a word from the database.  Revocations are heard at once;
#: this bounds what a lost notification can cost.
TTL = timedelta(seconds=60)
#: The same while notifications are not heard, so that a revocation is effective within a second then as well.
_TTL_DEAF = timedelta(seconds=0.5)
_SIZE = 10_000
#: How often the last use of a key is written down.
_NOTED_EVERY = timedelta(minutes=1)
#: Lookups at a time.  A flood of invented keys must leave connections to those who have good ones.
_LOOKUPS = 4
#: How many unknown keys may wait for theirs, and how long: about what is looked up in a second.
_MOST_WAITING = 500
_PATIENCE_S = 1.0

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Authenticated:
    """A good key.  ``environment`` may be up to a minute old: its id, name and kind never change, but its
    allow-lists do, so whoever decides by those reads them again."""

    api_key: ApiKey
    environment: Environment


class Authenticator:
    """Tells whose key a text is; usually without asking the database.

    A revocation in any replica is heard through ``changes`` and takes effect at once, an expiry at its
    moment.  While notifications cannot be heard, what is known is believed for half a second.

    Keys nobody was given cost a hash and two looks into memory.  Those that are new are looked up in the
    database, a few at a time, and not at all from where too many came.  When too many come from everywhere,
    they wait for up to a second.  None of that concerns a key this process has found to be good before.
    """

    def __init__(
        self,
        *,
        database: Database,
        changes: Changes,
        clock: Clock,
        refusals: Refusals,
        limits: LookupLimits | None = None,
        size: int = _SIZE,
        ttl: timedelta = TTL,
    ) -> None:
        self._database = database
        self._changes = changes
        self._clock = clock
        self._refusals = refusals
        self._limits = limits or LookupLimits(clock)
        self._known = KnownKeys(size=size, ttl=ttl)
        self._lookups = asyncio.Semaphore(_LOOKUPS)
        self._lookups_again = asyncio.Semaphore(_LOOKUPS)
        self._waiting = 0
        self._running: dict[tuple[bytes, str | None, int], asyncio.Task[KnownKey]] = {}
        self._unwritten: dict[UUID, tuple[UUID, datetime]] = {}
        self._writer: asyncio.Task[None] | None = None
        changes.on("authpipe_api_keys", self._hear)
        changes.on_gap(self._known.forget_all)

    async def authenticate(self, text: Secret | None, *, source: str | None = None) -> Authenticated:
        """The key and its environment.  ``text`` None stands for a request without one.

        ``source`` is the address the request came from.  Raises ``Unauthenticated``, with one message for
        every reason, ``RateLimited`` when the key is not known and too many came that were no good, and what
        the database raises when it is away and the key is not known.
        """
        hashed = self._hash(text)
        now = self._clock.now()
        known = self._find(hashed, now)
        if known is None:
            reason = self._known.refusal(hashed, now=now)
            if reason is not None:
                raise self._refused(reason)
            self._check_limits(hashed, source)
            known = await self._looked_up(hashed, source)
            now = self._clock.now()
        if known.api_key.expires_at is not None and known.api_key.expires_at <= now:
            raise self._refused(Refusal.EXPIRED)
        self._note(known, now)
        return Authenticated(known.api_key, known.environment)

    async def close(self) -> None:
        """Finish lookups under way, and writing down when keys were used."""
        if self._running:
            await asyncio.wait(list(self._running.values()))
        if self._writer is not None:
            await asyncio.wait([self._writer])

    def _hash(self, text: Secret | None) -> bytes:
        try:
            if text is None:
                raise refused()
            return key_hash(text)
        except Unauthenticated:
            self._refusals.count(Refusal.MALFORMED)
            raise

    def _find(self, hashed: bytes, now: datetime) -> KnownKey | None:
        known = self._known.find(hashed, now=now)
        if known is not None and not self._changes.hearing and now - known.since >= _TTL_DEAF:
            return None
        return known

    def _check_limits(self, hashed: bytes, source: str | None) -> None:
        if self._known.was_good(hashed):
            return
        wait_s = self._limits.wait_s(source)
        if wait_s > 0:
            raise self._limited(wait_s)

    def _limited(self, wait_s: float) -> RateLimited:
        self._refusals.count(Refusal.LIMITED)
        return RateLimited("too many unknown API keys were sent: try again later", retry_after_s=wait_s)

    def _refused(self, reason: Refusal) -> Unauthenticated:
        self._refusals.count(reason)
        return refused()

    async def _looked_up(self, hashed: bytes, source: str | None) -> KnownKey:
        """One lookup for all who ask for a key at the same time, from the same place.

        Not for those who ask after something changed: what was read before is nothing to them.
        """
        place = hashed, source, self._known.generation
        running = self._running.get(place)
        if running is None:
            running = self._running[place] = asyncio.create_task(self._look_up(hashed, source))
            running.add_done_callback(lambda _task: self._running.pop(place))
        # Others wait for it too: it goes on when the first of them hangs up.
        return await asyncio.shield(running)

    async def _look_up(self, hashed: bytes, source: str | None) -> KnownKey:
        async with self._lookups_again if self._known.was_good(hashed) else self._turn():
            # The key may have been found, from elsewhere, or the limit reached, while this one waited.
            known = self._find(hashed, self._clock.now())
            if known is not None:
                return known
            self._check_limits(hashed, source)
            generation = self._known.generation
            async with self._database.system() as transaction:
                key = await transaction.api_keys.by_hash(hashed)
                environment = None if key is None else await transaction.environments.get(key.environment_id)
            now = self._clock.now()
            if key is None or environment is None:
                reason = Refusal.UNKNOWN
            elif key.revoked_at is not None:
                reason = Refusal.REVOKED
            elif key.expires_at is not None and key.expires_at <= now:
                reason = Refusal.EXPIRED
            else:
                return self._known.keep(hashed, key, environment, now=now, generation=generation)
            self._known.refuse(hashed, reason, now=now)
            self._limits.charge(source)
        raise self._refused(reason)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """One of the lookups at a time, when the process may begin another.

        Raises ``RateLimited`` when that takes longer than somebody with a good key should wait.
        """
        if self._waiting >= _MOST_WAITING:
            raise self._limited(_PATIENCE_S)
        self._waiting += 1
        try:
            async with asyncio.timeout(_PATIENCE_S), AsyncExitStack() as stack:
                await stack.enter_async_context(self._lookups)
                while (wait_s := self._limits.process_wait_s()) > 0:  # noqa: ASYNC110  # for time to pass
                    await asyncio.sleep(wait_s)
                held = stack.pop_all()
        except TimeoutError:
            raise self._limited(_PATIENCE_S) from None
        finally:
            self._waiting -= 1
        async with held:
            yield

    def _hear(self, payload: str) -> None:
        try:
            self._known.forget(UUID(payload))
        except ValueError:
            self._known.forget_all()

    def _note(self, known: KnownKey, now: datetime) -> None:
        """Have the use written down in the background, when the last note is a minute old."""
        if known.noted_at is not None and now - known.noted_at < _NOTED_EVERY:
            return
        known.noted_at = now
        self._unwritten[known.api_key.api_key_id] = (known.api_key.environment_id, now)
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write())

    async def _write(self) -> None:
        """One key after the other, on one connection at most."""
        while self._unwritten:
            api_key_id, (environment_id, used_at) = self._unwritten.popitem()
            try:
                async with self._database.environment(environment_id) as transaction:
                    await transaction.api_keys.touch(
                        environment_id, api_key_id, at=used_at, unless_since=used_at - _NOTED_EVERY
                    )
            except Exception as error:  # noqa: BLE001  # a note that cannot be made is no reason to stop
                level = _log.info if is_outage(error) else _log.error
                level("the use of an API key was not noted", error=type(error).__name__)
