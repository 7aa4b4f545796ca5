"""One process tree for development: database, sandbox, server and worker, ready to be asked."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from authpipe.cli.administration import origin
from authpipe.cli.development_environment import RETURN_URLS, development_key, ensure_development
from authpipe.cli.supervisor import Program, Say, Supervisor
from authpipe.domain.errors import ConfigurationError
from authpipe.domain.secret import Secret

if TYPE_CHECKING:
    from authpipe.cli.sandbox_configs import SandboxConfigs
    from authpipe.server.settings import Settings

_SANDBOX, _SERVER, _WORKER = "sandbox", "server", "worker"
_API_AND_PAGES = ("authpipe.server.run", "authpipe.api.application", "authpipe.pages.routes")

#: Told what is there now, and after how many seconds.
Progress = Callable[[str, float], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Development:
    """A running set-up.  ``ready_s`` is how long its start took, in seconds."""

    url: str
    sandbox_url: str
    api_key: Secret
    environment: str
    sandbox: SandboxConfigs
    ready_s: float


@asynccontextmanager
async def running_development(
    settings: Settings,
    *,
    sandbox_port: int,
    say: Say,
    progress: Progress,
    return_urls: Sequence[str] = (),
) -> AsyncIterator[Development]:
    """The set-up, running for as long as the context is open; no process of it is left afterwards.

    ``settings`` must allow calls to this machine.  ``return_urls`` are allowed beside the usual ones.
    Raises ``ConfigurationError`` when a part of it cannot start.
    """
    begun = time.monotonic()
    tree = _Tree(settings, f"http://127.0.0.1:{sandbox_port}", say)

    def told(what: str) -> None:
        progress(what, time.monotonic() - begun)

    async with AsyncExitStack() as stack:
        await tree.open(stack, sandbox_port, told)
        key, environment = await tree.set_up((*RETURN_URLS, *return_urls), told)
        yield Development(
            url=settings.public_url,
            sandbox_url=tree.sandbox_url,
            api_key=key,
            environment=environment,
            sandbox=tree.configs,
            ready_s=time.monotonic() - begun,
        )


class _Tree:
    def __init__(self, settings: Settings, sandbox_url: str, say: Say) -> None:
        self.sandbox_url = sandbox_url
        self._settings = settings
        self._say = say
        self._starting: dict[str, asyncio.Task[None]] = {}
        self._supervisor: Supervisor
        self.configs: SandboxConfigs

    async def open(self, stack: AsyncExitStack, sandbox_port: int, told: Callable[[str], None]) -> None:
        """Have every process on its way; the database is waited for."""
        from authpipe.server.first_start import prepare
        from authpipe.store.embedded import EmbeddedPostgres

        prepare(self._settings)
        if self._settings.database_url is None:
            postgres = EmbeddedPostgres(self._settings.data_dir)
            stack.push_async_callback(postgres.stop)
        supervisor = self._supervisor = Supervisor(self._say, self._register_again)
        stack.push_async_callback(supervisor.stop)
        stack.push_async_callback(self._abandon)
        for program in (
            Program(_SERVER, ("serve",), _API_AND_PAGES),
            Program(_SANDBOX, ("sandbox", "--port", str(sandbox_port)), ("authpipe.sandbox.server",)),
            Program(_WORKER, ("worker",), ("authpipe.server.run",)),
        ):
            supervisor.prepare(program)
        # The sandbox plays the outside world: it is not told where the database is.
        self._start(_SANDBOX, {})
        importing = asyncio.create_task(asyncio.to_thread(import_module, "authpipe.server.wiring"))
        if self._settings.database_url is None:
            # The address goes to everyone as a setting: then this process alone owns the server, and it ends
            # with it even when a child would have liked to take over.
            dsn = await postgres.start()
            self._settings = self._settings.model_copy(update={"database_url": Secret(dsn)})
        await importing
        told("database")

    async def set_up(self, return_urls: Sequence[str], told: Callable[[str], None]) -> tuple[Secret, str]:
        """Environment, key and provider configs, while the processes start; returns when all are ready."""
        from authpipe.cli.sandbox_configs import configure_sandbox
        from authpipe.server.wiring import open_rooms

        async with open_rooms(self._settings, migrate=True) as rooms:
            for name in (_SERVER, _WORKER):
                self._start(name, self._settings.as_environment())
            environment, _ = await ensure_development(rooms.environments, return_urls, origin=origin())
            key = await development_key(rooms, environment, origin=origin())
            await self._all_well(_SANDBOX)
            told("sandbox")
            self.configs = await configure_sandbox(rooms, environment, self.sandbox_url, origin=origin())
            told("providers")
        await self._all_well(_WORKER)
        told("worker")
        await self._all_well(_SERVER)
        told("server")
        return key, environment.name

    def _start(self, name: str, environment: dict[str, str]) -> None:
        self._starting[name] = asyncio.create_task(self._supervisor.start(name, environment))

    async def _all_well(self, name: str) -> None:
        """Wait for one, and raise at once when any fails."""
        while not self._starting[name].done():
            pending = {task for task in self._starting.values() if not task.done()}
            done, _ = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()

    async def _abandon(self) -> None:
        for task in self._starting.values():
            task.cancel()
        if self._starting:
            await asyncio.wait(self._starting.values())

    async def _register_again(self, name: str) -> None:
        """A new sandbox knows nothing: its applications must hear their redirect URIs again."""
        if name == "sandbox":
            with contextlib.suppress(ConfigurationError):
                await self.configs.register(self.sandbox_url)
                self._say(name, "its state is new: what was connected before needs to be connected again")
