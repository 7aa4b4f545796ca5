"""The asyncio client."""

from __future__ import annotations

import asyncio
import contextlib
import os
import weakref
from collections.abc import Callable, Coroutine, Hashable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from authpipe.sdk.async_driver import AsyncDriver, LoopState
from authpipe.sdk.async_upkeep import AsyncUpkeep
from authpipe.sdk.cache import Verdict
from authpipe.sdk.changes import Key
from authpipe.sdk.clock import Clock, SystemClock
from authpipe.sdk.core import Core
from authpipe.sdk.credential import Credential, CredentialFor
from authpipe.sdk.errors import AuthpipeError
from authpipe.sdk.forking import survive_fork
from authpipe.sdk.resources import Awaited, Connections, ConnectSessions, Credentials, Installations
from authpipe.sdk.settings import read_settings
from authpipe.sdk.snapshot import snapshot_of
from authpipe.sdk.warming import Warmed

if TYPE_CHECKING:
    import httpx2


class AsyncAuthpipe:
    """The client of :class:`authpipe.Authpipe` for asyncio: same arguments, same rules, awaited.

    May be used from several event loops, at once or one after another (``asyncio.run`` twice); credentials
    are shared between them, connections are not.  Use as an async context manager or call :meth:`aclose`.
    """

    __slots__ = (
        "__weakref__",
        "_core",
        "_driver",
        "_elapsed",
        "_look_up",
        "_upkeep",
        "connect_sessions",
        "connections",
        "credentials",
        "installations",
    )

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        timeout_s: float = 30.0,
        max_staleness_s: float = 60.0,
        refetch_retry_s: float = 5.0,
        max_entries: int = 10_000,
        negative_s: float = 2.0,
        stream: bool | None = None,
        snapshot: str | os.PathLike[str] | None = None,
        transport: httpx2.AsyncBaseTransport | None = None,
        clock: Clock | None = None,
    ) -> None:
        settings = read_settings(
            url,
            api_key,
            timeout_s=timeout_s,
            max_staleness_s=max_staleness_s,
            refetch_retry_s=refetch_retry_s,
            max_entries=max_entries,
            negative_s=negative_s,
            stream=stream,
            snapshot=snapshot,
        )
        self._core = Core(settings, SystemClock() if clock is None else clock)
        self._driver = AsyncDriver(settings, transport)
        kept = snapshot_of(self._core.cache, settings, self._core.clock)
        self._upkeep = AsyncUpkeep(self._core, self._driver, kept, self._prefetch)
        self._core.tend = self._upkeep.tend
        # Bound once: the hit path is these two calls.
        self._look_up = self._core.cache.entries.get
        self._elapsed = self._core.clock.elapsed
        performer = Awaited(self._core, self._driver.pump)
        self.connect_sessions = ConnectSessions(performer)
        self.connections = Connections(performer)
        self.installations = Installations(performer)
        self.credentials = Credentials(performer)
        survive_fork(self)
        weakref.finalize(self, self._driver.let_go).atexit = False

    async def get_credential(
        self,
        *,
        provider: str,
        tenant_id: str,
        user_id: str | None = None,
        credential_for: CredentialFor = "any",
        installation_id: str | None = None,
        label: str | None = None,
        kind: str | None = None,
    ) -> Credential:
        """As :meth:`authpipe.Authpipe.get_credential`.  A hit does not yield to the event loop."""
        key = (provider, tenant_id, user_id, credential_for, installation_id, label, kind)
        entry = self._look_up(key)
        if entry is not None and self._elapsed() < entry.fresh_until:
            return entry.credential
        verdict, entry = self._core.cache.judge(key, self._elapsed())
        if entry is None or verdict is Verdict.WAIT:
            refusal = self._core.cache.refusal(key, self._elapsed())
            if refusal is not None:
                raise refusal
            return await self._shared(key, lambda: self._driver.pump(self._core.obtain(key, entry)))
        if verdict is Verdict.SERVE_AND_REFETCH:
            self._upkeep.in_background(self._driver.pump(self._core.refetch(key, entry)))
        return entry.credential

    async def report_rejected(self, credential: Credential) -> Credential:
        """As :meth:`authpipe.Authpipe.report_rejected`; tasks that report the same one share a request."""
        flight = ("rejected", credential.credential_id, credential.version)
        return await self._shared(flight, lambda: self._driver.pump(self._core.report_rejected(credential)))

    async def warm(self, requests: Sequence[Mapping[str, Any]]) -> Warmed:
        """As :meth:`authpipe.Authpipe.warm`."""
        return await self._driver.pump(self._core.warm(requests))

    async def aclose(self) -> None:
        """Forget every credential, cancel background tasks and close this loop's connections."""
        await self._upkeep.last_save()
        self._core.cache.close()
        await self._driver.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        settings = self._core.settings
        return f"{type(self).__name__}(url={settings.url!r}, api_key='{settings.masked_key}')"

    async def _shared(
        self, key: Hashable, attempt: Callable[[], Coroutine[Any, Any, Credential]]
    ) -> Credential:
        # The attempt is a task of its own, so that a caller who is cancelled takes nobody else down.
        state = self._driver.state()
        task = state.flights.get(key)
        first = task is None
        if task is None:
            task = asyncio.create_task(attempt())
            state.flights[key] = task
            task.add_done_callback(lambda landed: _land(state, key, landed))
        try:
            return await asyncio.shield(task)
        except AuthpipeError as error:
            if first:
                raise
            raise error.for_another_waiter() from None

    async def _prefetch(self, key: Key) -> None:
        # A caller who comes meanwhile joins, and hears what went wrong.
        with contextlib.suppress(AuthpipeError):
            await self._shared(key, lambda: self._driver.pump(self._core.obtain(key, None)))

    def _after_fork(self) -> None:
        self._core.cache.after_fork()
        self._driver.after_fork()
        self._upkeep.after_fork()


def _land(state: LoopState, key: Hashable, task: asyncio.Task[Credential]) -> None:
    if state.flights.get(key) is task:
        del state.flights[key]
    if not task.cancelled():
        # Retrieved, so that a failure nobody waited for any more is not reported as never retrieved.
        task.exception()
