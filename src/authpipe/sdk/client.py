"""The blocking client."""

from __future__ import annotations

import contextlib
import functools
import os
import weakref
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from authpipe.sdk.cache import Verdict
from authpipe.sdk.changes import Key
from authpipe.sdk.clock import Clock, SystemClock
from authpipe.sdk.core import Core
from authpipe.sdk.credential import Credential, CredentialFor
from authpipe.sdk.entry import Entry
from authpipe.sdk.errors import AuthpipeError
from authpipe.sdk.forking import survive_fork
from authpipe.sdk.resources import Connections, ConnectSessions, Credentials, Installations, Now
from authpipe.sdk.settings import read_settings
from authpipe.sdk.snapshot import snapshot_of
from authpipe.sdk.sync_driver import SyncDriver
from authpipe.sdk.sync_upkeep import SyncUpkeep
from authpipe.sdk.threads import Flights
from authpipe.sdk.warming import Warmed

if TYPE_CHECKING:
    import httpx2


class Authpipe:
    """A client of one environment of one Authpipe server.  Make one per process and share it.

    Thread-safe; usable after ``fork``; no connection before the first request and no thread before the first
    credential is cached.  Use as a context manager or call :meth:`close`.

    ``url`` and ``api_key`` default to ``AUTHPIPE_URL`` and ``AUTHPIPE_API_KEY``.  ``timeout_s`` bounds one
    call with all its retries.  ``max_staleness_s`` is how long a cached credential is used before the server
    is asked whether it still stands (in the background), ``refetch_retry_s`` the pause between two such
    questions that brought nothing new, ``max_entries`` how many credentials are kept, ``negative_s`` how long
    a NotConnected, ReauthorizationRequired or AmbiguousConnection is repeated without asking.

    ``stream`` (``AUTHPIPE_STREAM``, on) has the server tell of changes, which are effective here at once;
    while that works nothing has to be asked again.  ``snapshot`` (``AUTHPIPE_SNAPSHOT``, none) names a file
    that keeps the cache, encrypted, over a restart; it needs ``authpipe[snapshot]``.  ``transport`` is an
    httpx2 transport of your own (it must be usable after a fork, if you fork); ``clock`` replaces the
    machine's clocks.

    Raises ConfigurationError when the address or the key is missing or unusable.
    """

    __slots__ = (
        "__weakref__",
        "_core",
        "_driver",
        "_elapsed",
        "_flights",
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
        transport: httpx2.BaseTransport | None = None,
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
        self._driver = SyncDriver(settings, transport)
        self._flights: Flights[Credential] = Flights()
        kept = snapshot_of(self._core.cache, settings, self._core.clock)
        self._upkeep = SyncUpkeep(self._core, self._driver, kept, self._prefetch)
        self._core.tend = self._upkeep.tend
        # Bound once: the hit path is these two calls.
        self._look_up = self._core.cache.entries.get
        self._elapsed = self._core.clock.elapsed
        performer = Now(self._core, self._driver.pump)
        self.connect_sessions = ConnectSessions(performer)
        self.connections = Connections(performer)
        self.installations = Installations(performer)
        self.credentials = Credentials(performer)
        survive_fork(self)
        weakref.finalize(self, self._upkeep.let_go).atexit = False

    def get_credential(
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
        """A credential that works now, from memory wherever possible.

        ``credential_for="any"`` prefers the user's own credential and falls back to the installation's.
        ``installation_id`` or ``label`` choose where a tenant has several.  An answer was known to be good at
        most twice ``max_staleness_s`` ago, longer only while the server is away, and is never expired.

        Raises ReauthorizationRequired, NotConnected, AmbiguousConnection, ProviderUnavailable,
        AuthpipeUnavailable (server away and nothing unexpired in memory), AuthenticationFailed,
        PermissionDenied, RateLimited or InvalidRequest.
        """
        key = (provider, tenant_id, user_id, credential_for, installation_id, label, kind)
        entry = self._look_up(key)
        if entry is not None and self._elapsed() < entry.fresh_until:
            return entry.credential
        return self._served(key) or self._flights.share(key, lambda: self._obtain(key))

    def report_rejected(self, credential: Credential) -> Credential:
        """The credential to use instead of one that its provider has just refused (401).

        Every cached copy of it is dropped, and the server refreshes it, or asks the provider whether it is
        really dead: once, however many threads and processes report it.  The result may be the same version
        when the provider says that it is alive: then the refusal was about something else, such as a scope.

        Raises ReauthorizationRequired when it is dead, and otherwise what :meth:`get_credential` raises.
        """
        flight = ("rejected", credential.credential_id, credential.version)
        return self._flights.share(flight, lambda: self._driver.pump(self._core.report_rejected(credential)))

    def warm(self, requests: Sequence[Mapping[str, Any]]) -> Warmed:
        """Fill the cache with many credentials, 100 in each request to the server.

        Each item holds the arguments of one :meth:`get_credential` call; what is cached and fresh is not
        fetched again.  What one of them cannot have is in the result's ``errors``.

        Raises AuthpipeUnavailable, AuthenticationFailed, InvalidRequest and the like where a whole request
        fails (earlier ones keep their effect), and TypeError for an item with other arguments.
        """
        return self._driver.pump(self._core.warm(requests))

    def close(self) -> None:
        """Forget every credential, stop the threads and close the connections.  May be called twice."""
        self._upkeep.last_save()
        self._core.cache.close()
        self._upkeep.close()
        self._driver.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        settings = self._core.settings
        return f"{type(self).__name__}(url={settings.url!r}, api_key='{settings.masked_key}')"

    def _served(self, key: Key) -> Credential | None:
        verdict, entry = self._core.cache.judge(key, self._elapsed())
        if entry is None or verdict is Verdict.WAIT:
            refusal = self._core.cache.refusal(key, self._elapsed())
            if refusal is not None:
                raise refusal
            return None
        if verdict is Verdict.SERVE_AND_REFETCH:
            self._upkeep.background.submit(functools.partial(self._refetch, key, entry))
        return entry.credential

    def _obtain(self, key: Key) -> Credential:
        # Judged again: another thread's flight may have landed between our miss and our take-off.
        return self._served(key) or self._driver.pump(self._core.obtain(key, self._look_up(key)))

    def _refetch(self, key: Key, entry: Entry) -> None:
        self._driver.pump(self._core.refetch(key, entry))

    def _prefetch(self, key: Key) -> None:
        # A caller who comes meanwhile joins, and hears what went wrong.
        with contextlib.suppress(AuthpipeError):
            self._flights.share(key, lambda: self._obtain(key))

    def _after_fork(self) -> None:
        self._core.cache.after_fork()
        self._driver.after_fork()
        self._flights.after_fork()
        self._upkeep.after_fork()
