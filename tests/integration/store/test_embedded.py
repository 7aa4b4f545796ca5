"""The embedded PostgreSQL: made once, shared, killed in every way, and nothing committed is ever lost."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Self

import asyncpg
import pytest

from authpipe.domain.errors import ConfigurationError
from authpipe.store.embedded import EmbeddedPostgres, default_data_dir, find_system_binaries
from authpipe.store.embedded_process import account_for, wheel_binaries

IS_ROOT = os.geteuid() == 0
DEADLINE_S = 20
LOST = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
STARTED = "SELECT pg_postmaster_start_time()"
SOURCES = Path(__file__).parents[3] / "src"

# Another user of the directory: says its DSN when the server is ready, leaves when its input ends.
PEER = """
import asyncio, json, sys
from pathlib import Path
from authpipe.store import embedded_process
from authpipe.store.embedded import EmbeddedPostgres

async def main():
    server = EmbeddedPostgres(Path(sys.argv[1]), binaries=Path(sys.argv[2]) if sys.argv[2] else None)
    print(json.dumps(await server.start()), flush=True)
    AFTER_START
    await asyncio.to_thread(sys.stdin.read)
    await server.stop()

asyncio.run(main())
"""
FORKS_A_CHILD = "import os, time; os.fork() == 0 and (os.closerange(0, 3), time.sleep(60), os._exit(0))"


@pytest.fixture(params=["wheel", "system"])
def binaries(request: pytest.FixtureRequest) -> Path | None:
    if request.param == "wheel":
        return None
    return find_system_binaries() or pytest.skip("no PostgreSQL server of version 15 or newer is installed")


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    directory = tmp_path / "state"
    yield directory
    assert servers_of(directory) == []


def servers_of(data_dir: Path) -> list[int]:
    """Every process of every server on the directory: a PostgreSQL process works inside its data."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (entry / "cwd").readlink() == data_dir / "postgres" / "data":
                found.append(int(entry.name))
    return found


def postmaster(data_dir: Path) -> int:
    return int((data_dir / "postgres/data/postmaster.pid").read_text().split()[0])


async def until(condition: Callable[[], object], what: str) -> None:
    try:
        async with asyncio.timeout(DEADLINE_S):
            while not condition():
                await asyncio.sleep(0.01)
    except TimeoutError:
        pytest.fail(f"not within {DEADLINE_S} seconds: {what}")


class Peer:
    """A process of its own that uses the data directory."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    @classmethod
    async def begin(
        cls,
        data_dir: Path,
        binaries: Path | None,
        *,
        python: str = sys.executable,
        user: str | None = None,
        after_start: str = "pass",
        before: str = "",
        path: str = "",
    ) -> Peer:
        code = before + PEER.replace("AFTER_START", after_start)
        search = os.pathsep.join(
            filter(None, [path, str(SOURCES), *(p for p in sys.path if "site-pack" in p)])
        )
        account = (
            {} if user is None else {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}
        )
        process = await asyncio.create_subprocess_exec(
            python,
            "-c",
            code,
            str(data_dir),
            str(binaries or ""),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"PYTHONPATH": search, "PYTHONDONTWRITEBYTECODE": "1"},
            cwd="/",
            **account,
        )
        return cls(process)

    async def dsn(self) -> str:
        assert self.process.stdout is not None
        async with asyncio.timeout(DEADLINE_S):
            line = await self.process.stdout.readline()
        assert line, f"the peer ended with {await self.process.wait()}"
        return str(json.loads(line))

    async def leave(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        async with asyncio.timeout(DEADLINE_S):
            assert await self.process.wait() == 0

    async def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()


class Writer:
    """Commits one row after another, connects anew when it must, and remembers what was acknowledged."""

    def __init__(self, dsn: str) -> None:
        self.acknowledged: list[int] = []
        self._dsn = dsn
        self._end = asyncio.Event()

    async def __aenter__(self) -> Self:
        await execute(self._dsn, "CREATE TABLE IF NOT EXISTS written (number bigint)")
        self._task = asyncio.create_task(self._write())
        await self.writes_on()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._end.set()
        await self._task

    async def writes_on(self) -> None:
        enough = len(self.acknowledged) + 50
        await until(lambda: len(self.acknowledged) >= enough, "the writer commits 50 more rows")

    async def _write(self) -> None:
        connection: asyncpg.Connection | None = None
        number = 0
        while not self._end.is_set():
            number += 1
            try:
                connection = connection or await asyncpg.connect(self._dsn, timeout=5)
                await connection.execute("INSERT INTO written VALUES ($1)", number)
                self.acknowledged.append(number)
            except LOST:
                if connection is not None:
                    connection.terminate()
                connection = None
                await asyncio.sleep(0.01)
        if connection is not None:
            connection.terminate()


async def connect(dsn: str) -> asyncpg.Connection:
    """Connect like any client of a server that may be starting again just now: try until it answers."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                return await asyncpg.connect(dsn)
            except LOST:
                await asyncio.sleep(0.01)


async def execute(dsn: str, statement: str) -> list[asyncpg.Record]:
    connection = await connect(dsn)
    try:
        return await connection.fetch(statement)
    finally:
        await connection.close()


async def written(dsn: str) -> set[int]:
    return {record["number"] for record in await execute(dsn, "SELECT number FROM written")}


@contextlib.asynccontextmanager
async def running(data_dir: Path, binaries: Path | None = None, *, tcp: bool = False) -> AsyncIterator[str]:
    async with EmbeddedPostgres(data_dir, binaries=binaries, tcp=tcp) as server:
        yield await server.ensure()


async def test_first_start_makes_a_private_cluster_and_second_start_reuses_it(
    data_dir: Path, binaries: Path | None
) -> None:
    """The passwords are readable by us alone and the rows of the first run are there in the second."""
    async with running(data_dir, binaries) as first:
        await execute(first, "CREATE TABLE kept AS SELECT 42 AS answer")
        home = data_dir / "postgres"
        modes = {path.name: oct(path.stat().st_mode & 0o777) for path in (data_dir, home, home / "data")}
        assert set(modes.values()) == {"0o700"}
        assert {oct(path.stat().st_mode & 0o777) for path in home.glob("*.password")} == {"0o600"}
    async with running(data_dir, binaries) as second:
        assert second == first
        assert [record["answer"] for record in await execute(second, "SELECT answer FROM kept")] == [42]


async def test_the_owner_is_no_superuser_and_may_step_down_to_a_role_it_made(
    data_dir: Path, binaries: Path | None
) -> None:
    """What row-level security needs: an owner it applies to, and a role without the owner's rights."""
    async with running(data_dir, binaries) as dsn:
        connection = await asyncpg.connect(dsn)
        await connection.execute(
            "CREATE ROLE authpipe_app NOLOGIN; GRANT authpipe_app TO CURRENT_USER; SET ROLE authpipe_app"
        )
        assert await connection.fetchval("SELECT current_user") == "authpipe_app"
        roles = await connection.fetch("SELECT rolname FROM pg_roles WHERE rolsuper OR rolbypassrls")
        assert [record["rolname"] for record in roles] == ["postgres"]
        await connection.close()


async def test_the_server_is_durable_checksummed_and_closed_without_a_password(
    data_dir: Path, binaries: Path | None
) -> None:
    """The settings that keep an acknowledged row are on, and every door asks for scram-sha-256."""
    async with running(data_dir, binaries) as dsn:
        names = ("fsync", "full_page_writes", "synchronous_commit", "data_checksums")
        for name in names:
            assert (await execute(dsn, f"SHOW {name}"))[0][0] == "on"
        assert (await execute(dsn, "SHOW listen_addresses"))[0][0] == ""
        assert (await execute(dsn, "SHOW server_encoding"))[0][0] == "UTF8"
        assert (await execute(dsn, "SELECT lower('É')"))[0][0] == "é"
        for user in ("postgres", "authpipe_owner"):
            with pytest.raises(asyncpg.InvalidPasswordError):
                await asyncpg.connect(dsn, user=user, password="wrong")


async def test_tcp_is_loopback_only_and_keeps_its_port(data_dir: Path, binaries: Path | None) -> None:
    """A client set up with the port finds it again; the DSN over the socket is the same with and without."""
    async with EmbeddedPostgres(data_dir, binaries=binaries, tcp=True) as server:
        port, dsn = server.tcp_port, await server.ensure()
        assert (await execute(dsn, "SHOW listen_addresses"))[0][0] == "127.0.0.1"
        connection = await asyncpg.connect(dsn, host="127.0.0.1", port=port)
        await connection.close()
    async with EmbeddedPostgres(data_dir, binaries=binaries, tcp=True) as server:
        assert server.tcp_port == port
    with socket.create_server(("127.0.0.1", port or 0)):
        async with EmbeddedPostgres(data_dir, binaries=binaries, tcp=True) as server:
            assert server.tcp_port not in (None, port)
    async with EmbeddedPostgres(data_dir, binaries=binaries) as server:
        assert server.tcp_port is None
        assert (await execute(dsn, "SELECT 1"))[0][0] == 1


async def test_two_processes_share_one_server(data_dir: Path, binaries: Path | None) -> None:
    """The second one joins the first one's server, and its leaving disturbs nobody."""
    async with running(data_dir, binaries) as dsn:
        before = postmaster(data_dir)
        peer = await Peer.begin(data_dir, binaries)
        assert await peer.dsn() == dsn
        await peer.leave()
        assert postmaster(data_dir) == before
        assert (await execute(dsn, "SELECT 1"))[0][0] == 1


async def test_four_processes_that_start_first_at_once_initialise_once(
    data_dir: Path, binaries: Path | None
) -> None:
    """One makes the cluster and starts the server, three join it."""
    peers = [await Peer.begin(data_dir, binaries) for _ in range(4)]
    assert len({await peer.dsn() for peer in peers}) == 1
    assert (data_dir / "postgres/server.log").read_text().count("LOG:  starting PostgreSQL") == 1
    assert sorted(path.name for path in data_dir.iterdir()) == ["postgres", "postgres.lock"]
    for peer in peers:
        await peer.leave()


async def test_an_owner_that_leaves_hands_the_server_to_one_that_stays(
    data_dir: Path, binaries: Path | None
) -> None:
    """The one that stays starts the server again and its writer goes on with every acknowledged row."""
    owner = await Peer.begin(data_dir, binaries)
    dsn = await owner.dsn()
    async with running(data_dir, binaries):
        async with Writer(dsn) as writer:
            await owner.leave()
            await writer.writes_on()
        assert set(writer.acknowledged) <= await written(dsn)


async def test_kill_9_of_the_server_loses_no_acknowledged_row(data_dir: Path, binaries: Path | None) -> None:
    """The owner starts it again by itself, each time, while a writer keeps committing."""
    async with running(data_dir, binaries) as dsn:
        async with Writer(dsn) as writer:
            for _ in range(3):
                killed = (await execute(dsn, STARTED))[0][0]
                os.kill(postmaster(data_dir), signal.SIGKILL)
                # Its sessions may go on for a moment, so more rows do not prove another server.
                while (await execute(dsn, STARTED))[0][0] == killed:
                    await asyncio.sleep(0.01)
                await writer.writes_on()
        assert set(writer.acknowledged) <= await written(dsn)


async def test_kill_9_of_the_owner_while_another_is_joined_is_recovered(
    data_dir: Path, binaries: Path | None
) -> None:
    """The other process takes the server over and its writer goes on with every acknowledged row."""
    owner = await Peer.begin(data_dir, binaries)
    dsn = await owner.dsn()
    async with running(data_dir, binaries):
        async with Writer(dsn) as writer:
            await owner.kill()
            await writer.writes_on()
        assert set(writer.acknowledged) <= await written(dsn)


@pytest.mark.parametrize("guard", ["kernel", "pipe"])
async def test_kill_9_of_python_leaves_nothing_running_and_every_row(
    data_dir: Path, binaries: Path | None, guard: str
) -> None:
    """The same by the kernel's death signal and by the pipe that other systems than Linux rely on."""
    before = "from authpipe.store import embedded_process; embedded_process._PRCTL = None\n"
    owner = await Peer.begin(data_dir, binaries, before=before if guard == "pipe" else "")
    async with Writer(await owner.dsn()) as writer:
        assert servers_of(data_dir)
        await owner.kill()
        await until(lambda: not servers_of(data_dir), "no process of the server is left")
    async with running(data_dir, binaries) as dsn:
        assert set(writer.acknowledged) <= await written(dsn)


async def test_kill_9_of_server_and_owner_at_once_loses_no_acknowledged_row(
    data_dir: Path, binaries: Path | None
) -> None:
    """Sessions that outlive their server for a moment do not keep the next start from succeeding."""
    owner = await Peer.begin(data_dir, binaries)
    async with Writer(await owner.dsn()) as writer:
        os.kill(postmaster(data_dir), signal.SIGKILL)
        await owner.kill()
        async with running(data_dir, binaries) as dsn:
            await writer.writes_on()
            assert set(writer.acknowledged) <= await written(dsn)


async def test_a_session_that_outlives_its_killed_server_only_delays_the_next_start(
    data_dir: Path, binaries: Path | None
) -> None:
    """PostgreSQL refuses to start beside it; the start goes on as soon as it has ended."""
    owner = await Peer.begin(data_dir, binaries)
    connection = await asyncpg.connect(await owner.dsn())
    session = connection.get_server_pid()
    os.kill(session, signal.SIGSTOP)
    os.kill(postmaster(data_dir), signal.SIGKILL)
    await owner.kill()
    server = EmbeddedPostgres(data_dir, binaries=binaries)
    start = asyncio.create_task(server.start())
    log = data_dir / "postgres/server.log"
    await until(lambda: "is still in use" in log.read_text(), "PostgreSQL refuses to start")
    os.kill(session, signal.SIGCONT)
    assert (await execute(await start, "SELECT 1"))[0][0] == 1
    await server.stop()
    connection.terminate()


async def test_a_child_forked_by_the_owner_does_not_keep_the_server_from_being_taken_over(
    data_dir: Path,
) -> None:
    """A forked worker that lives on holds no copy of the owner's lock."""
    owner = await Peer.begin(data_dir, None, after_start=FORKS_A_CHILD)
    dsn = await owner.dsn()
    children = Path(f"/proc/{owner.process.pid}/task/{owner.process.pid}/children")
    await until(children.read_text, "the owner has forked")
    child = int(children.read_text().split()[0])
    async with running(data_dir), Writer(dsn) as writer:
        await owner.kill()
        await writer.writes_on()
    os.kill(child, signal.SIGKILL)


async def test_a_kill_in_the_middle_of_the_first_start_leaves_nothing_half_made(
    data_dir: Path, binaries: Path | None
) -> None:
    """The cluster appears whole or not at all, and the next start clears the rest away."""
    peer = await Peer.begin(data_dir, binaries)
    await until(lambda: list(data_dir.glob("postgres.draft-*/data/base")), "initdb is at work")
    await peer.kill()
    assert not (data_dir / "postgres").exists()
    async with running(data_dir, binaries) as dsn:
        assert (await execute(dsn, "SELECT 1"))[0][0] == 1
    assert sorted(path.name for path in data_dir.iterdir()) == ["postgres", "postgres.lock"]


async def test_a_cancelled_first_start_leaves_nothing_running(data_dir: Path) -> None:
    """Ctrl-C while the database is being made: the lock is free again and the next start succeeds."""
    server = EmbeddedPostgres(data_dir)
    start = asyncio.create_task(server.start())
    await until(lambda: list(data_dir.glob("postgres.draft-*")), "the start is under way")
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    assert servers_of(data_dir) == []
    async with running(data_dir) as dsn:
        assert (await execute(dsn, "SELECT 1"))[0][0] == 1


async def test_a_stale_pid_file_is_not_believed(data_dir: Path, binaries: Path | None) -> None:
    """The pid of a crashed server may be another program's by now: that one is left alone."""
    owner = await Peer.begin(data_dir, binaries)
    await owner.dsn()
    pid_file = data_dir / "postgres/data/postmaster.pid"
    lines = pid_file.read_text().splitlines()
    await owner.kill()
    await until(lambda: not servers_of(data_dir), "no process of the server is left")
    account = account_for(data_dir / "postgres/data")
    identity = {} if account is None else {"user": account.uid, "group": account.gid, "extra_groups": []}
    stranger = subprocess.Popen(["/bin/sleep", "60"], **identity)
    lines[0] = str(stranger.pid)
    pid_file.write_text("\n".join(lines) + "\n")
    async with running(data_dir, binaries) as dsn:
        assert (await execute(dsn, "SELECT 1"))[0][0] == 1
        assert postmaster(data_dir) != stranger.pid
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()


@pytest.mark.parametrize("name", ["with spaces, a comma & ünïcode?#%", "long" * 40])
async def test_any_path_will_do(tmp_path: Path, binaries: Path | None, name: str) -> None:
    """Neither odd characters nor a path too long for a socket's address keep the server from starting."""
    data_dir = tmp_path / name
    async with running(data_dir, binaries) as dsn:
        peer = await Peer.begin(data_dir, binaries)
        assert await peer.dsn() == dsn
        assert (await execute(dsn, "SELECT 1"))[0][0] == 1
        await peer.leave()


async def test_no_statement_parameter_or_row_reaches_the_log(data_dir: Path, binaries: Path | None) -> None:
    """Not even through an error that quotes a value, nor when a session crashes in mid-statement."""
    async with running(data_dir, binaries) as dsn:
        connection = await asyncpg.connect(dsn)
        await connection.execute("CREATE TABLE secret (value text PRIMARY KEY)")
        await connection.execute("INSERT INTO secret VALUES ($1)", "canary-row")
        await connection.execute("SET log_parameter_max_length_on_error = -1")
        with pytest.raises(asyncpg.UniqueViolationError):
            await connection.execute("INSERT INTO secret VALUES ($1)", "canary-row")
        with pytest.raises(asyncpg.InvalidTextRepresentationError):
            await connection.execute("SELECT 'canary-literal'::int")
        with pytest.raises(asyncpg.PostgresSyntaxError):
            await connection.execute("SELEKT 'canary-syntax'")
        crash = asyncio.create_task(connection.execute("SELECT pg_sleep(60), 'canary-crash'"))
        watched = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(60)%'"
        while not (found := await execute(dsn, watched)):
            await asyncio.sleep(0.01)
        os.kill(found[0]["pid"], signal.SIGKILL)
        with pytest.raises(LOST):
            await crash
        connection.terminate()
    log = (data_dir / "postgres/server.log").read_text()
    assert "was terminated by signal 9" in log
    assert "canary" not in log


async def test_another_major_version_is_refused_with_the_remedy(data_dir: Path) -> None:
    """The message names the directory, both versions and what to do; the directory is left as it was."""
    async with running(data_dir):
        pass
    version = data_dir / "postgres/data/PG_VERSION"
    version.write_text("14\n")
    with pytest.raises(ConfigurationError, match=r"made by PostgreSQL 14.*AUTHPIPE_DATA_DIR") as refused:
        await EmbeddedPostgres(data_dir).start()
    assert str(data_dir / "postgres") in refused.value.message
    assert version.read_text() == "14\n"


async def test_a_directory_that_is_no_cluster_is_refused_and_left_alone(data_dir: Path) -> None:
    """What somebody else keeps under our name is not touched."""
    (data_dir / "postgres").mkdir(parents=True)
    (data_dir / "postgres/diary.txt").write_text("dear diary")
    with pytest.raises(ConfigurationError, match="is not a PostgreSQL cluster"):
        await EmbeddedPostgres(data_dir).start()
    assert (data_dir / "postgres/diary.txt").read_text() == "dear diary"


async def test_a_server_that_cannot_start_is_reported_with_the_end_of_its_log(
    data_dir: Path, binaries: Path | None
) -> None:
    """The message has the server's last words, and the next start works once the cause is gone."""
    async with running(data_dir, binaries):
        pass
    configuration = data_dir / "postgres/data/postgresql.conf"
    good = configuration.read_text()
    configuration.write_text(good + "\nno_such_setting = 1\n")
    with pytest.raises(ConfigurationError, match=r"configuration file .* contains errors") as refused:
        await EmbeddedPostgres(data_dir, binaries=binaries).start()
    assert "no_such_setting" in (refused.value.detail or "")
    configuration.write_text(good)
    async with running(data_dir, binaries) as dsn:
        assert (await execute(dsn, "SELECT 1"))[0][0] == 1


async def test_unusable_places_are_refused_with_the_remedy(tmp_path: Path) -> None:
    """A file where the data directory should be, and a folder without PostgreSQL's programs."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="AUTHPIPE_DATA_DIR"):
        await EmbeddedPostgres(tmp_path / "file").start()
    with pytest.raises(ConfigurationError, match="AUTHPIPE_DATABASE_URL"):
        await EmbeddedPostgres(tmp_path / "state", binaries=tmp_path).start()


def test_the_default_directory_is_the_users_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty home directory is enough, and looking does not create anything."""
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_data_dir().is_relative_to(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A directory every account can walk to, which pytest's own are not."""
    place = Path(tempfile.mkdtemp(prefix="authpipe-test-"))
    place.chmod(0o755)
    yield place
    shutil.rmtree(place)


@pytest.mark.skipif(not IS_ROOT, reason="only root can become a normal user")
async def test_a_normal_user_runs_it_and_root_may_join_it(open_place: Path, binaries: Path | None) -> None:
    """Everything in the directory stays that user's, also what root makes in it."""
    python = next((p for p in (sys.executable, "/usr/bin/python3") if _runs_for_nobody(p)), None)
    if python is None:
        pytest.skip("no interpreter of this version that a normal user can run")
    data_dir = open_place / "state"
    data_dir.mkdir(mode=0o700)
    shutil.chown(data_dir, "nobody", "nogroup")
    async with running(data_dir, binaries):
        pass  # root is the first, and makes everything
    peer = await Peer.begin(data_dir, binaries, python=python, user="nobody")
    async with Writer(await peer.dsn()) as writer, running(data_dir, binaries) as dsn:
        await peer.kill()
        await writer.writes_on()
        assert set(writer.acknowledged) <= await written(dsn)
    owners = {path.lstat().st_uid for path in data_dir.rglob("*")}
    assert owners == {pwd.getpwnam("nobody").pw_uid}
    again = await Peer.begin(data_dir, binaries, python=python, user="nobody")
    assert set(writer.acknowledged) <= await written(await again.dsn())
    await again.kill()
    await until(lambda: not servers_of(data_dir), "no process of the server is left")


def _runs_for_nobody(python: str) -> bool:
    show = "import sys; print(sys.version_info[:2])"
    with contextlib.suppress(OSError):
        answer = subprocess.run(
            [python, "-c", show], user="nobody", cwd="/", capture_output=True, text=True, check=False
        )
        return answer.stdout.strip() == str(sys.version_info[:2])
    return False


@pytest.mark.skipif(not IS_ROOT, reason="a normal user runs the programs where they are")
async def test_root_runs_programs_no_other_account_can_reach(tmp_path: Path, open_place: Path) -> None:
    """An installation and a data directory under a private home directory: both work for root."""
    tmp_path.chmod(0o700)
    package = wheel_binaries().parents[1]
    for name in ("bin", "lib", "share"):
        shutil.copytree(
            package / "pginstall" / name, tmp_path / "site" / package.name / "pginstall" / name, symlinks=True
        )
    (tmp_path / "site" / package.name / "__init__.py").touch()
    shutil.copytree(package.with_name(f"{package.name}.libs"), tmp_path / "site" / f"{package.name}.libs")
    # The place for the copy is a fixed one of the system; a test must not leave anything there.
    before = (
        "from pathlib import Path; from authpipe.store import embedded_process; "
        f"embedded_process._CACHE = Path({str(open_place)!r})\n"
    )
    peers = [
        await Peer.begin(tmp_path / name, None, before=before, path=str(tmp_path / "site"))
        for name in ("one", "two")
    ]
    for peer in peers:
        dsn = await peer.dsn()
        assert (await execute(dsn, "SELECT 1"))[0][0] == 1
    for peer in peers:
        await peer.leave()
    assert len([path.name for path in open_place.iterdir()]) == 1
