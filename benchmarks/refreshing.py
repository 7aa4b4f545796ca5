"""What the benchmarks of the refresh engine share: a provider, a worker process, and what they cost."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import psutil

PROVIDER_PORT = 8831


@contextmanager
def token_endpoint(
    *, lifetime_s: int, latency_ms: float = 0, port: int = PROVIDER_PORT
) -> Iterator[psutil.Process]:
    """A provider in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.token_endpoint", str(port), str(lifetime_s), str(latency_ms)]
    )
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                if time.monotonic() > deadline or process.poll() is not None:
                    raise
                time.sleep(0.02)
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(timeout=10)


@asynccontextmanager
async def worker(**environment: str) -> AsyncIterator[psutil.Process]:
    """``authpipe worker``, from the moment it says it is ready until it has finished what it claimed."""
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("authpipe")),
        "worker",
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        said = await asyncio.wait_for(process.stdout.readline(), 60)
        if b"ready" not in said:
            raise RuntimeError("the worker did not start")
        yield psutil.Process(process.pid)
    finally:
        if process.returncode is None:
            process.terminate()
            await asyncio.wait_for(process.wait(), 60)


@asynccontextmanager
async def onlooker(dsn: str) -> AsyncIterator[asyncpg.Connection[Any]]:
    """A connection that sees every row."""
    connection = await asyncpg.connect(dsn, server_settings={"role": "authpipe_system"})
    try:
        yield connection
    finally:
        await connection.close()


@dataclass(frozen=True, slots=True)
class Spent:
    """Processor seconds, of a process and what it started."""

    seconds: float

    @classmethod
    def by(cls, *processes: psutil.Process) -> Spent:
        """What these have spent so far, with their children living and dead."""
        total = 0.0
        for process in processes:
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
            for child in process.children(recursive=True):
                try:
                    own = child.cpu_times()
                except psutil.NoSuchProcess:
                    continue
                total += own.user + own.system
        return cls(total)

    @classmethod
    def by_dead_children(cls) -> Spent:
        """What the processes that this one started and saw end have spent."""
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return cls(used.ru_utime + used.ru_stime)


def postmaster(directory: Path) -> psutil.Process:
    """The database server of a stage."""
    return psutil.Process(int((directory / "postgres" / "data" / "postmaster.pid").read_text().split()[0]))


def peak_memory_mib(process: psutil.Process) -> float:
    """The most a process had in memory."""
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("the kernel does not tell")
