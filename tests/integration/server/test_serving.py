"""Serving in one process: ready when it says so, and stopping without dropping anything."""

from __future__ import annotations

import asyncio
import signal
import socket

import aiohttp
import pytest

from authpipe.domain.errors import ConfigurationError
from authpipe.server.http import check_address

# A slow answer says when it began, so that the signal arrives in its midst.
SERVE = """
import asyncio, sys
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from authpipe.server.asgi import observed
from authpipe.server.run import serve
from authpipe.server.settings import load_settings

async def slow(request):
    print("began", flush=True)
    await asyncio.sleep(0.5)
    return PlainTextResponse(request.client.host)

async def stuck(request):
    print("began", flush=True)
    await asyncio.sleep(3600)

def build(rooms):
    return observed(Starlette(routes=[Route("/slow", slow), Route("/stuck", stuck)]), rooms)

serve(load_settings(), build=build, with_worker=True, ready=lambda: print("ready", flush=True))
print("closed", flush=True)
"""
WORK = """
from authpipe.server.run import run_worker
from authpipe.server.settings import load_settings
run_worker(load_settings(), ready=lambda: print("ready", flush=True))
print("closed", flush=True)
"""


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_lets_requests_finish_and_closes_everything(how, configure, launch) -> None:  # type: ignore[no-untyped-def]
    """The request under way is answered; the program ends by itself with exit code 0."""
    settings = configure()
    program = await launch(SERVE, settings)
    await program.says("ready")
    async with aiohttp.ClientSession() as session:
        asking = asyncio.create_task(session.get(f"{settings.local_url}/slow?code=CANARY"))
        await program.says("began")
        program.child.send_signal(how)
        answer = await asking
        assert (answer.status, await answer.text()) == (200, "127.0.0.1")
    await program.says("closed")
    assert await program.ends() == 0
    log = program.log.read_text()
    assert "route=/slow" in log
    assert "the worker is at work" in log
    assert "CANARY" not in log
    assert "Traceback" not in log
    assert "experimental" not in log


async def test_a_second_signal_ends_it_at_once(configure, launch) -> None:  # type: ignore[no-untyped-def]
    """For those who do not want to wait for a request that hangs."""
    settings = configure()
    program = await launch(SERVE, settings)
    await program.says("ready")
    async with aiohttp.ClientSession() as session:
        asking = asyncio.create_task(session.get(f"{settings.local_url}/stuck"))
        await program.says("began")
        program.child.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            while "stopping" not in program.log.read_text():
                await asyncio.sleep(0.02)
        program.child.send_signal(signal.SIGTERM)
        assert await program.ends() == -signal.SIGTERM
        with pytest.raises(aiohttp.ClientError):
            await asking


async def test_the_worker_stops_when_told(configure, launch) -> None:  # type: ignore[no-untyped-def]
    """With exit code 0."""
    program = await launch(WORK, configure())
    await program.says("ready")
    program.child.send_signal(signal.SIGTERM)
    await program.says("closed")
    assert await program.ends() == 0
    assert "Traceback" not in program.log.read_text()


async def test_a_port_in_use_is_refused_before_anything_is_served(configure) -> None:  # type: ignore[no-untyped-def]
    """Two servers would share it and each get half of the requests."""
    settings = configure()
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(("127.0.0.1", settings.port))
        holder.listen()
        with pytest.raises(ConfigurationError, match=f"cannot listen on 127.0.0.1 port {settings.port}"):
            check_address(settings)
    check_address(settings)


@pytest.mark.parametrize("host", ["203.0.113.5", "no-such-host.invalid", "a" * 300])
async def test_an_address_that_is_not_ours_is_refused(host: str, configure) -> None:  # type: ignore[no-untyped-def]
    """One line that names the setting."""
    with pytest.raises(ConfigurationError, match="AUTHPIPE_HOST"):
        check_address(configure(host=host))
