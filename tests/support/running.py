"""A running Authpipe: servers, workers and the sandbox as processes of their own on one data directory."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Self
from uuid import UUID

import aiohttp

from authpipe.domain.access import ApiKeyRole
from authpipe.domain.environment import EnvironmentKind
from authpipe.domain.event import ActorKind, Origin
from authpipe.server.first_start import prepare
from authpipe.server.settings import Settings, load_settings
from authpipe.server.wiring import open_rooms

RETURN_URL = "http://127.0.0.1:9/connected"

_LOAD = "from authpipe.server.settings import load_settings as load; from authpipe.server.run import "
_SERVE = _LOAD + "serve; serve(load())"
_WORK = _LOAD + "run_worker; run_worker(load())"


def free_port() -> int:
    """A port nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Process:
    """A child whose output goes to a file."""

    name: str
    child: asyncio.subprocess.Process
    log: Path
    output: IO[bytes]

    def kill(self) -> None:
        """As a crash would."""
        self.child.send_signal(signal.SIGKILL)

    async def stop(self) -> None:
        """As an operator would; a child that does not end in 20 seconds fails the test."""
        if self.child.returncode is None:
            self.child.send_signal(signal.SIGTERM)
        await asyncio.wait_for(self.child.wait(), 20)
        self.output.close()


@dataclass
class Running:
    """Start it with ``async with``; every process it started is gone afterwards.

    ``given`` are settings of its own, ``environment`` further variables of every process, and ``serving`` the
    program that a server is.
    """

    data_dir: Path
    servers: int = 1
    workers: int = 1
    sandbox_url: str = ""
    urls: list[str] = field(default_factory=list)
    api_key: str = ""
    environment_id: UUID | None = None
    processes: list[Process] = field(default_factory=list)
    settings: list[Settings] = field(default_factory=list)
    given: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    serving: str = _SERVE

    async def __aenter__(self) -> Self:
        sandbox_port = free_port()
        self.sandbox_url = f"http://127.0.0.1:{sandbox_port}"
        for _ in range(max(self.servers, 1)):
            self.settings.append(
                load_settings(
                    data_dir=self.data_dir,
                    port=free_port(),
                    allow_loopback_egress=True,
                    log_level="DEBUG",
                    log_json=True,
                    **self.given,
                )
            )
        try:
            await self._prepare()
            await self.start("sandbox", "-m", "authpipe.sandbox", "--port", str(sandbox_port))
            for number in range(self.servers):
                await self.start_server(number)
            for number in range(self.workers):
                await self.start_worker(number)
            for url in [self.sandbox_url + "/_control", *(f"{url}/healthz" for url in self.urls)]:
                await self._until_up(url)
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        for process in reversed(self.processes):
            await process.stop()

    async def start_server(self, number: int) -> Process:
        """A server on its own port, on the shared data directory."""
        settings = self.settings[number]
        if settings.local_url not in self.urls:
            self.urls.append(settings.local_url)
        return await self.start(f"server-{number}", "-c", self.serving, settings=settings)

    async def start_worker(self, number: int) -> Process:
        """A worker on the shared data directory."""
        return await self.start(f"worker-{number}", "-c", _WORK, settings=self.settings[0])

    async def start(self, name: str, *arguments: str, settings: Settings | None = None) -> Process:
        """A Python child whose output is kept in ``logs/<name>.log``."""
        log = self.data_dir.parent / f"{self.data_dir.name}-logs" / f"{name}-{len(self.processes)}.log"
        log.parent.mkdir(exist_ok=True)
        output = log.open("wb")
        own = {name: value for name, value in os.environ.items() if not name.startswith("AUTHPIPE_")}
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-W",
            "ignore",
            *arguments,
            env=own | self.environment | (settings.as_environment() if settings else {}),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        process = Process(name, child, log, output)
        self.processes.append(process)
        return process

    def logs(self) -> dict[str, bytes]:
        """What every process wrote so far."""
        return {process.log.name: process.log.read_bytes() for process in self.processes}

    async def _prepare(self) -> None:
        """A database with one environment and one API key, and then no process that holds it."""
        prepare(self.settings[0])
        origin = Origin(actor_kind=ActorKind.COMMAND_LINE)
        async with open_rooms(self.settings[0], migrate=True) as rooms:
            environment = await rooms.environments.create(
                name="development",
                kind=EnvironmentKind.DEVELOPMENT,
                return_urls=[RETURN_URL],
                origins=[],
                origin=origin,
            )
            self.environment_id = environment.environment_id
            _, text = await rooms.api_keys.create(
                environment.environment_id, name="test", role=ApiKeyRole.ADMIN, origin=origin
            )
            self.api_key = text.reveal()

    async def _until_up(self, url: str) -> None:
        async with aiohttp.ClientSession() as session, asyncio.timeout(30):
            while True:
                dead = [process.name for process in self.processes if process.child.returncode is not None]
                if dead:
                    raise RuntimeError(f"{dead[0]} ended: {self.logs()}")
                try:
                    async with session.get(url) as response:
                        if response.status == 200:
                            return
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(0.02)
