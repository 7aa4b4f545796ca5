"""A scripted Authpipe server over real sockets, a clock to move, and one driver for both clients."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import queue
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from authpipe import AsyncAuthpipe, Authpipe, Credential

API_KEY = "apk_test2345_" + "K" * 43
SECRET = "canary-secret-4f1c9b-"
CREDENTIAL_ID = "c0000000-0000-7000-8000-000000000001"
CONNECTION_ID = "c0000000-0000-7000-8000-00000000000c"


class FakeClock:
    """Both clocks stand still until moved."""

    def __init__(self) -> None:
        self.elapsed_s = 5_000.0
        self.wall_s = 1_800_000_000.0

    def elapsed(self) -> float:
        return self.elapsed_s

    def wall(self) -> float:
        return self.wall_s

    def advance(self, seconds: float) -> None:
        self.elapsed_s += seconds
        self.wall_s += seconds


@dataclass
class Seen:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


@dataclass
class Reply:
    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    drop: bool = False
    date: float | None = 0.0  # an offset to the server's clock; None leaves the header out


_numbers = itertools.count()


class Stream:
    """One open connection to the change stream; what is sent goes out at once."""

    def __init__(self, last_event_id: str | None, sock: socket.socket) -> None:
        self.last_event_id = last_event_id
        self.ended = threading.Event()
        self._socket = sock
        self._outgoing: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()

    def send(self, raw: bytes) -> None:
        """These bytes."""
        self._outgoing.put(raw)

    def event(self, name: str, identifier: str | None = None, **data: Any) -> None:
        """An event with this data."""
        told = "" if identifier is None else f"id: {identifier}\n"
        self.send(f"{told}event: {name}\ndata: {json.dumps(data)}\n\n".encode())

    def change(self, kind: str, identifier: str | None = None, **over: Any) -> None:
        """A change of the connection that ``ScriptedServer.credential`` describes."""
        identifier = identifier or f"e-{next(_numbers)}"
        told: dict[str, Any] = {
            "type": kind,
            "tenant_id": "org_acme",
            "provider": "discord",
            "user_id": "user_123",
            "connection_id": CONNECTION_ID,
            "installation_id": None,
            "credential_id": CREDENTIAL_ID,
            "created_at": "2026-11-24T12:00:00Z",
        }
        self.event("change", identifier, **(told | over))

    def close(self) -> None:
        """End the answer properly."""
        self._outgoing.put(None)

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        """Write what is sent until the end, or until the client has gone."""
        handler.close_connection = True
        try:
            while (raw := self._outgoing.get()) is not None:
                handler.wfile.write(raw)
        except OSError:
            return

    def watch(self) -> None:
        """Set ``ended`` when the client goes; it never sends anything after its request."""
        with contextlib.suppress(OSError):
            self._socket.recv(1)
        self.ended.set()
        self._outgoing.put(None)


class ScriptedServer:
    """Answers what ``answer`` returns, on real time of the fake clock, and remembers what it was asked."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.seen: list[Seen] = []
        self.arrived = threading.Semaphore(0)
        self.gate: threading.Event | None = None
        self.version = 1
        self.answer: Callable[[Seen], Reply] = lambda seen: self.credential(self.version)
        # What a request for the stream is answered: None is a stream that begins with ``hello``.
        self.stream_answer: Reply | None = self.problem(404, "not_found")
        self.heartbeat_s = 10.0
        self.stream_requests: list[Seen] = []
        self.streams: list[Stream] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                outer._serve(self)

            do_POST = do_GET  # noqa: N815  # http.server finds its methods by name

            def log_message(self, *args: object) -> None:
                return

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def handle_error(self, *args: Any) -> None:
                # A client that gave up waiting is part of several scripts.
                if not isinstance(sys.exception(), ConnectionError):
                    super().handle_error(*args)

        self._http = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        for stream in self.streams:
            stream.close()
        self._http.shutdown()
        self._http.server_close()

    @property
    def asked(self) -> int:
        return len(self.seen)

    def script(self, *replies: Reply) -> None:
        """These answers in turn; the last one from then on."""
        rest = list(replies)
        self.answer = lambda seen: rest.pop(0) if len(rest) > 1 else rest[0]

    def go_away(self) -> None:
        self.answer = lambda seen: Reply(drop=True)

    def come_back(self) -> None:
        self.answer = lambda seen: self.credential(self.version)

    def iso(self, in_s: float | None) -> str | None:
        if in_s is None:
            return None
        return datetime.fromtimestamp(self.clock.wall_s + in_s, UTC).isoformat().replace("+00:00", "Z")

    def credential(
        self,
        version: int = 1,
        *,
        life_s: float | None = None,
        refetch_in_s: float | None = None,
        date: float | None = 0.0,
        **over: Any,
    ) -> Reply:
        secret = f"{SECRET}{version}"
        document = {
            "object": "credential",
            "credential_id": CREDENTIAL_ID,
            "kind": "oauth_token",
            "provider": "discord",
            "tenant_id": "org_acme",
            "user_id": "user_123",
            "connection_id": CONNECTION_ID,
            "installation_id": None,
            "label": None,
            "credential": secret,
            "headers": {"Authorization": f"Bearer {secret}"},
            "expires_at": self.iso(life_s),
            "refetch_at": self.iso(refetch_in_s),
            "scopes": ["identify", "guilds"],
            "metadata": {"guild_id": "42", "nested": {"list": [1, {"a": 2}]}},
            "version": version,
            "a_field_of_the_future": {"x": 1},
        }
        return Reply(body=document | over, date=date)

    def problem(
        self, status: int, code: str, *, headers: dict[str, str] | None = None, **extra: Any
    ) -> Reply:
        document = {
            "type": f"urn:authpipe:error:{code}",
            "title": "A title",
            "status": status,
            "detail": f"detail of {code}",
            "code": code,
            "request_id": "req_1",
        }
        return Reply(
            status=status, body=document | extra, headers={"X-Request-Id": "req_1", **(headers or {})}
        )

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        raw = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        seen = Seen(
            method=handler.command,
            path=parts.path,
            query=dict(parse_qsl(parts.query, keep_blank_values=True)),
            headers={name.lower(): value for name, value in handler.headers.items()},
            body=json.loads(raw) if raw else None,
        )
        if parts.path == "/v1/stream":
            self.stream_requests.append(seen)
            if self.stream_answer is None:
                self._serve_stream(handler, seen)
            else:
                self._reply(handler, self.stream_answer)
            return
        self.seen.append(seen)
        gate = self.gate
        self.arrived.release()
        if gate is not None:
            assert gate.wait(20)
        self._reply(handler, self.answer(seen))

    def _serve_stream(self, handler: BaseHTTPRequestHandler, seen: Seen) -> None:
        handler.send_response_only(200)
        handler.send_header("Content-Type", "text/event-stream; charset=utf-8")
        handler.send_header("Cache-Control", "no-store")
        handler.end_headers()
        stream = Stream(seen.headers.get("last-event-id"), handler.connection)
        stream.event("hello", f"e-hello-{len(self.streams)}", heartbeat_s=self.heartbeat_s)
        threading.Thread(target=stream.watch, daemon=True).start()
        self.streams.append(stream)
        stream.serve(handler)

    def _reply(self, handler: BaseHTTPRequestHandler, reply: Reply) -> None:
        if reply.drop:
            handler.close_connection = True
            return
        body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        handler.send_response_only(reply.status)
        if reply.date is not None:
            handler.send_header("Date", formatdate(self.clock.wall_s + reply.date, usegmt=True))
        for name, value in {"Content-Type": "application/json", **reply.headers}.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)


def wait_until(fact: Callable[[], bool], seconds: float = 10.0) -> None:
    """Block until ``fact`` holds; fails after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.002)


DEFAULTS: dict[str, Any] = {"provider": "discord", "tenant_id": "org_acme", "user_id": "user_123"}


class Driven:
    """One of the two clients, spoken to in the same words."""

    def __init__(self, kind: str, **arguments: Any) -> None:
        self.kind = kind
        self.client: Any = Authpipe(**arguments) if kind == "sync" else AsyncAuthpipe(**arguments)
        self.loop = None if kind == "sync" else asyncio.new_event_loop()
        if self.loop is not None:
            # Keeps running between calls, as an application's does.
            self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
            self._thread.start()
        self.cache = self.client._core.cache

    def get(self, **over: Any) -> Credential:
        return self.do(lambda client: client.get_credential(**(DEFAULTS | over)))

    def do(self, action: Callable[[Any], Any]) -> Any:
        if self.loop is None:
            return action(self.client)

        async def run() -> Any:
            return await action(self.client)

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(60)

    def settle(self) -> None:
        """Return when no background refetch is under way."""
        if self.loop is None:
            wait_until(lambda: not self.cache._refetching)
            return

        async def ended() -> None:
            state = self.client._driver.state()
            while state.tasks:
                await asyncio.gather(*state.tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(ended(), self.loop).result(60)

    def close(self) -> None:
        if self.loop is None:
            self.client.close()
        elif not self.loop.is_closed():
            asyncio.run_coroutine_threadsafe(self.client.aclose(), self.loop).result(60)
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join(10)
            self.loop.close()


@pytest.fixture(autouse=True)
def _no_settings_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AUTHPIPE_STREAM", "AUTHPIPE_SNAPSHOT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def server(clock: FakeClock) -> Iterator[ScriptedServer]:
    scripted = ScriptedServer(clock)
    yield scripted
    if scripted.gate is not None:
        scripted.gate.set()
    scripted.stop()


@pytest.fixture(params=["sync", "async"])
def make(request: pytest.FixtureRequest, server: ScriptedServer, clock: FakeClock) -> Iterator[Any]:
    """Make a client of either kind against the scripted server."""
    made: list[Driven] = []

    def build(**arguments: Any) -> Driven:
        told = {"url": server.url, "api_key": API_KEY, "clock": clock, "timeout_s": 5.0} | arguments
        made.append(Driven(request.param, **told))
        return made[-1]

    yield build
    for driven in made:
        driven.close()


@pytest.fixture
def live(make: Callable[..., Driven], server: ScriptedServer, clock: FakeClock) -> Callable[..., Any]:
    """Make a client with a live stream and one credential fetched after that began."""
    server.stream_answer = None

    def build(**arguments: Any) -> tuple[Driven, Stream]:
        driven = make(**arguments)
        driven.get(user_id="first")
        wait_until(lambda: driven.cache._streams)
        clock.advance(0.01)
        driven.get()
        return driven, server.streams[-1]

    return build


@pytest.fixture
def hears(clock: FakeClock) -> Callable[[Driven, Stream], None]:
    """Send a heartbeat and wait until it has been heard at the clock's time."""

    def heartbeat(driven: Driven, stream: Stream) -> None:
        stream.send(b": \n\n")
        wait_until(lambda: any(known.heard_at == clock.elapsed_s for known in driven.cache._streams))

    return heartbeat


@pytest.fixture
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connect again at once after a lost stream."""
    from authpipe.sdk import stream

    monkeypatch.setattr(stream, "FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(stream, "LONGEST_PAUSE_S", 0.01)


@pytest.fixture
def client(make: Callable[..., Driven]) -> Driven:
    return make()


@pytest.fixture
def api_key() -> str:
    return API_KEY


@pytest.fixture
def secret() -> str:
    return SECRET


@pytest.fixture
def until() -> Callable[..., None]:
    return wait_until
