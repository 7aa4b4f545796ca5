"""The ASGI application: API and pages as one, over rooms that are open while it lives."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from starlette.types import ASGIApp, Receive, Scope, Send

from authpipe.domain.errors import ConfigurationError
from authpipe.server.observation import Observation
from authpipe.server.proxies import ProxyAddresses
from authpipe.server.services import api_services, page_services
from authpipe.server.settings import load_settings
from authpipe.server.wiring import Rooms, open_rooms
from authpipe.telemetry.logs import configure, get_logger

#: Seconds between two looks whether the supervising process is still there.
_WATCH_S = 1.0

_log = get_logger(__name__)


def build_application(rooms: Rooms) -> ASGIApp:
    """API and pages over open rooms.  The rooms must stay open while it serves."""
    from authpipe.api.application import build as build_api
    from authpipe.pages.routes import build as build_pages

    application = build_api(api_services(rooms))
    application.router.routes.extend(build_pages(page_services(rooms)))
    return observed(application, rooms)


def observed(application: ASGIApp, rooms: Rooms) -> ASGIApp:
    """The application with its requests logged and counted, under the caller's address."""
    return ProxyAddresses(Observation(application, rooms.metrics), rooms.settings.trusted_proxies)


class Application:
    """Opens rooms of its own, by the environment's settings, when the server tells it to start up.

    For servers that import their application, in as many processes as they like: ``authpipe.server.asgi:
    application``.  The schema must be up to date (``authpipe migrate``).  ``supervised`` ends the process
    when the one that started it dies, however that happens.
    """

    def __init__(
        self, *, build: Callable[[Rooms], ASGIApp] = build_application, supervised: bool = False
    ) -> None:
        self._build = build
        self._supervised = supervised
        self._application: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif self._application is None:
            raise RuntimeError("the application was not started up: run it with ASGI lifespan on")
        else:
            await self._application(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            settings = load_settings()
            configure(settings.log_level, json=settings.log_json)
            async with open_rooms(settings) as rooms, self._watched():
                self._application = self._build(rooms)
                await send({"type": "lifespan.startup.complete"})
                await receive()
                self._application = None
        except ConfigurationError as error:
            await send({"type": "lifespan.startup.failed", "message": error.message})
            return
        await send({"type": "lifespan.shutdown.complete"})

    @asynccontextmanager
    async def _watched(self) -> AsyncIterator[None]:
        if not self._supervised:
            yield
            return
        watcher = asyncio.create_task(_end_with_parent(os.getppid()))
        try:
            yield
        finally:
            watcher.cancel()
            with suppress(asyncio.CancelledError):
                await watcher


async def _end_with_parent(parent: int) -> None:
    while os.getppid() == parent:  # noqa: ASYNC110  # nothing tells a process of its parent's death portably
        await asyncio.sleep(_WATCH_S)
    _log.warning("the supervising process is gone; stopping")
    os.kill(os.getpid(), signal.SIGTERM)


application = Application()
supervised = Application(supervised=True)
