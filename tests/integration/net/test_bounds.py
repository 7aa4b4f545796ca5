"""What a hostile server or name server can make the client do, over real sockets: nothing out of bounds."""

from __future__ import annotations

import asyncio
import gzip
import socket
import tracemalloc
import zlib
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from authpipe.domain.errors import ProviderUnavailable
from authpipe.net.client import HttpClient
from authpipe.net.egress import EgressPolicy, EgressRefused
from authpipe.net.message import Request

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
LOCAL = EgressPolicy(allow_loopback=True)

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Names(AbstractResolver):
    """Resolves each name to the answers it was given, one after the other; the last one stays."""

    def __init__(self, answers: dict[str, list[list[str]]]) -> None:
        self.answers = answers
        self.asked: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked.append(host)
        known = self.answers[host]
        return [
            ResolveResult(hostname=host, host=each, port=port, family=socket.AF_INET, proto=0, flags=0)
            for each in (known.pop(0) if len(known) > 1 else known[0])
        ]

    async def close(self) -> None:
        return None


def endless(head: bytes, piece: bytes) -> Talk:
    """A server that answers with ``head`` and then with ``piece`` for ever."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head)
        with suppress(ConnectionError):
            while True:
                writer.write(piece)
                await writer.drain()

    return talk


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        pytest.param(OK, b"".join(b"X-%d: y\r\n" % number for number in range(2000)), id="headers"),
        pytest.param(OK + b"X: ", b"y" * 65_536, id="one header"),
        pytest.param(b"HTTP/1.1 200 ", b"x" * 65_536, id="reason"),
        pytest.param(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100, id="interim answers"),
        pytest.param(CHUNKED + b"1;", b"x" * 65_536, id="chunk extension"),
        pytest.param(CHUNKED + b"0\r\n", b"X-Trailer: y\r\n" * 2000, id="trailers"),
        pytest.param(CHUNKED, b"1\r\nx\r\n" * 10_000, id="small chunks"),
        pytest.param(OK + b"\r\n", b"x" * 65_536, id="body"),
    ],
)
async def test_an_answer_without_end_is_bounded_in_time_and_memory(
    client: HttpClient, serve_raw, head: bytes, piece: bytes
) -> None:
    """Wherever in the message it has no end."""
    url = await serve_raw(endless(head, piece))
    begun = asyncio.get_running_loop().time()
    tracemalloc.start()
    try:
        with pytest.raises(ProviderUnavailable) as failed:
            await client.send(Request(method="GET", url=url), deadline_s=0.5)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert failed.value.sent is True
    assert peak < 12_000_000
    assert asyncio.get_running_loop().time() - begun < 3


@pytest.mark.parametrize(
    ("coding", "pack"),
    [("gzip", gzip.compress), ("deflate", zlib.compress)],
)
async def test_a_bomb_is_not_unpacked_beyond_the_bound(
    client: HttpClient, serve, coding: str, pack: Callable[[bytes], bytes]
) -> None:
    """A hundred megabytes, which are a hundred kilobytes on the wire, never exist in memory."""
    bomb = pack(b"\0" * 100_000_000)

    async def handler(request: web.Request) -> web.Response:
        return web.Response(body=bomb, headers={"Content-Encoding": coding})

    url = await serve(handler)
    tracemalloc.start()
    try:
        with pytest.raises(ProviderUnavailable) as failed:
            await client.send(Request(method="GET", url=url))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert failed.value.detail == "body_too_large"
    assert peak < 12_000_000


async def test_a_handshake_that_stalls_was_certainly_not_sent(serve_raw) -> None:
    """It ends with the time to connect, which is shorter than the whole."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    client = HttpClient(LOCAL, connect_timeout_s=0.2)
    url = (await serve_raw(talk)).replace("http://", "https://")
    begun = asyncio.get_running_loop().time()
    with pytest.raises(ProviderUnavailable) as failed:
        await client.send(Request(method="GET", url=url))
    assert failed.value.sent is False
    assert asyncio.get_running_loop().time() - begun < 3
    await client.close()


async def test_a_name_that_changes_its_address_is_checked_again(serve) -> None:
    """An open connection goes on to the address that was checked; a new one is checked anew."""
    arrived: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        arrived.append(request.path)
        # The third answer ends the connection.
        return web.Response(headers={"Connection": "close"} if request.path == "/2" else {})

    port = (await serve(handler)).rpartition(":")[2]
    names = Names({"a.localhost": [["127.0.0.1"], ["10.0.0.1"]]})
    client = HttpClient(LOCAL, resolver=names)
    for number in range(3):
        await client.send(Request(method="GET", url=f"http://a.localhost:{port}/{number}"))
    assert names.asked == ["a.localhost"]
    # As after its ten seconds.
    client._session.connector.clear_dns_cache()
    with pytest.raises(EgressRefused):
        await client.send(Request(method="GET", url=f"http://a.localhost:{port}/3"))
    assert names.asked == ["a.localhost"] * 2
    assert arrived == ["/0", "/1", "/2"]
    await client.close()


@pytest.mark.parametrize("answer", [["127.0.0.1", "10.0.0.1"], ["10.0.0.1", "127.0.0.1"]])
async def test_a_name_with_one_forbidden_address_is_refused_whichever_comes_first(
    serve, answer: list[str]
) -> None:
    """Addresses are raced (RFC 8305): whichever answered would be taken."""

    async def handler(request: web.Request) -> web.Response:
        raise AssertionError

    port = (await serve(handler)).rpartition(":")[2]
    client = HttpClient(LOCAL, resolver=Names({"a.localhost": [answer]}))
    with pytest.raises(EgressRefused):
        await client.send(Request(method="GET", url=f"http://a.localhost:{port}/"))
    await client.close()


async def test_two_names_of_one_address_share_no_connection(serve) -> None:
    """What a connection was opened for is what it is used for."""
    seen: dict[str, set[object]] = {}

    async def handler(request: web.Request) -> web.Response:
        assert request.transport is not None
        peers = seen.setdefault(request.host.partition(":")[0], set())
        peers.add(request.transport.get_extra_info("peername"))
        return web.Response()

    port = (await serve(handler)).rpartition(":")[2]
    names = Names({name: [["127.0.0.1"]] for name in ("a.localhost", "b.localhost")})
    client = HttpClient(LOCAL, resolver=names)
    for name in ("a.localhost", "b.localhost") * 2:
        await client.send(Request(method="GET", url=f"http://{name}:{port}/"))
    assert [len(peers) for peers in seen.values()] == [1, 1]
    assert seen["a.localhost"].isdisjoint(seen["b.localhost"])
    await client.close()


async def test_a_redirect_to_a_private_address_reaches_nobody(client: HttpClient, serve) -> None:
    """It is an answer like any other; who reads it decides, and goes through the policy again."""
    elsewhere = 0

    async def inner(request: web.Request) -> web.Response:
        nonlocal elsewhere
        elsewhere += 1
        return web.Response()

    target = await serve(inner)

    async def handler(request: web.Request) -> web.Response:
        return web.Response(status=307, headers={"Location": target, "Refresh": f"0; url={target}"})

    response = await client.send(Request(method="POST", url=await serve(handler), form={"a": "b"}))
    assert (response.status, elsewhere) == (307, 0)


async def test_neither_proxies_nor_netrc_of_the_environment_are_heeded(
    client: HttpClient, serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy would be the one that connects, unchecked; a password for another program would go out."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login a password b\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")

    async def handler(request: web.Request) -> web.Response:
        return web.Response(text=request.headers.get("Authorization", "none"))

    response = await client.send(Request(method="GET", url=await serve(handler)))
    assert response.body == b"none"
