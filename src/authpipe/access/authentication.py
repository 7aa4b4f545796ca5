"""From the text of an API key to the environment it opens."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from authpipe.access.key_text import key_hash, refused
from authpipe.access.known_keys import KnownKey, KnownKeys
from authpipe.credentials.changes import Changes
from authpipe.domain.clock import Clock
from authpipe.domain.environment import ApiKey, Environment
from authpipe.domain.secret import Secret
from authpipe.store.database import Database, is_outage
from authpipe.telemetry.logs import get_logger

#: How long a key is believed to be good without a word from the database.  Revocations are heard at once;
#: this bounds what a lost notification can cost.
TTL = timedelta(seconds=60)
_SIZE = 10_000
#: How often the last use of a key is written down.
_NOTED_EVERY = timedelta(minutes=1)
#: Lookups at a time.  A flood of invented keys must leave connections to those who have good ones.
_LOOKUPS = 4

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
    moment.  While notifications cannot be heard, what is known is believed for at most a minute.
    """

    def __init__(
        self, *, database: Database, changes: Changes, clock: Clock, size: int = _SIZE, ttl: timedelta = TTL
    ) -> None:
        self._database = database
        self._clock = clock
        self._known = KnownKeys(size=size, ttl=ttl)
        self._lookups = asyncio.Semaphore(_LOOKUPS)
        self._unwritten: dict[UUID, tuple[UUID, datetime]] = {}
        self._writer: asyncio.Task[None] | None = None
        changes.on("authpipe_api_keys", self._hear)
        changes.on_gap(self._known.forget_all)

    async def authenticate(self, text: Secret) -> Authenticated:
        """The key and its environment.

        Raises ``Unauthenticated``, with one message for every reason, and what the database raises when it
        is away and the key is not known.
        """
        hashed = key_hash(text)
        now = self._clock.now()
        known = self._known.find(hashed, now=now)
        if known is None:
            if self._known.is_refused(hashed, now=now):
                raise refused()
            known = await self._look_up(hashed)
            now = self._clock.now()
        if known.api_key.expires_at is not None and known.api_key.expires_at <= now:
            raise refused()
        self._note(known, now)
        return Authenticated(known.api_key, known.environment)

    async def close(self) -> None:
        """Finish writing down when keys were used."""
        if self._writer is not None:
            await asyncio.wait([self._writer])

    async def _look_up(self, hashed: bytes) -> KnownKey:
        async with self._lookups:
            # Others may have asked for the same key while this one waited.
            known = self._known.find(hashed, now=self._clock.now())
            if known is not None:
                return known
            generation = self._known.generation
            async with self._database.system() as transaction:
                key = await transaction.api_keys.by_hash(hashed)
                environment = None if key is None else await transaction.environments.get(key.environment_id)
        now = self._clock.now()
        if (
            key is None
            or environment is None
            or key.revoked_at is not None
            or (key.expires_at is not None and key.expires_at <= now)
        ):
            self._known.refuse(hashed, now=now)
            raise refused()
        return self._known.keep(hashed, key, environment, now=now, generation=generation)

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
