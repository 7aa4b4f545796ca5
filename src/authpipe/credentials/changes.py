"""Hears of changed credentials: PostgreSQL notifications, turned into wake-ups for those who wait."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import asyncpg

from authpipe.store.database import Database, is_outage
from authpipe.telemetry.logs import get_logger

_log = get_logger(__name__)

#: Seconds between two tries to listen again after the connection was lost.
_RETRY_S = 1.0
#: Seconds between two looks whether the connection still carries anything, and the longest one may take: a
#: network that swallows packets ends no connection.
_LOOK_S = 5.0
CHANNELS = (
    "authpipe_credentials",
    "authpipe_api_keys",
    "authpipe_provider_configs",
    "authpipe_keysets",
    "authpipe_changes",
)


class Changes:
    """One listening connection per process.

    Notifications are hints: they make waiting short, and nothing is wrong when one is lost.  Those who must
    not miss any use :meth:`on_gap`, which is called after every time the connection was away.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiters: dict[str, list[asyncio.Event]] = defaultdict(list)
        self._subscribers: dict[str, list[Callable[[str], None]]] = defaultdict(list)
        self._gaps: list[Callable[[], None]] = []
        self._task: asyncio.Task[None] | None = None
        self._listening = asyncio.Event()

    def start(self) -> None:
        """Begin to listen in the background."""
        self._task = asyncio.create_task(self._listen())

    async def listening(self) -> None:
        """Return once notifications are heard."""
        await self._listening.wait()

    @property
    def hearing(self) -> bool:
        """Whether notifications are heard now, as far as is known.  A lost connection shows at once, one that
        silently carries nothing within 10 s."""
        return self._listening.is_set()

    async def close(self) -> None:
        """Stop listening."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def on(self, channel: str, hear: Callable[[str], None]) -> None:
        """Call ``hear`` with each payload of a channel."""
        self._subscribers[channel].append(hear)

    def on_gap(self, forget: Callable[[], None]) -> None:
        """Call ``forget`` whenever notifications may have been missed."""
        self._gaps.append(forget)

    @contextlib.contextmanager
    def watching(self, credential_id: str) -> Iterator[asyncio.Event]:
        """An event that is set when the credential changes while the block runs."""
        event = asyncio.Event()
        self._waiters[credential_id].append(event)
        try:
            yield event
        finally:
            self._waiters[credential_id].remove(event)
            if not self._waiters[credential_id]:
                del self._waiters[credential_id]

    def _hear(self, _connection: Any, _pid: int, channel: str, payload: Any) -> None:
        text = str(payload)
        if channel == "authpipe_credentials":
            for event in self._waiters.get(text, ()):
                event.set()
        for hear in self._subscribers.get(channel, ()):
            try:
                hear(text)
            except Exception as error:  # noqa: BLE001  # one subscriber's fault must not silence the others
                _log.error("a notification was not understood", channel=channel, error=type(error).__name__)

    async def _watch(self, connection: asyncpg.Connection[Any], lost: asyncio.Event) -> None:
        """Return, or raise, when the connection is gone."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(lost.wait(), _LOOK_S)
                return
            await self._database.look(connection, timeout_s=_LOOK_S)

    async def _listen(self) -> None:
        while True:
            try:
                connection = await self._database.listener()
                try:
                    lost = asyncio.Event()
                    connection.add_termination_listener(lambda _connection, lost=lost: lost.set())
                    for channel in CHANNELS:
                        await connection.add_listener(channel, self._hear)
                    for forget in self._gaps:
                        forget()
                    self._listening.set()
                    await self._watch(connection, lost)
                finally:
                    self._listening.clear()
                    await connection.close(timeout=2)
            except Exception as error:  # noqa: BLE001  # whatever it was, hearing nothing for good is worse
                if not is_outage(error):
                    _log.error("listening failed", error=type(error).__name__)
            await asyncio.sleep(_RETRY_S)
