"""Change streams: the process hears of each change once and tells every stream that it concerns."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from uuid import UUID

from authpipe.credentials.change_frames import RESET, Change, heartbeat, hello, read_change
from authpipe.credentials.changes import Changes
from authpipe.credentials.subscription import Subscription
from authpipe.domain.clock import Clock
from authpipe.domain.environment import ApiKey
from authpipe.domain.identifiers import made_at, new_id
from authpipe.store.database import Database, is_outage
from authpipe.telemetry.logs import get_logger
from authpipe.telemetry.metrics import Metrics

_log = get_logger(__name__)

#: Seconds after which a stream that has nothing to tell shows that it lives.
HEARTBEAT_S = 10.0
#: Changes that may wait for a slow reader.
QUEUE = 1000
#: Seconds ago at most that a stream can go on from, and how far another machine's clock may be ahead.
RESUMABLE_S = 300.0
_AHEAD_S = 60.0
#: Seconds before that place from which changes are told again.  Ids say when an event was made, and its
#: transaction may commit later than those of events made after it; and a listening connection that silently
#: carries nothing is found out within 10 s, in which heartbeats went on.
OVERLAP_S = 30.0
#: Changes that are told again at the most, and so many at a time; beyond that a reset is the shorter way.
_MOST_MISSED = 10_000
_PAGE = 500
#: Transactions at a time: after a restart every stream comes at once, and others need connections too.
_LOOKUPS = 4
#: Seconds a new stream waits for notifications to be heard.
_HEARING_S = 5.0


class KeyEnded(Exception):
    """The API key was good a moment ago, and is not any more."""


class ChangeStreams:
    """The change streams of one process.

    A stream tells every change that was committed after it began, within milliseconds, or that it may have
    missed some.  Streams end when their API key changes or expires, and at :meth:`stop`.
    """

    def __init__(
        self,
        *,
        database: Database,
        changes: Changes,
        clock: Clock,
        metrics: Metrics,
        heartbeat_s: float = HEARTBEAT_S,
        queue: int = QUEUE,
    ) -> None:
        self._database = database
        self._changes = changes
        self._clock = clock
        self._metrics = metrics
        self._heartbeat_s = heartbeat_s
        self._queue = queue
        #: By environment, then by the one tenant they hear of (None: of all).
        self._open: dict[UUID, dict[str | None, set[Subscription]]] = defaultdict(lambda: defaultdict(set))
        self._stopped = False
        self._lookups = asyncio.Semaphore(_LOOKUPS)
        self._checking: set[asyncio.Task[None]] = set()
        changes.on("authpipe_changes", self._hear)
        changes.on("authpipe_api_keys", self._key_changed)
        changes.on_gap(self._gap)

    @asynccontextmanager
    async def subscribe(self, api_key: ApiKey) -> AsyncIterator[Subscription]:
        """Hear of changes from now on, for as long as the block lasts.

        Raises ``KeyEnded`` when the key was revoked meanwhile, and what an absent database raises: also
        while notifications are not heard.
        """
        if not self._changes.hearing:
            await asyncio.wait_for(self._changes.listening(), _HEARING_S)
        subscription = Subscription(api_key, limit=self._queue)
        place = self._open[api_key.environment_id]
        place[api_key.tenant_id].add(subscription)
        self._metrics.streams_open.inc()
        try:
            # The word of its end may have come between the look at it and this.
            current = await self._current(api_key)
            if current is None:
                raise KeyEnded
            subscription.api_key = current
            if self._stopped:
                subscription.end()
            yield subscription
        finally:
            self._metrics.streams_open.dec()
            place[api_key.tenant_id].discard(subscription)
            if not place[api_key.tenant_id]:
                del place[api_key.tenant_id]
            if not place:
                self._open.pop(api_key.environment_id, None)

    async def frames(
        self, subscription: Subscription, last_event_id: str | None
    ) -> AsyncGenerator[bytes, None]:
        """Everything the stream sends, from its first event on, until the subscription ends.

        ``last_event_id`` is what the reader heard last: it is told what it missed since, or a reset when that
        cannot be known.
        """
        after = None if last_event_id is None else _place(last_event_id)
        yield hello(after or new_id(), self._heartbeat_s)
        if after is not None:
            async for missed in self._missed(subscription, after):
                yield missed
        elif last_event_id is not None:
            self._metrics.stream_resets.labels("resume").inc()
            yield RESET
        while not self._is_over(subscription):
            frame = await subscription.next(self._patience_s(subscription))
            if frame is not None:
                yield frame
            elif self._changes.hearing and not self._is_over(subscription):
                yield heartbeat(new_id())

    def stop(self) -> None:
        """End every stream, and those that are still to come."""
        self._stopped = True
        for subscription in list(self._all()):
            subscription.end()

    async def _missed(self, subscription: Subscription, after: UUID) -> AsyncIterator[bytes]:
        """The changes since a place in time and somewhat before, from the event log."""
        key = subscription.api_key
        position = UUID(int=max((after.int >> 80) - int(OVERLAP_S * 1000), 0) << 80)
        for _ in range(_MOST_MISSED // _PAGE):
            async with self._lookups, self._database.environment(key.environment_id) as transaction:
                page = await transaction.events.changes(
                    key.environment_id, after=position, tenant_id=key.tenant_id, limit=_PAGE
                )
            changes = [read_change(payload) for payload in page]
            if changes:
                self._metrics.stream_changes.inc(len(changes))
                yield b"".join(change.frame for change in changes)
                position = changes[-1].event_id
            if len(changes) < _PAGE:
                return
        self._metrics.stream_resets.labels("resume").inc()
        yield RESET

    def _is_over(self, subscription: Subscription) -> bool:
        expires_at = subscription.api_key.expires_at
        return subscription.ended or (expires_at is not None and expires_at <= self._clock.now())

    def _patience_s(self, subscription: Subscription) -> float:
        expires_at = subscription.api_key.expires_at
        if expires_at is None:
            return self._heartbeat_s
        return min(self._heartbeat_s, max((expires_at - self._clock.now()).total_seconds(), 0.0))

    def _hear(self, payload: str) -> None:
        change = read_change(payload)
        sent = 0
        for subscription in self._concerned(change):
            sent += 1
            if not subscription.put(change.frame):
                self._metrics.stream_resets.labels("overflow").inc()
        self._metrics.stream_changes.inc(sent)

    def _concerned(self, change: Change) -> Iterator[Subscription]:
        place = self._open.get(change.environment_id)
        if place is None:
            return
        if change.tenant_id is None:
            for each in place.values():
                yield from each
            return
        for tenant_id in (None, change.tenant_id):
            yield from place.get(tenant_id, ())

    def _key_changed(self, payload: str) -> None:
        """Whatever it was: who still has a good key comes again and goes on from where it was."""
        for subscription in list(self._all()):
            if str(subscription.api_key.api_key_id) == payload:
                subscription.end()

    def _gap(self) -> None:
        """Changes were missed perhaps, and ends of keys."""
        open_ones = list(self._all())
        for subscription in open_ones:
            subscription.reset()
            self._metrics.stream_resets.labels("gap").inc()
        if open_ones:
            task = asyncio.create_task(self._end_unless_good(open_ones))
            self._checking.add(task)
            task.add_done_callback(self._checking.discard)

    async def _end_unless_good(self, subscriptions: list[Subscription]) -> None:
        by_key: dict[UUID, list[Subscription]] = defaultdict(list)
        for subscription in subscriptions:
            by_key[subscription.api_key.api_key_id].append(subscription)
        for same in by_key.values():
            try:
                current = await self._current(same[0].api_key)
            except Exception as error:  # noqa: BLE001  # who cannot be asked about must ask again
                level = _log.warning if is_outage(error) else _log.error
                level("change streams end: their API key cannot be looked up", error=type(error).__name__)
                current = None
            for subscription in same:
                if current is None:
                    subscription.end()
                else:
                    subscription.api_key = current

    async def _current(self, key: ApiKey) -> ApiKey | None:
        """The key as it is now, or None when it was revoked or is gone."""
        async with self._lookups, self._database.environment(key.environment_id) as transaction:
            current = await transaction.api_keys.get(key.environment_id, key.api_key_id)
        return None if current is None or current.revoked_at is not None else current

    def _all(self) -> Iterator[Subscription]:
        for place in self._open.values():
            for each in place.values():
                yield from each


def _place(last_event_id: str) -> UUID | None:
    """The place in time a stream can go on from, or None for one that means nothing or is too long ago."""
    try:
        identifier = UUID(last_event_id)
    except ValueError:
        return None
    made, now = made_at(identifier), made_at(new_id())
    if made is None or now is None or not -_AHEAD_S <= now - made <= RESUMABLE_S:
        return None
    return identifier
