"""Open change streams do not hold a stop up, in one process and in several under one."""

from __future__ import annotations

import asyncio
import signal
import time

import pytest

from authpipe.domain.access import ApiKeyRole
from authpipe.domain.environment import EnvironmentKind
from authpipe.domain.event import ActorKind, Origin
from authpipe.server.settings import Settings
from authpipe.server.wiring import open_rooms
from support.streams import Reader, reading

ORIGIN = Origin(actor_kind=ActorKind.COMMAND_LINE)
SERVE = """
from authpipe.server.run import serve
from authpipe.server.settings import load_settings

if __name__ == "__main__":
    serve(load_settings(), ready=lambda: print("ready", flush=True))
"""


async def key_for(settings: Settings) -> str:
    async with open_rooms(settings) as rooms:
        environment = await rooms.environments.create(
            "main", kind=EnvironmentKind.DEVELOPMENT, return_urls=[], origins=[], origin=ORIGIN
        )
        _, text = await rooms.api_keys.create(
            environment.environment_id, name="test", role=ApiKeyRole.SERVER, origin=ORIGIN
        )
    return text.reveal()


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
async def test_a_stop_ends_open_streams_at_once(processes: int, how, configure, launch) -> None:  # type: ignore[no-untyped-def]
    """Each with a proper end, not a cut; the program ends with exit code 0, long before requests must."""
    settings = configure(processes=processes)
    key = await key_for(settings)
    program = await launch(SERVE, settings)
    await program.says("ready")
    streams: list[Reader] = []
    opened = asyncio.Semaphore(0)

    async def follow() -> float:
        async with reading(settings.local_url, key) as stream:
            await stream.event("hello")
            streams.append(stream)
            opened.release()
            await stream.end(15)
            return time.monotonic()

    followers = [asyncio.create_task(follow()) for _ in range(20)]
    for _ in followers:
        await asyncio.wait_for(opened.acquire(), 15)
    began = time.monotonic()
    program.child.send_signal(how)
    ended = await asyncio.gather(*followers)
    assert max(ended) - began < 2
    assert await program.ends() == 0
    assert time.monotonic() - began < 5
    assert "Traceback" not in program.log.read_text()


async def test_a_reader_that_takes_nothing_does_not_hold_a_stop_up(configure, launch) -> None:  # type: ignore[no-untyped-def]
    """Nor does one whose machine is gone without a word."""
    settings = configure()
    key = await key_for(settings)
    program = await launch(SERVE, settings)
    await program.says("ready")
    reader, writer = await asyncio.open_connection("127.0.0.1", settings.port)
    writer.write(f"GET /v1/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\r\n".encode())
    await asyncio.wait_for(reader.readuntil(b"hello"), 5)
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    began = time.monotonic()
    program.child.send_signal(signal.SIGTERM)
    assert await program.ends() == 0
    assert time.monotonic() - began < 5
    writer.close()
