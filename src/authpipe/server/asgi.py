"""The ASGI application: API and pages as one, over rooms that are open while it lives."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

from starlette.types import ASGIApp, Receive, Scope, Send

from authpipe.domain.errors import ConfigurationError
from authpipe.server.observation import Observation
from authpipe.server.proxies import ProxyAddresses
from authpipe.server.services import api_services, page_services
from authpipe.server.settings import load_settings
from authpipe.server.stopping import hearing_signals
from authpipe.server.wiring import Rooms, open_rooms
from authpipe.telemetry.logs import configure, get_logger

#: Python's own 700 is a few dozen requests.  Cycles of garbage are rare here and add up to some megabytes.
_OBJECTS_BETWEEN_COLLECTIONS = 20_000

_log = get_logger(__name__)


def build_application(rooms: Rooms) -> ASGIApp:
    """API and pages over open rooms.  The rooms must stay open while it serves."""
    from authpipe.api.application import build as build_api
    from authpipe.api.rules import check_rules
    from authpipe.api.short_way import ShortWay
    from authpipe.pages.routes import build as build_pages

    application = build_api(api_services(rooms))
    application.router.routes.extend(build_pages(page_services(rooms)))
    check_rules(application.routes)
    return observed(ShortWay(application), rooms)


def keep_what_is_there() -> None:
    """Tell the garbage collector that what has been loaded so far is there to stay.

    It would look through all of it again and again while requests wait, and through what the requests under
    way hold, which is no garbage either.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)


def observed(application: ASGIApp, rooms: Rooms) -> ASGIApp:
    """The application with its requests logged and counted, under the caller's address."""
    seen = Observation(application, rooms.metrics)
    trusted = rooms.settings.trusted_proxies
    return ProxyAddresses(seen, trusted) if trusted else seen


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
        stage = "startup"
        try:
            settings = load_settings()
            configure(settings.log_level, json=settings.log_json)
            with _ending_with_parent() if self._supervised else nullcontext():
                async with open_rooms(settings) as rooms:
                    self._application = self._build(rooms)
                    keep_what_is_there()
                    with hearing_signals(rooms.change_streams.stop):
                        await send({"type": "lifespan.startup.complete"})
                        stage = "shutdown"
                        await receive()
                    self._application = None
        except Exception as error:  # noqa: BLE001  # servers take any other end as "serve without a lifespan"
            if isinstance(error, ConfigurationError):
                message = error.message
            else:
                message = f"{stage} failed: {type(error).__name__}"
                _log.error(message, exc_info=error)
            await send({"type": f"lifespan.{stage}.failed", "message": message})
            return
        await send({"type": "lifespan.shutdown.complete"})


@contextmanager
def _ending_with_parent() -> Iterator[None]:
    """Tell this process to stop when the one that started it is gone, for whatever reason."""
    parent = multiprocessing.parent_process()
    if parent is None:
        yield
        return
    loop = asyncio.get_running_loop()
    # A pipe whose other end only the parent holds: it becomes readable when the parent ends, also when that
    # was before this process could look.
    gone = parent.sentinel

    def stop() -> None:
        loop.remove_reader(gone)
        _log.warning("the supervising process is gone; stopping")
        os.kill(os.getpid(), signal.SIGTERM)

    loop.add_reader(gone, stop)
    try:
        yield
    finally:
        loop.remove_reader(gone)


application = Application()
supervised = Application(supervised=True)
