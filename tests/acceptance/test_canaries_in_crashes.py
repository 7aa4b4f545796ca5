"""What a crash leaves behind: tracebacks, the dump of a dying process, and what the process list shows."""

from __future__ import annotations

import asyncio
import signal
import sys
import traceback
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from io import StringIO
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import asyncpg
import pytest
from rich.console import Console
from rich.traceback import Traceback

import authpipe
from authpipe.connect import complete
from authpipe.credentials import serve
from authpipe.credentials.refresh import RefreshEngine
from authpipe.domain.clock import ManualClock
from authpipe.sandbox import seeds
from authpipe.sandbox.server import SandboxServer
from support import canaries
from support.application import Application
from support.cli import Cli, descendants, document_of
from support.hosted import Hosted, host
from support.running import Running, free_port

if TYPE_CHECKING:
    from conftest import Dsns

_OURS = str(Path(authpipe.__file__).parent)
_SECRETS = (canaries.TOKEN, seeds.client_secret("discord"), seeds.DISCORD_BOT_TOKEN)

#: The functions in whose local variables a secret may stand as plain text: it comes from the wire or goes to
#: the wire or the cipher just there.
_AT_THE_EDGE = (
    "domain.secret:",
    "net.wire:",
    "net.client:HttpClient._exchange",
    "oauth.authorization:read_callback",
    "oauth.client_proof:",
    "oauth.document:",
    "oauth.paths:",
    "oauth.refusal:",
    "oauth.token:",
    "catalog.headers:credential_header",
    "catalog.placeholders:fill",
    "catalog.quirks",  # the callback's query, before it is read
    "connect.callback:Callbacks.receive",
    "connect.callback:Callbacks._receive",
    "connect.grant:restore",
    "vault.aes_key:",
)
#: What an ASGI server hands from one to the other: a request as it came, with its query and headers.
_THE_REQUEST = "scope"


async def _meet(hosted: Hosted, kind: str = "connection") -> tuple[object, str]:
    """From the link to the completion code; the session is ready to be completed."""
    session, link = await hosted.mint(kind=kind)
    async with hosted.person() as person:
        page = await person.submit(await person.open(link))
        page = await person.submit(page, decision="authorize")
    return session.session_id, page.query["completion_code"]


@contextmanager
def _watching(look: Callable[[FrameType], None]) -> Iterator[None]:
    """Show every frame of ours to ``look`` when it is left or suspended."""

    def profile(frame: FrameType, event: str, _argument: object) -> None:
        if event == "return" and frame.f_code.co_filename.startswith(_OURS):
            look(frame)

    sys.setprofile(profile)
    try:
        yield
    finally:
        sys.setprofile(None)


@pytest.fixture
def marked(sandbox: SandboxServer) -> None:
    """What the sandbox issues can be searched for."""
    sandbox.state.applications["discord"][seeds.client_id("discord")].token_marker = canaries.TOKEN


@pytest.mark.timeout(120)
@pytest.mark.usefixtures("marked")
async def test_secrets_are_plain_text_in_the_local_variables_of_a_few_functions_only(
    tmp_path: Path, dsns: Dsns, clock: ManualClock, sandbox: SandboxServer
) -> None:
    """Whatever prints local variables shows ``Secret(***)`` in every other frame of ours."""
    plain: set[tuple[str, str]] = set()

    def look(frame: FrameType) -> None:
        module = str(frame.f_globals.get("__name__", frame.f_code.co_filename))
        if module.startswith("authpipe.sandbox"):
            return
        for variable, value in frame.f_locals.items():
            try:
                text = repr(value)
            except Exception:
                continue
            if any(secret in text for secret in _SECRETS):
                plain.add((f"{module.removeprefix('authpipe.')}:{frame.f_code.co_qualname}", variable))

    async with host(dsns.owner, tmp_path, clock, sandbox) as hosted:
        await hosted.configure()
        with _watching(look):
            await hosted.complete(*await _meet(hosted, "installation"))
            await hosted.complete(*await _meet(hosted))
            await hosted.credential(tenant_id="org_acme", user_id="user_123")
            clock.advance(timedelta(days=8))
            await hosted.credential(tenant_id="org_acme", user_id="user_123")
    found = {(name, variable) for name, variable in plain if variable != _THE_REQUEST}
    assert ("net.wire:write", "body") in found, "the search works"
    assert sorted(pair for pair in found if not pair[0].startswith(_AT_THE_EDGE)) == []


class _Defect(Exception):
    """What nobody expects."""


def _breaks(*_: object, **__: object) -> None:
    raise _Defect


def _told(error: BaseException) -> str:
    """Every traceback a person or a tool would make of it, with local variables."""
    out = StringIO()
    rich = Traceback.from_exception(
        type(error), error, error.__traceback__, show_locals=True, width=300,
        locals_max_string=None, locals_max_length=None,
    )  # fmt: skip
    Console(file=out, width=300).print(rich)
    standard = traceback.TracebackException.from_exception(error, capture_locals=True)
    return "".join(standard.format()) + out.getvalue()


@pytest.mark.usefixtures("marked")
async def test_a_defect_in_the_midst_of_secrets_tells_none(
    tmp_path: Path, dsns: Dsns, clock: ManualClock, sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the grant, the credential or the provider's answer at hand, in both usual forms of traceback."""

    async def crash(work: Awaitable[object]) -> str:
        with pytest.raises(_Defect) as caught:
            await work
        return _told(caught.value)

    async with host(dsns.owner, tmp_path, clock, sandbox) as hosted:
        await hosted.configure()
        ready = await _meet(hosted)
        with monkeypatch.context() as patch:
            patch.setattr(complete, "activate_connection", _breaks)
            told = [await crash(hosted.complete(*ready))]
        await hosted.complete(*ready)
        wanted = {"tenant_id": "org_acme", "user_id": "user_123"}
        with monkeypatch.context() as patch:
            patch.setattr(serve, "UsableCredential", _breaks)
            told.append(await crash(hosted.credential(**wanted)))
        clock.advance(timedelta(days=8))
        with monkeypatch.context() as patch:
            patch.setattr(RefreshEngine, "_encrypt", _breaks)
            told.append(await crash(hosted.credential(**wanted)))
    for text in told:
        assert "Secret(***)" in text, "secrets were at hand"
        assert not canaries.found(text.encode(), secrets=_SECRETS)


def _environment(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()


def _command(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


@pytest.mark.timeout(120)
async def test_the_dump_of_a_dying_process_and_the_process_list_hold_no_secret(tmp_path: Path) -> None:
    """Aborted while requests are under way, it writes lines and functions of its stack, and no memory."""
    data_dir = tmp_path / "data"
    async with Running(data_dir, environment={"PYTHONFAULTHANDLER": "1"}) as running:
        application = Application(running)
        await canaries.set_up(application)
        await canaries.good_paths(application)
        fault = {"kind": "latency", "seconds": 20, "provider": "discord", "path_contains": "token"}
        order = await application.control("POST", "/faults", json=fault)
        _, connections = await application.call("GET", "/v1/connections?provider=discord")
        refresh = f"/v1/connections/{connections['data'][0]['id']}/refresh"
        under_way = [asyncio.create_task(application.call("POST", refresh)) for _ in range(3)]
        await application.control("GET", f"/faults/{order['id']}/wait?count=1")

        secrets = [*canaries.CANARIES, running.api_key]
        passwords = [path.read_text() for path in (data_dir / "postgres").glob("*.password")]
        assert len(passwords) == 2
        ours = [process for process in running.processes if process.name != "sandbox"]
        tree = {pid for process in ours for pid in (process.child.pid, *descendants(process.child.pid))}
        assert len(tree) > 8, "PostgreSQL's processes are among them"
        for pid in tree:
            assert not canaries.found(_command(pid), secrets=[*secrets, *passwords])
            assert not canaries.found(_environment(pid), secrets=[*secrets, *passwords])
        seen = await _activity(data_dir)
        assert b"authpipe" in seen
        assert not canaries.found(seen, secrets=[*secrets, *passwords])

        for process in ours:
            limits = Path(f"/proc/{process.child.pid}/limits").read_text()
            assert limits.partition("Max core file size")[2].split()[0] == "0", "no core is written"
            process.child.send_signal(signal.SIGABRT)
        for process in ours:
            assert await asyncio.wait_for(process.child.wait(), 20) == -signal.SIGABRT
        await asyncio.gather(*under_way, return_exceptions=True)
        await application.control("DELETE", "/faults")
        await application.close()
        logs = running.logs()
    dumped = [text for text in logs.values() if b"Fatal Python error: Aborted" in text]
    assert len(dumped) == 2
    for name, text in logs.items():
        assert not canaries.found(text, secrets=secrets), name
    for path in data_dir.rglob("*"):
        assert "core" not in path.name.split("."), path


async def _activity(data_dir: Path) -> bytes:
    """What the database tells of its sessions to a superuser."""
    password = (data_dir / "postgres" / "postgres.password").read_text()
    connection = await asyncpg.connect(
        user="postgres", password=password, database="authpipe", host=str(data_dir / "postgres"), port=5432
    )
    try:
        rows = await connection.fetch("SELECT * FROM pg_stat_activity")
        return "\n".join(str(dict(row)) for row in rows).encode()
    finally:
        await connection.close()


def test_the_processes_of_a_development_server_carry_no_secret(tmp_path: Path) -> None:
    """Neither the API key it prints nor a password of its database, in arguments or environment."""
    cli = Cli(tmp_path / "data")
    ports = ("--port", str(free_port()), "--sandbox-port", str(free_port()))
    with cli.running("dev", "--json", *ports) as program:
        key = document_of(program)["api_key"]
        passwords = [path.read_text() for path in (cli.data_dir / "postgres").glob("*.password")]
        tree = [program.pid, *descendants(program.pid)]
        assert len(tree) > 8
        for pid in tree:
            assert not canaries.found(_command(pid), secrets=[key, *passwords])
            assert not canaries.found(_environment(pid), secrets=[key, *passwords])
        program.send_signal(signal.SIGINT)
        program.wait(30)
