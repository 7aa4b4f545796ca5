"""The processes: serving requests, working off what is due, and stopping when told to."""

from __future__ import annotations

import asyncio
import resource
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from starlette.types import ASGIApp

from authpipe.domain.errors import ConfigurationError
from authpipe.server.asgi import build_application, keep_what_is_there
from authpipe.server.http import check_address, serve_here, serve_supervised
from authpipe.server.settings import Settings
from authpipe.server.wiring import Rooms, open_rooms
from authpipe.telemetry.logs import configure, get_logger

#: Seconds the worker has to finish what it claimed: more than one provider call may take (20).
_FINISH_S = 25.0

_log = get_logger(__name__)


def serve(
    settings: Settings,
    *,
    migrate: bool = False,
    with_worker: bool = False,
    ready: Callable[[], None] | None = None,
    build: Callable[[Rooms], ASGIApp] = build_application,
) -> None:
    """Serve API and pages until SIGINT or SIGTERM; requests under way are finished first.

    ``ready`` is called once connections are accepted.  ``with_worker`` runs the worker in the same process.
    ``settings.processes`` above one makes so many processes under this one, which replaces those that die;
    ``with_worker`` and ``build`` are for one process.  A second signal ends it at once.  Raises
    ``ConfigurationError`` before anything is served.
    """
    configure(settings.log_level, json=settings.log_json)
    _leave_no_core()
    check_address(settings)
    if settings.processes > 1:
        if with_worker:
            raise ConfigurationError(
                "run the worker on its own (authpipe worker) when AUTHPIPE_PROCESSES > 1"
            )
        asyncio.run(_try_out(settings, migrate))
        serve_supervised(settings, ready=ready)
    else:
        asyncio.run(_serve_one(settings, migrate, with_worker, ready, build))


def run_worker(settings: Settings, *, migrate: bool = False, ready: Callable[[], None] | None = None) -> None:
    """Refresh credentials, end overdue sessions and link events until SIGINT or SIGTERM; then finish.

    ``ready`` is called before the first round.  Raises ``ConfigurationError`` when it cannot start.
    """
    configure(settings.log_level, json=settings.log_json)
    _leave_no_core()
    asyncio.run(_work_alone(settings, migrate, ready))


def _leave_no_core() -> None:
    """A core file would hold every key and credential in memory.  Processes begun from here inherit it."""
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))


async def _serve_one(
    settings: Settings,
    migrate: bool,
    with_worker: bool,
    ready: Callable[[], None] | None,
    build: Callable[[Rooms], ASGIApp],
) -> None:
    async with (
        _told_to_stop() as stop,
        open_rooms(settings, migrate=migrate) as rooms,
        asyncio.TaskGroup() as group,
    ):
        application = build(rooms)
        keep_what_is_there()
        group.create_task(
            serve_here(application, settings, stop, ready=ready, on_stop=rooms.change_streams.stop)
        )
        if with_worker:
            group.create_task(_work(rooms, stop))


async def _try_out(settings: Settings, migrate: bool) -> None:
    """What is wrong is said here once, and not by every process of many."""
    async with open_rooms(settings, migrate=migrate):
        _log.debug("the settings work")


async def _work_alone(settings: Settings, migrate: bool, ready: Callable[[], None] | None) -> None:
    async with _told_to_stop() as stop, open_rooms(settings, migrate=migrate) as rooms:
        keep_what_is_there()
        if ready is not None:
            ready()
        await _work(rooms, stop)


async def _work(rooms: Rooms, stop: asyncio.Event) -> None:
    """Every worker until ``stop``, then for as long as they need to finish, within reason."""
    connecting = rooms.connecting
    workers = (
        rooms.refresh_worker,
        connecting.reaper,
        connecting.erasure_resumption,
        rooms.audit_chain,
        rooms.rotating.upkeep,
        rooms.signing_in.cleanup,
    )
    working = {asyncio.create_task(worker.run()) for worker in workers}
    stopping = asyncio.create_task(stop.wait())
    _log.info("the worker is at work")
    try:
        done, _ = await asyncio.wait({*working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        for worker in workers:
            worker.stop()
        # Answers that wait for an absent database stay on disk; there is no use in waiting for it.
        await asyncio.wait(working, timeout=_FINISH_S)
        if stopping not in done:
            raise RuntimeError("the worker ended by itself")
    finally:
        for task in (*working, stopping):
            task.cancel()
        await asyncio.wait({*working, stopping})


@asynccontextmanager
async def _told_to_stop() -> AsyncIterator[asyncio.Event]:
    """An event that the first SIGINT or SIGTERM sets; the second has its usual, immediate effect."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    signals = (signal.SIGINT, signal.SIGTERM)

    def hear() -> None:
        for each in signals:
            loop.remove_signal_handler(each)
        _log.info("stopping")
        stop.set()

    for each in signals:
        loop.add_signal_handler(each, hear)
    try:
        yield stop
    finally:
        for each in signals:
            loop.remove_signal_handler(each)
