"""The files of one embedded PostgreSQL: how they are made, checked, configured and reached.

``DATA_DIR/postgres/`` appears whole or not at all and holds ``data/`` (PostgreSQL's own directory, and its
socket), the two passwords, ``server.log`` and ``.s.PGSQL.5432``, a link to the socket.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import shutil
import socket
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from authpipe.domain.errors import ConfigurationError
from authpipe.store.embedded_process import Programs

_OWNER = "authpipe_owner"
_DATABASE = "authpipe"
_PORT = 5432
_LOG_LIMIT_BYTES = 8 * 1024 * 1024
_DRAFT = "postgres.draft-"
_REMOVAL_TRIES = 250  # 20 ms apart
# sockaddr_un holds 108 bytes on Linux and 104 on macOS, the socket's name and the ending zero included.
_DIRECTORY_LIMIT_BYTES = 103 - len("/.s.PGSQL.5432")

# Nobody gets in without a password, not even through the socket.
_HBA = """\
local all all scram-sha-256
host all all 127.0.0.1/32 scram-sha-256
host all all ::1/128 scram-sha-256
"""

# Given on the command line, so that they hold for clusters made by earlier releases too.
_SETTINGS = {
    # An acknowledged commit is on the disk.
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "shared_buffers": "64MB",
    "max_connections": "200",
    # Relative to the data directory, so that neither its length nor its parents' permissions matter.
    "unix_socket_directories": ".",
    "unix_socket_permissions": "0700",
    # No statement, parameter or row may reach the log: errors (their text quotes values) go to the client
    # alone, and "terse" drops the DETAIL that quotes the statement a crashed session was running.
    "log_destination": "stderr",
    "logging_collector": "off",
    "log_line_prefix": "%m [%p] ",
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_statement": "none",
    "log_min_duration_statement": "-1",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
    "log_checkpoints": "off",
    "log_timezone": "UTC",
    "timezone": "UTC",
}


def _as_options(settings: dict[str, str]) -> list[str]:
    return [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]


@dataclass(frozen=True, slots=True)
class PidFile:
    """What the running, or a crashed, server wrote into ``postmaster.pid``."""

    pid: int
    port: int
    listens: bool
    ready: bool


class Cluster:
    """The directory ``data_dir/postgres``.  Methods that change it are for the holder of the owner lock."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.home = data_dir / "postgres"
        self.data = self.home / "data"
        self.log = self.home / "server.log"

    def prepare(self, programs: Programs) -> None:
        """Create the cluster if there is none; refuse one that ``programs`` cannot run.  Blocks."""
        for draft in self.data_dir.glob(f"{_DRAFT}*"):
            _remove(draft)
        if not self.home.exists():
            self._create(programs)
        try:
            made_by = (self.data / "PG_VERSION").read_text().strip()
        except (FileNotFoundError, NotADirectoryError):
            raise ConfigurationError(
                f"{self.home} is not a PostgreSQL cluster of Authpipe: move it away, "
                "or set AUTHPIPE_DATA_DIR to another directory"
            ) from None
        if made_by != str(programs.major):
            raise ConfigurationError(
                f"{self.home} was made by PostgreSQL {made_by}, the installed programs are version "
                f"{programs.major}: dump it with version {made_by} and restore it here, "
                "move it away to begin empty, or set AUTHPIPE_DATA_DIR to another directory"
            )

    def _create(self, programs: Programs) -> None:
        draft = Path(tempfile.mkdtemp(prefix=_DRAFT, dir=self.data_dir))
        self._own(draft)
        data = draft / "data"
        data.mkdir(mode=0o700)
        if programs.account is not None:
            os.chown(data, programs.account.uid, programs.account.gid)
        # The builtin provider (from 17 on) sorts and folds the same on every operating system.
        builtin = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
        programs.run(
            "initdb",
            data,
            [
                "--username=postgres",
                # No door is open before pg_hba.conf is replaced and the passwords are set.
                "--auth=reject",
                "--data-checksums",
                "--encoding=UTF8",
                *(builtin if programs.major >= 17 else ["--locale=C.UTF-8"]),
            ],
        )
        (data / "pg_hba.conf").write_text(_HBA)  # an existing file: it keeps its owner
        superuser, owner = (self._new_password(draft / f"{name}.password") for name in ("postgres", _OWNER))
        programs.run(
            "postgres",
            data,
            ["--single", *_as_options(_SETTINGS | {"exit_on_error": "on"}), "postgres"],
            stdin=f"ALTER ROLE postgres PASSWORD '{superuser}';\n"
            f"CREATE ROLE {_OWNER} LOGIN CREATEROLE PASSWORD '{owner}';\n"
            f"CREATE DATABASE {_DATABASE} OWNER {_OWNER};\n"
            f"REVOKE ALL ON DATABASE {_DATABASE} FROM PUBLIC;\n",
        )
        _sync(draft)
        draft.rename(self.home)
        _sync(self.data_dir)

    def _new_password(self, path: Path) -> str:
        password = secrets.token_hex(32)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(password)
            file.flush()
            os.fsync(file.fileno())
        self._own(path)
        return password

    def _own(self, path: Path) -> None:
        """As root in another user's data directory, what we make must stay usable for that user."""
        if os.geteuid() == 0:
            owner = self.data_dir.stat()
            os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)

    def options(self, tcp: bool) -> list[str]:
        """The server's command line.  With ``tcp`` a free loopback port is chosen, and kept if still free."""
        port = self._tcp_port() if tcp else _PORT
        link = self.home / f".s.PGSQL.{_PORT}"
        fresh = self.home / ".link"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(f"data/.s.PGSQL.{port}")
        self._own(fresh)
        fresh.replace(link)
        return _as_options(
            _SETTINGS | {"listen_addresses": "127.0.0.1" if tcp else "", "port": str(port)},
        )

    def _tcp_port(self) -> int:
        recorded = self.home / "tcp_port"
        with contextlib.suppress(FileNotFoundError, ValueError):
            port = int(recorded.read_text())
            if _bindable(port):
                return port
        port = _bindable(0)
        recorded.write_text(f"{port}\n")
        self._own(recorded)
        return port

    def pid_file(self) -> PidFile | None:
        """The server's own account of itself; None when there is none or it is half written."""
        try:
            lines = [line.strip() for line in (self.data / "postmaster.pid").read_text().splitlines()]
            return PidFile(int(lines[0]), int(lines[3]), bool(lines[5]), lines[7:8] == ["ready"])
        except (OSError, ValueError, IndexError):
            return None

    def answers(self) -> bool:
        """Whether a server for exactly this directory is ready.

        Only a process that has our socket open answers there, so a pid file left by a crash is not believed.
        """
        found = self.pid_file()
        if found is None or not found.ready:
            return False
        with socket.socket(socket.AF_UNIX) as probe:
            probe.setblocking(False)
            # EAGAIN: the server is there and its queue is full.
            failure = probe.connect_ex(str(self.socket_directory() / f".s.PGSQL.{_PORT}"))
            return failure in (0, errno.EAGAIN)

    def server_left_behind(self) -> int | None:
        """The pid of a server on this directory, or None; removes the lock files of one that is not there.

        Asked by the holder of the owner lock before it starts its own: a server still there has lost its
        owner.  PostgreSQL itself refuses to start while some other process has the pid of a stale file.
        """
        try:
            pid = int((self.data / "postmaster.pid").read_text().split("\n", 1)[0])
        except (OSError, ValueError):
            return None
        if self._is_ours(pid):
            return pid
        # PostgreSQL still notices sessions of a killed server by the shared memory they hold.
        for leftover in (self.data / "postmaster.pid", *self.data.glob(".s.PGSQL.*.lock")):
            leftover.unlink(missing_ok=True)
        return None

    def _is_ours(self, pid: int) -> bool:
        if not Path("/proc/self/cwd").exists():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, 0)
                return self.answers()
            return False
        try:
            return Path(f"/proc/{pid}/cwd").samefile(self.data)  # a server works inside its data directory
        except OSError:
            return False

    def socket_directory(self) -> Path:
        """Where clients find ``.s.PGSQL.5432``: the cluster, or a short link to it when its path is too long.

        A comma in the path also asks for the link: client libraries read it as a list of hosts.
        """
        if len(os.fsencode(self.home)) <= _DIRECTORY_LIMIT_BYTES and "," not in str(self.home):
            return self.home
        folder = Path(f"/tmp/authpipe-{os.geteuid()}")  # noqa: S108  # checked below; TMPDIR may be long itself
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        if found.st_uid != os.geteuid() or found.st_mode & 0o077 or folder.is_symlink():
            raise ConfigurationError(
                f"{folder} must be a directory of this user alone: remove it, "
                "or set AUTHPIPE_DATA_DIR to a shorter path"
            )
        link = folder / hashlib.sha256(os.fsencode(self.home)).hexdigest()[:16]
        with contextlib.suppress(FileExistsError):
            link.symlink_to(self.home)
        return link

    def dsn(self) -> str:
        """The database for its owner, who is no superuser.  The same before and after every restart."""
        password = (self.home / f"{_OWNER}.password").read_text()
        host = quote(str(self.socket_directory()), safe="")
        return f"postgresql://{_OWNER}:{password}@/{_DATABASE}?host={host}&port={_PORT}"

    def open_log(self) -> int:
        """The log, open for appending.  One earlier log is kept when it has grown past 8 MiB."""
        with contextlib.suppress(FileNotFoundError):
            if self.log.stat().st_size > _LOG_LIMIT_BYTES:
                self.log.replace(self.log.with_suffix(".log.1"))
        descriptor = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._own(self.log)
        return descriptor


def _bindable(port: int) -> int:
    """The port (any free one for 0) if loopback TCP can listen there now, else 0."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return 0
        return int(probe.getsockname()[1])


def _remove(draft: Path) -> None:
    """Programs of a first start that was killed may still write there, and tidy up, for a moment."""
    for _ in range(_REMOVAL_TRIES):
        shutil.rmtree(draft, ignore_errors=True)
        if not draft.exists():
            return
        time.sleep(0.02)
    raise ConfigurationError(f"{draft} is left from an interrupted start: remove it")


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
