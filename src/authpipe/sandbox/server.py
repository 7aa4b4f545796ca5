"""The simulator as a server: one aiohttp application on one address."""

from __future__ import annotations

import asyncio
import signal
import sys
from types import TracebackType
from typing import Self

from aiohttp import web

from authpipe.domain.clock import Clock, SystemClock
from authpipe.sandbox import pages
from authpipe.sandbox.aircall import Aircall
from authpipe.sandbox.clicksend import ClickSend
from authpipe.sandbox.consent import AuthorizeEndpoint
from authpipe.sandbox.control import Control, control_errors_middleware
from authpipe.sandbox.control_faults import FaultControl
from authpipe.sandbox.control_providers import ProviderControl
from authpipe.sandbox.dialpad import Dialpad
from authpipe.sandbox.discord_api import DiscordApi, user_agent_middleware
from authpipe.sandbox.discord_consent import DiscordConsent
from authpipe.sandbox.discord_oauth import DiscordOAuth
from authpipe.sandbox.drift import Drift
from authpipe.sandbox.fault_middleware import fault_middleware
from authpipe.sandbox.journal import journal_middleware
from authpipe.sandbox.limit_middleware import limit_middleware
from authpipe.sandbox.state import SandboxState

#: How long a stopping server waits for requests under way before it cuts them.
_SHUTDOWN_S = 0.5


def build_application(state: SandboxState) -> web.Application:
    """The aiohttp application of one simulated world.

    Middlewares run outermost first: whatever happens to a request is journalled, and the rate-limit headers
    stand on injected failures as they do on true ones.
    """
    application = web.Application(
        middlewares=[
            control_errors_middleware(),
            journal_middleware(state.journal),
            limit_middleware(state),
            fault_middleware(state.faults),
            user_agent_middleware(),
        ]
    )

    async def front(request: web.Request) -> web.Response:
        return pages.front(str(request.url.origin()))

    async def release_held_requests(_: web.Application) -> None:
        state.faults.clear()

    application.add_routes([web.get("/", front)])
    for part in (
        Control(state),
        FaultControl(state),
        ProviderControl(state),
        AuthorizeEndpoint(state, "/discord/oauth2/authorize", DiscordConsent(state)),
        DiscordOAuth(state),
        DiscordApi(state),
        Aircall(state),
        ClickSend(state),
        Dialpad(state),
        Drift(state),
    ):
        application.add_routes(part.routes())
    application.on_shutdown.append(release_held_requests)
    return application


class SandboxServer:
    """Serves the simulator while the context is open.  Port 0 takes a free port; see :attr:`url`."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0, clock: Clock | None = None) -> None:
        self.state = SandboxState(clock or SystemClock())
        self._host = host
        self._port = port
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """The address of the running server, without a slash at the end."""
        if self._runner is None:
            raise RuntimeError("the sandbox is not running")
        host, port = self._runner.addresses[0][:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def __aenter__(self) -> Self:
        runner = web.AppRunner(
            build_application(self.state), access_log=None, shutdown_timeout=_SHUTDOWN_S, handle_signals=False
        )
        await runner.setup()
        try:
            await web.TCPSite(runner, self._host, self._port).start()
        except OSError:
            await runner.cleanup()
            raise
        self._runner = runner
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()


async def run(host: str, port: int) -> None:
    """Serve until SIGINT or SIGTERM, then return.  Prints one line with the URL once it answers.

    Raises ``OSError`` when the address cannot be bound.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    try:
        async with SandboxServer(host, port) as sandbox:
            sys.stdout.write(f"sandbox ready at {sandbox.url}\n")
            sys.stdout.flush()
            await stop.wait()
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
