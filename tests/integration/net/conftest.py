"""Real servers on this machine, and clients whose policy admits it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web

from authpipe.net.client import HttpClient
from authpipe.net.egress import EgressPolicy

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Serve = Callable[[Handler], Awaitable[str]]
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
ServeRaw = Callable[[Talk], Awaitable[str]]


@pytest.fixture
async def client() -> AsyncIterator[HttpClient]:
    """A client as development uses it."""
    made = HttpClient(EgressPolicy(allow_loopback=True), max_body_bytes=100_000)
    yield made
    await made.close()


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Serves every path with one handler and returns the base URL."""
    runners: list[web.AppRunner] = []

    async def start(handler: Handler) -> str:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", handler)
        runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        runners.append(runner)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port = runner.addresses[0][1]
        return f"http://127.0.0.1:{port}"

    yield start
    for runner in runners:
        await runner.cleanup()


@pytest.fixture
async def serve_raw() -> AsyncIterator[ServeRaw]:
    """Hands every connection to a function that speaks whatever it likes, and returns the base URL."""
    servers: list[asyncio.Server] = []

    async def start(talk: Talk) -> str:
        async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await talk(reader, writer)
            finally:
                writer.close()

        server = await asyncio.start_server(connection, "127.0.0.1", 0)
        servers.append(server)
        return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    yield start
    for server in servers:
        server.close()
