"""Serving from several processes under one."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import aiohttp

SERVE = """
from authpipe.server.run import serve
from authpipe.server.settings import load_settings

if __name__ == "__main__":
    serve(load_settings(), ready=lambda: print("ready", flush=True))
"""
# Each process imports the program again, under another name, before the application starts up in it.
BREAK = """
from authpipe.server import asgi

if __name__ != "__main__":
    def broken(rooms):
        raise LookupError("a defect")

    asgi.supervised = asgi.Application(build=broken, supervised=True)
"""


def children_of(parent: int) -> list[int]:
    """The processes that answer requests; Python's own resource tracker is none."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
            command = (status.parent / "cmdline").read_text()
        except OSError:
            continue
        if int(fields[1]) == parent and fields[0] != "Z" and "spawn_main" in command:
            found.append(int(status.parent.name))
    return sorted(found)


async def is_up(url: str) -> bool:
    try:
        async with aiohttp.ClientSession() as session, session.get(f"{url}/healthz") as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False


async def until(condition, seconds: float = 20) -> None:  # type: ignore[no-untyped-def]
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.05)


async def test_processes_answer_are_replaced_and_stop_together(configure, launch) -> None:  # type: ignore[no-untyped-def]
    """One that dies is replaced; SIGTERM to the first ends all, with exit code 0."""
    settings = configure(processes=2)
    program = await launch(SERVE, settings)
    await program.says("ready")
    await until(lambda: len(children_of(program.child.pid)) == 2)
    assert await is_up(settings.local_url)
    before = children_of(program.child.pid)
    os.kill(before[0], signal.SIGKILL)
    await until(lambda: len(now := children_of(program.child.pid)) == 2 and before[0] not in now)
    program.child.send_signal(signal.SIGTERM)
    assert await program.ends() == 0
    assert not await is_up(settings.local_url)
    assert "Traceback" not in program.log.read_text()


async def test_no_process_outlives_the_one_that_started_it(configure, launch) -> None:  # type: ignore[no-untyped-def]
    """Not even when that one is killed."""
    settings = configure(processes=2)
    program = await launch(SERVE, settings)
    await program.says("ready")
    await until(lambda: len(children_of(program.child.pid)) == 2)
    orphans = children_of(program.child.pid)
    program.child.kill()
    await program.ends()
    await until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in orphans))


async def test_what_is_wrong_is_said_once_and_before_serving(configure, launch) -> None:  # type: ignore[no-untyped-def]
    """Not by every process anew."""
    settings = configure(processes=2)
    (settings.data_dir / "kek.key").unlink()
    program = await launch(SERVE, settings)
    assert await program.ends() == 1
    assert program.log.read_text().count("authpipe init") == 1


async def test_a_process_that_cannot_start_serves_nothing(configure, launch) -> None:  # type: ignore[no-untyped-def]
    """Whatever the reason: the program ends with exit code 1 and leaves no process behind."""
    settings = configure(processes=2)
    program = await launch(BREAK + SERVE, settings)
    seen: set[int] = set()
    async with asyncio.timeout(30):
        while program.child.returncode is None:
            seen.update(children_of(program.child.pid))
            assert not await is_up(settings.local_url)
            await asyncio.sleep(0.1)
    assert program.child.returncode == 1
    assert len(seen) >= 2
    await until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in seen))
    assert "startup failed: LookupError" in program.log.read_text()
    assert not program.said.read_text()
