"""The HTTP client against real servers: what it sends, what it refuses, and what its errors give away."""

from __future__ import annotations

import asyncio
import gzip
import socket
import traceback

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from authpipe._version import __version__
from authpipe.domain.errors import ProviderUnavailable
from authpipe.domain.secret import Secret
from authpipe.net.client import HttpClient
from authpipe.net.egress import EgressPolicy, EgressRefused
from authpipe.net.message import Request

CANARY = "canary-7d1f"


def secretive(url: str, method: str = "POST") -> Request:
    """A request with a marked secret in every place that may hold one."""
    return Request(
        method=method,
        url=url,
        headers={"Authorization": Secret(f"Bearer {CANARY}")},
        query={"clientSecret": Secret(CANARY)},
        form={"refresh_token": Secret(CANARY)} if method == "POST" else None,
    )


def everything_said(error: BaseException) -> str:
    """What a logger or a debugger could get out of an error, its whole chain included."""
    said = ["".join(traceback.format_exception(error))]
    seen: BaseException | None = error
    while seen is not None:
        said += [repr(seen), repr(vars(seen)), repr(seen.args)]
        seen = seen.__cause__ or seen.__context__
    return "\n".join(said)


class NamesTo(AbstractResolver):
    """Resolves every name to the addresses it was given."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses
        self.asked: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked.append(host)
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in self.addresses
        ]

    async def close(self) -> None:
        pass


async def test_a_request_arrives_as_it_was_meant(client: HttpClient, serve) -> None:
    """Method, path, headers, query and form, with secrets in plain text and our own name."""
    seen: dict[str, object] = {}

    async def handler(request: web.Request) -> web.Response:
        seen.update(method=request.method, path=request.path, query=dict(request.query))
        seen.update(headers=dict(request.headers), form=dict(await request.post()))
        return web.Response(status=418, text="short", headers={"X-One": "1"})

    response = await client.send(secretive(await serve(handler) + "/oauth2/token?a=1"))
    assert (response.status, response.body, response.headers["x-one"]) == (418, b"short", "1")
    assert seen["method"] == "POST"
    assert seen["path"] == "/oauth2/token"
    assert seen["query"] == {"a": "1", "clientSecret": CANARY}
    assert seen["form"] == {"refresh_token": CANARY}
    headers = seen["headers"]
    assert isinstance(headers, dict)
    assert headers["Authorization"] == f"Bearer {CANARY}"
    assert headers["User-Agent"] == f"Authpipe/{__version__}"


async def test_json_and_a_user_agent_of_ones_own_arrive(client: HttpClient, serve) -> None:
    """Some providers want their own form of user agent."""

    async def handler(request: web.Request) -> web.Response:
        return web.json_response({"agent": request.headers["User-Agent"], "body": await request.json()})

    url = await serve(handler)
    response = await client.send(
        Request(method="POST", url=url, headers={"user-agent": "Bot (x, 1)"}, json={"k": Secret("v")})
    )
    assert response.body == b'{"agent": "Bot (x, 1)", "body": {"k": "v"}}'


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_returned_and_never_followed(client: HttpClient, serve, status: int) -> None:
    """Else a provider could make us carry its secrets to an address of its choice."""
    paths: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        paths.append(request.path)
        return web.Response(status=status, headers={"Location": "/elsewhere"})

    response = await client.send(Request(method="GET", url=await serve(handler) + "/here"))
    assert response.status == status
    assert paths == ["/here"]


async def test_no_cookie_is_kept(client: HttpClient, serve) -> None:
    """Requests for different tenants share the client and must not share a session at the provider."""
    cookies: list[dict[str, str]] = []

    async def handler(request: web.Request) -> web.Response:
        cookies.append(dict(request.cookies))
        response = web.Response()
        response.set_cookie("session", "x")
        return response

    url = (await serve(handler)).replace("127.0.0.1", "localhost")  # jars take none from a bare address
    for _ in range(2):
        await client.send(Request(method="GET", url=url))
    assert cookies == [{}, {}]


async def test_proxy_settings_of_the_environment_are_not_heeded(
    client: HttpClient, serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They would move the connection past the address check."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")

    async def handler(request: web.Request) -> web.Response:
        return web.Response(text="direct")

    assert (await client.send(Request(method="GET", url=await serve(handler)))).body == b"direct"


async def test_connections_are_reused(client: HttpClient, serve) -> None:
    """A second request does not shake hands again."""
    peers: set[object] = set()

    async def handler(request: web.Request) -> web.Response:
        assert request.transport is not None
        peers.add(request.transport.get_extra_info("peername"))
        return web.Response()

    url = await serve(handler)
    for _ in range(5):
        await client.send(Request(method="GET", url=url))
    assert len(peers) == 1


@pytest.mark.parametrize("announced", [True, False], ids=["content-length", "chunked"])
async def test_a_body_over_the_bound_is_cut_off(client: HttpClient, serve, announced: bool) -> None:
    """The provider has had the request, so the outcome is unknown."""

    async def handler(request: web.Request) -> web.StreamResponse:
        if announced:
            return web.Response(body=b"x" * 100_001)
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(200):
            await response.write(b"x" * 1000)
        return response

    with pytest.raises(ProviderUnavailable) as failed:
        await client.send(Request(method="GET", url=await serve(handler)))
    assert (failed.value.sent, failed.value.detail) == (True, "body_too_large")


async def test_the_bound_holds_for_what_a_compressed_body_becomes(client: HttpClient, serve) -> None:
    """Ten megabytes of zeros are ten kilobytes on the wire."""
    bomb = gzip.compress(b"\0" * 10_000_000)

    async def handler(request: web.Request) -> web.Response:
        return web.Response(body=bomb, headers={"Content-Encoding": "gzip"})

    with pytest.raises(ProviderUnavailable) as failed:
        await client.send(Request(method="GET", url=await serve(handler)))
    assert failed.value.detail == "body_too_large"


async def test_a_body_at_the_bound_is_whole(client: HttpClient, serve) -> None:
    """The bound is inclusive."""

    async def handler(request: web.Request) -> web.Response:
        return web.Response(body=b"x" * 100_000)

    assert len((await client.send(Request(method="GET", url=await serve(handler)))).body) == 100_000


async def test_a_body_that_trickles_ends_at_the_total_deadline(client: HttpClient, serve) -> None:
    """Each byte comes in time; the whole does not."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x")
            await asyncio.sleep(0.02)

    url = await serve(handler)
    started = asyncio.get_running_loop().time()
    with pytest.raises(ProviderUnavailable) as failed:
        await client.send(secretive(url), deadline_s=0.3)
    assert asyncio.get_running_loop().time() - started < 2
    assert (failed.value.sent, failed.value.detail) == (True, "timeout")
    assert CANARY not in everything_said(failed.value)


async def test_cancellation_by_the_caller_stays_cancellation(client: HttpClient, serve) -> None:
    """It is not turned into a provider error."""
    arrived = asyncio.Event()

    async def handler(request: web.Request) -> web.Response:
        arrived.set()
        await asyncio.Event().wait()
        return web.Response()

    task = asyncio.create_task(client.send(Request(method="GET", url=await serve(handler))))
    await arrived.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_server_that_reads_and_hangs_up_leaves_the_outcome_unknown(
    client: HttpClient, serve_raw
) -> None:
    """It may have acted; a POST is written once and no more."""
    connections = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")

    with pytest.raises(ProviderUnavailable) as failed:
        await client.send(secretive(await serve_raw(talk)))
    assert failed.value.sent is True
    assert connections == 1
    assert CANARY not in everything_said(failed.value)


async def test_a_post_on_a_pooled_connection_that_dies_is_not_written_twice(
    client: HttpClient, serve_raw
) -> None:
    """The library repeats only what is idempotent; a refresh token must not be spent twice."""
    requests: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        requests.append(await reader.readuntil(b"\r\n\r\n"))

    url = await serve_raw(talk)
    assert (await client.send(Request(method="GET", url=url))).status == 200
    with pytest.raises(ProviderUnavailable) as failed:
        await client.send(secretive(url))
    assert failed.value.sent is True
    assert [request.split(b" ")[0] for request in requests] == [b"GET", b"POST"]


async def test_an_answer_cut_short_is_no_answer(client: HttpClient, serve_raw) -> None:
    """Half a token response must not be taken for one."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"access_token"')
        await writer.drain()

    with pytest.raises(ProviderUnavailable) as failed:
        await client.send(secretive(await serve_raw(talk)))
    assert failed.value.sent is True
    assert CANARY not in everything_said(failed.value)


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00\x01\x02",
        b"HTTP/1.1 999999 X\r\n\r\n",
        b"SSH-2.0-x\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000,
    ],
)
async def test_garbage_instead_of_http_is_an_unknown_outcome(
    client: HttpClient, serve_raw, garbage: bytes
) -> None:
    """Whatever the parser says about it stays with the parser."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(garbage)
        await writer.drain()

    with pytest.raises(ProviderUnavailable) as failed:
        await client.send(secretive(await serve_raw(talk)))
    assert failed.value.sent is True
    assert CANARY not in everything_said(failed.value)


async def test_a_refused_connection_was_certainly_not_sent(client: HttpClient) -> None:
    """Nothing listens on the port."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{held.getsockname()[1]}/token"
        with pytest.raises(ProviderUnavailable) as failed:
            await client.send(secretive(url))
    assert failed.value.sent is False
    assert CANARY not in everything_said(failed.value)


async def test_a_name_that_does_not_resolve_was_certainly_not_sent() -> None:
    """The resolver's error counts as the network's."""

    class Unknown(NamesTo):
        async def resolve(
            self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
        ) -> list[ResolveResult]:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    client = HttpClient(EgressPolicy(), resolver=Unknown())
    with pytest.raises(ProviderUnavailable) as failed:
        await client.send(secretive("https://provider.example/token"))
    assert failed.value.sent is False
    assert CANARY not in everything_said(failed.value)
    await client.close()


async def test_a_deadline_that_ends_before_the_connection_was_certainly_not_sent() -> None:
    """A name server that never answers is no unknown outcome."""

    class Silent(NamesTo):
        async def resolve(
            self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
        ) -> list[ResolveResult]:
            await asyncio.Event().wait()
            raise AssertionError

    for connect_timeout_s, deadline_s in ((0.05, 20.0), (20.0, 0.05)):
        client = HttpClient(EgressPolicy(), resolver=Silent(), connect_timeout_s=connect_timeout_s)
        with pytest.raises(ProviderUnavailable) as failed:
            await client.send(secretive("https://provider.example/token"), deadline_s=deadline_s)
        assert (failed.value.sent, failed.value.detail) == (False, "timeout")
        await client.close()


async def test_a_server_without_tls_was_certainly_not_sent(client: HttpClient, serve) -> None:
    """The request is not written before the handshake is done."""

    async def handler(request: web.Request) -> web.Response:
        return web.Response()

    url = (await serve(handler)).replace("http://", "https://")
    with pytest.raises(ProviderUnavailable) as failed:
        await client.send(secretive(url))
    assert failed.value.sent is False


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "10.0.0.1", "169.254.169.254", "::ffff:127.0.0.1"])
async def test_a_name_that_resolves_to_a_private_address_is_refused(serve, address: str) -> None:
    """No connection is attempted, however harmless the name looks."""
    arrived = 0

    async def handler(request: web.Request) -> web.Response:
        nonlocal arrived
        arrived += 1
        return web.Response()

    port = (await serve(handler)).rpartition(":")[2]
    client = HttpClient(EgressPolicy(), resolver=NamesTo(address))
    with pytest.raises(EgressRefused) as refused:
        await client.send(secretive(f"https://provider.example:{port}/token"))
    assert arrived == 0
    assert CANARY not in everything_said(refused.value)
    await client.close()


async def test_one_private_address_among_public_ones_refuses_the_name() -> None:
    """Else the connector would fall back to it when the public one does not answer."""
    client = HttpClient(EgressPolicy(), resolver=NamesTo("1.1.1.1", "10.0.0.1"))
    with pytest.raises(EgressRefused):
        await client.send(Request(method="GET", url="https://provider.example/"))
    await client.close()


async def test_the_checked_address_is_the_one_connected_to(serve) -> None:
    """A name is resolved once per connection: a second answer could be another one (DNS rebinding)."""

    async def handler(request: web.Request) -> web.Response:
        return web.Response(text=request.headers["Host"])

    port = (await serve(handler)).rpartition(":")[2]
    resolver = NamesTo("127.0.0.1")
    client = HttpClient(EgressPolicy(allow_loopback=True), resolver=resolver)
    response = await client.send(Request(method="GET", url=f"http://sandbox.localhost:{port}/"))
    assert response.body.decode() == f"sandbox.localhost:{port}"
    assert resolver.asked == ["sandbox.localhost"]
    await client.close()


async def test_the_socket_itself_is_behind_the_policy(serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if the URL check let a literal address pass, no socket is opened to it."""

    async def handler(request: web.Request) -> web.Response:
        raise AssertionError

    url = await serve(handler)
    monkeypatch.setattr(EgressPolicy, "check_url", lambda self, url: None)
    client = HttpClient(EgressPolicy())
    with pytest.raises(EgressRefused):
        await client.send(Request(method="GET", url=url))
    await client.close()


async def test_a_closed_client_says_so() -> None:
    """Closing twice is harmless; sending afterwards is a mistake of ours."""
    client = HttpClient(EgressPolicy())
    await client.close()
    await client.close()
    with pytest.raises(RuntimeError):
        await client.send(Request(method="GET", url="https://provider.example/"))
