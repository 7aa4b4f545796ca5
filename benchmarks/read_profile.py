"""Where each microsecond of a credential read goes: ``python -m benchmarks.read_profile``.

Each step is run by itself, over and over, on the objects that the server runs it on; what is told is the least
of several rounds, as whatever else the machine does can only add to it.
"""

from __future__ import annotations

import asyncio
import re
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import cycle
from pathlib import Path
from typing import Any

import msgspec
import psutil
from starlette.types import Receive, Scope, Send

from authpipe.api.authentication import Authentication
from authpipe.api.caller import Caller
from authpipe.api.credential_read import PATH, document, read_request
from authpipe.api.edge import Edge
from authpipe.api.read_notes import ReadNotes
from authpipe.catalog.definition import SideName
from authpipe.catalog.headers import credential_header
from authpipe.credentials.contexts import secret_context
from authpipe.credentials.lookup_lanes import LookupLanes
from authpipe.credentials.resolve import choose
from authpipe.credentials.serve import CredentialReader
from authpipe.domain.credential import CredentialFor
from authpipe.domain.identifiers import new_id
from authpipe.events.credential_reads import CredentialReads
from authpipe.server.asgi import build_application
from authpipe.server.observation import Observation
from authpipe.server.proxies import ProxyAddresses
from authpipe.server.wiring import Rooms
from authpipe.store.lookups import Lookup
from authpipe.telemetry.logs import configure
from authpipe.vault.keks.uri import open_keks
from benchmarks.seed import Plan, seed
from benchmarks.stage import PROVIDER, Stage, set_up

_TENANTS, _PER_TENANT = 20, 1_000
_ROUNDS, _TIMES = 15, 2_000
_HELLO_PORT, _HELLO_S = 8820, 3


async def _nothing(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


async def _receive() -> dict[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _send(_message: Any) -> None:
    return None


def _run(work: Coroutine[Any, Any, Any]) -> None:
    """Through, without an event loop: it must not wait for anything."""
    try:
        work.send(None)
    except StopIteration:
        return
    raise RuntimeError("it waited")


def _each(work: Callable[[], object]) -> float:
    """CPU microseconds of one call."""
    least = float("inf")
    for _ in range(_ROUNDS):
        begun = time.thread_time()
        for _ in range(_TIMES):
            work()
        least = min(least, (time.thread_time() - begun) / _TIMES)
    return least * 1e6


class _Steps:
    """What a table is printed from."""

    def __init__(self) -> None:
        self._rows: list[tuple[str, float]] = []

    def add(self, name: str, microseconds: float) -> None:
        self._rows.append((name, microseconds))
        print(f"{name:<66} {microseconds:7.1f}", flush=True)


def _scope(stage: Stage, number: int = 0) -> Scope:
    return {
        "type": "http", "http_version": "1.1", "method": "GET", "scheme": "http", "path": PATH, "root_path": "",
        "query_string": _query(number), "server": ("127.0.0.1", 8800), "client": ("127.0.0.1", 50_000),
        "headers": [(b"host", b"127.0.0.1:8800"), (b"authorization", f"Bearer {stage.key}".encode())],
        "state": {},
    }  # fmt: skip


def _query(number: int) -> bytes:
    tenant, user = number % _TENANTS, number * 7919 % _PER_TENANT
    return f"provider={PROVIDER}&tenant_id=tenant_{tenant}&user_id=user_{user}".encode()


@contextmanager
def _answering(reader: CredentialReader, rows: list[Any]) -> Iterator[None]:
    """Lookups that find these rows at once."""
    lanes = reader._lanes  # noqa: SLF001  # nothing but the database is taken out of the way

    async def find(_lookup: Lookup) -> list[Any]:
        return rows

    reader._lanes = type("", (), {"find": staticmethod(find)})()  # noqa: SLF001
    try:
        yield
    finally:
        reader._lanes = lanes  # noqa: SLF001


async def _layers(stage: Stage, rooms: Rooms, steps: _Steps) -> Caller:
    """What surrounds the route; each around an application that does nothing."""
    nothing = _each(lambda: _run(_nothing(_scope(stage), _receive, _send)))

    def around(app: Callable[[Scope, Receive, Send], Awaitable[None]], state: dict[str, Any]) -> float:
        def once() -> None:
            _run(app({**_scope(stage), "state": dict(state)}, _receive, _send))  # type: ignore[arg-type]

        return _each(once) - nothing

    authentication = Authentication(
        _nothing,
        authenticator=rooms.authenticator,
        refusals=rooms.authenticator._refusals,  # noqa: SLF001
    )
    scope = {**_scope(stage), "state": {"request_id": "req"}}
    await authentication(scope, _receive, _send)
    observed = ProxyAddresses(Observation(_nothing, rooms.metrics), rooms.settings.trusted_proxies)
    steps.add("Caller's address, count, no log line", around(observed, {}))
    steps.add("Edge: request id, limits, headers", around(Edge(_nothing, public_url="https://a"), {}))
    steps.add("API key: hash, find among the known", around(authentication, {"request_id": "req"}))
    caller: Caller = scope["state"]["caller"]
    return caller


async def _reading(rooms: Rooms, caller: Caller, steps: _Steps) -> None:
    reader, notes = rooms.credential_reader, ReadNotes(rooms.credential_reads)
    request = read_request(_query(0))
    environment_id = caller.environment_id
    rows = await LookupLanes(rooms.database).find(_lookup(environment_id, 0))
    row = rows[0]
    side = rooms.catalog.get(PROVIDER).side(SideName.CONNECTION)
    assert side is not None
    context = secret_context(environment_id, request.tenant_id, row["credential_id"])
    secret = await rooms.vault.decrypt(row["secret_ciphertext"], context)
    steps.add("Query parameters", _each(lambda: read_request(_query(0))) - _each(lambda: _query(0)))
    with _answering(reader, rows):
        credential = await reader.get(environment_id, request)
        whole = _each(lambda: _run(reader.get(environment_id, request)))
    parts = {
        "Choose the row": _each(lambda: choose(rows, credential_for=CredentialFor.ANY, provider=PROVIDER)),
        "Decrypt: context, keyset, AES-GCM": _each(
            lambda: _run(
                rooms.vault.decrypt(
                    row["secret_ciphertext"],
                    secret_context(environment_id, request.tenant_id, row["credential_id"]),
                )
            )
        ),
        "Header of the credential": _each(lambda: credential_header(side.header, secret, {})),
    }
    for name, took in parts.items():
        steps.add(name, took)
    steps.add("Checks, times, the credential as an object", whole - sum(parts.values()))
    encode = msgspec.json.Encoder().encode
    steps.add("JSON", _each(lambda: encode(document(credential))))
    steps.add("Note for the audit", _each(lambda: notes.given(caller, credential)))


def _lookup(environment_id: Any, number: int) -> Lookup:
    asked = read_request(_query(number))
    return Lookup(environment_id, asked.tenant_id, asked.provider, asked.user_id, "any", None, None, None)


async def _whole(stage: Stage, rooms: Rooms, caller: Caller, steps: _Steps) -> None:
    rows = await LookupLanes(rooms.database).find(_lookup(caller.environment_id, 0))
    application = build_application(rooms)
    with _answering(rooms.credential_reader, rows):
        steps.add(
            "All of the above, as one application",
            _each(lambda: _run(application(_scope(stage), _receive, _send)))  # type: ignore[arg-type]
            - _each(lambda: _scope(stage)),
        )


async def _together(rooms: Rooms, caller: Caller, steps: _Steps) -> None:
    """Lookups as they come from so many callers at a time: what they cost here, and in PostgreSQL."""
    lanes = LookupLanes(rooms.database)
    numbers = cycle(range(_TENANTS * _PER_TENANT))
    lookups = [_lookup(caller.environment_id, next(numbers)) for _ in range(2_048)]
    postmaster = _postmaster(rooms.settings.data_dir)
    for callers in (1, 8, 64):
        ours, theirs = [], []
        for _ in range(_ROUNDS):
            before, begun = _backends(postmaster), time.thread_time()

            async def ask(part: list[Lookup]) -> None:
                for lookup in part:
                    await lanes.find(lookup)

            await asyncio.gather(*(ask(lookups[number::callers]) for number in range(callers)))
            ours.append((time.thread_time() - begun) / len(lookups) * 1e6)
            theirs.append((_backends(postmaster) - before) / len(lookups) * 1e6)
        steps.add(f"Lookup with {callers} callers at a time: in this process", min(ours))
        steps.add(f"Lookup with {callers} callers at a time: in PostgreSQL", min(theirs))


async def _audit(rooms: Rooms, caller: Caller, steps: _Steps) -> None:
    """Every read of another credential, so that none shares an event: the dearest case."""
    reads = CredentialReads(rooms.database, rooms.clock, rooms.metrics)
    notes = ReadNotes(reads)
    credential = await rooms.credential_reader.get(caller.environment_id, read_request(_query(0)))
    others = [replace(credential, credential_id=new_id()) for _ in range(_TIMES)]
    postmaster = _postmaster(rooms.settings.data_dir)
    ours, theirs = [], []
    for _ in range(_ROUNDS):
        for each in others:
            notes.given(caller, each)
        before, begun = _backends(postmaster), time.thread_time()
        await reads.flush()
        ours.append((time.thread_time() - begun) / _TIMES * 1e6)
        theirs.append((_backends(postmaster) - before) / _TIMES * 1e6)
    steps.add("Event of the audit: in this process", min(ours))
    steps.add("Event of the audit: in PostgreSQL", min(theirs))


def _postmaster(data_dir: Path) -> psutil.Process:
    [file] = data_dir.rglob("postmaster.pid")
    return psutil.Process(int(file.read_text().splitlines()[0]))


def _backends(postmaster: psutil.Process) -> float:
    """CPU seconds of everything PostgreSQL runs, to the nanosecond (``psutil`` tells hundredths)."""
    return (
        sum(
            int(Path(f"/proc/{child.pid}/schedstat").read_text().split()[0])
            for child in postmaster.children()
        )
        / 1e9
    )


def _of_the_http_server() -> float:
    """CPU microseconds of a request that asks nothing of Python but to be answered."""
    with subprocess.Popen(
        ["taskset", "-c", "0", sys.executable, "-m", "benchmarks.read_profile", "nothing"],
        stdout=subprocess.DEVNULL,
    ) as server:
        try:
            _until_answered(_HELLO_PORT)
            least = float("inf")
            for _ in range(3):
                before = _cpu_s(server.pid)
                ran = subprocess.run(
                    [
                        "taskset", "-c", "1", "wrk", "-t1", "-c64", f"-d{_HELLO_S}s",
                        f"http://127.0.0.1:{_HELLO_PORT}{PATH}",
                    ],
                    check=True, capture_output=True, text=True,
                )  # fmt: skip
                answered = re.search(r"(\d+) requests in", ran.stdout)
                assert answered is not None
                least = min(least, (_cpu_s(server.pid) - before) / int(answered[1]))
        finally:
            server.terminate()
    return least * 1e6


def _until_answered(port: int) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _cpu_s(pid: int) -> float:
    return (
        sum(int((task / "schedstat").read_text().split()[0]) for task in Path(f"/proc/{pid}/task").iterdir())
        / 1e9
    )


async def _serve_nothing() -> None:
    from granian.constants import Interfaces
    from granian.server.embed import Server

    await Server(
        _nothing, interface=Interfaces.ASGINL, address="127.0.0.1", port=_HELLO_PORT, log_access=False
    ).serve()


async def _profile() -> None:
    steps = _Steps()
    async with set_up(base_url="http://127.0.0.1:9") as stage:
        now = datetime.now(UTC)
        plan = Plan(
            connections=_TENANTS * _PER_TENANT,
            tenants=_TENANTS,
            due_from=now + timedelta(hours=1),
            due_until=now + timedelta(hours=2),
        )
        await seed(stage.dsn, open_keks(stage.settings.keks, production=False).primary, plan)
        configure("WARNING")
        rooms = stage.rooms
        steps.add("HTTP: read the request, call Python, write the answer", _of_the_http_server())
        caller = await _layers(stage, rooms, steps)
        await _reading(rooms, caller, steps)
        await _whole(stage, rooms, caller, steps)
        await _together(rooms, caller, steps)
        await _audit(rooms, caller, steps)


if __name__ == "__main__":
    asyncio.run(_serve_nothing() if sys.argv[1:] == ["nothing"] else _profile())
