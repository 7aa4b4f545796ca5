"""The HTTP server, granian: inside this process, or as several processes under it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import multiprocessing
import os
import socket
import threading
from collections.abc import Callable
from copy import deepcopy
from typing import Any

from granian.constants import Interfaces
from granian.log import LogLevels
from granian.server import Server as SupervisingServer
from granian.server.embed import Server as EmbeddedServer
from starlette.types import ASGIApp

from authpipe.domain.errors import ConfigurationError
from authpipe.server.settings import Settings
from authpipe.telemetry.logs import SERVER_LOG_CONFIG, get_logger

#: Seconds a process has to finish its requests: a credential read may wait for a refresh for 25.
_DRAIN_S = 30
_BACKLOG = 1024
_LOOK_S = 0.05

_log = get_logger(__name__)


def check_address(settings: Settings) -> None:
    """Raise ``ConfigurationError`` when nobody can listen at the configured address.

    Asked before the server is: it shares a port with whoever holds it already, and would get half of the
    requests in silence.
    """
    family, address = _resolved(settings)
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
            # Linux lets a second socket bind, though not listen, where both set SO_REUSEADDR.
            probe.listen(1)
        except OSError as error:
            raise ConfigurationError(
                f"cannot listen on {settings.host} port {settings.port} ({error.strerror}): "
                "stop what uses it, or set AUTHPIPE_PORT or AUTHPIPE_HOST"
            ) from None


async def serve_here(
    application: ASGIApp,
    settings: Settings,
    stop: asyncio.Event,
    *,
    ready: Callable[[], None] | None = None,
    on_stop: Callable[[], None] | None = None,
) -> None:
    """Serve on this event loop until ``stop``, then finish the requests under way.

    ``application`` is not sent lifespan messages.  ``ready`` is called once connections are accepted,
    ``on_stop`` when they are not any more: it ends what would not end by itself.
    """
    told_by = logging.getLogger("_granian")
    told_by.addFilter(_is_news)
    server = EmbeddedServer(application, interface=Interfaces.ASGINL, **_options(settings))
    serving = asyncio.create_task(server.serve())
    stopping = asyncio.create_task(stop.wait())
    listening = asyncio.create_task(_announce(settings, ready))
    try:
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            serving.result()
            raise RuntimeError("the HTTP server ended by itself")
        if on_stop is not None:
            on_stop()
        server.stop()  # type: ignore[no-untyped-call]  # granian leaves it so
        await asyncio.wait({serving}, timeout=_DRAIN_S)
    finally:
        for task in (stopping, listening, serving):
            task.cancel()
        await asyncio.wait({stopping, listening, serving})
        told_by.removeFilter(_is_news)


def serve_supervised(settings: Settings, *, ready: Callable[[], None] | None = None) -> None:
    """Serve from ``settings.processes`` processes under this one, until it gets SIGINT or SIGTERM.

    Each opens its own rooms, with these settings, and is replaced when it dies.  Ends the program with exit
    code 1 when one cannot start.
    """
    # The processes read their settings anew: through the environment, whatever they came from here.
    os.environ.update(settings.as_environment())
    # A forked child would inherit threads' locks and open files; Python gives forking up as the default.
    multiprocessing.set_start_method("spawn", force=True)
    server = SupervisingServer(
        "authpipe.server.asgi:supervised",
        interface=Interfaces.ASGI,
        workers=settings.processes,
        respawn_failed_workers=True,
        workers_kill_timeout=_DRAIN_S,
        **_options(settings),
    )
    threading.Thread(target=lambda: asyncio.run(_announce(settings, ready)), daemon=True).start()
    server.serve()


def _options(settings: Settings) -> dict[str, Any]:
    return {
        "address": _resolved(settings)[1][0],
        "port": settings.port,
        "backlog": _BACKLOG,
        "websockets": False,
        "log_level": LogLevels(settings.log_level.lower()),
        # A copy: granian writes its level into what it is given.
        "log_dictconfig": deepcopy(SERVER_LOG_CONFIG),
        # Requests are logged by the application, which knows their routes.
        "log_access": False,
    }


def _resolved(settings: Settings) -> tuple[socket.AddressFamily, tuple[Any, ...]]:
    try:
        found = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (OSError, UnicodeError):
        raise ConfigurationError(
            "AUTHPIPE_HOST must be the address of an interface of this machine, such as 127.0.0.1 or 0.0.0.0"
        ) from None
    family, _, _, _, address = found[0]
    return family, address


async def _announce(settings: Settings, ready: Callable[[], None] | None) -> None:
    """Say that the server is ready when it is: once a connection is accepted."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)
    while True:
        try:
            _, writer = await asyncio.open_connection(host, settings.port)
        except OSError:
            await asyncio.sleep(_LOOK_S)
            continue
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        break
    _log.info("ready", address=settings.local_url)
    if ready is not None:
        ready()


def _is_news(record: logging.LogRecord) -> bool:
    """Granian warns at every start that serving on a running loop is new in it; we know."""
    return "experimental" not in str(record.msg)
