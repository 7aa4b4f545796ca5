"""Work on the database itself: no server need run, and one that does may go on."""

from __future__ import annotations

import getpass
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from authpipe.cli.output import console
from authpipe.domain.event import ActorKind, Origin

if TYPE_CHECKING:
    from authpipe.server.settings import Settings
    from authpipe.server.wiring import Rooms

T = TypeVar("T")
#: Says what a command is at.
Tell = Callable[[str], None]


def origin() -> Origin:
    """Who causes the events of a command: the command line, and which account of this machine."""
    try:
        account: str | None = getpass.getuser()
    except (KeyError, OSError):  # an account without a name, as in many containers
        account = None
    return Origin(actor_kind=ActorKind.COMMAND_LINE, actor_id=account)


def settings_for_a_command() -> Settings:
    """The settings, with logs on standard error: warnings, or what ``AUTHPIPE_LOG_LEVEL`` asks for."""
    from authpipe.server.settings import load_settings
    from authpipe.telemetry.logs import configure

    settings = load_settings()
    told = "log_level" in settings.model_fields_set
    configure(settings.log_level if told else "WARNING", json=settings.log_json)
    return settings


def administer(work: Callable[[Rooms], Awaitable[T]], *, migrate: bool = False) -> T:
    """The result of ``work`` on open rooms.  Joins the embedded PostgreSQL, or starts it for the moment.

    Raises what ``work`` raises, and ``ConfigurationError``.
    """
    return administer_telling(lambda rooms, _: work(rooms), migrate=migrate)


def administer_telling(work: Callable[[Rooms, Tell], Awaitable[T]], *, migrate: bool = False) -> T:
    """As :func:`administer`, for work that says what it is at; shown where there is a terminal."""
    import asyncio

    from authpipe.server.wiring import open_rooms

    settings = settings_for_a_command()

    async def run() -> T:
        async with open_rooms(settings, migrate=migrate) as rooms:
            return await work(rooms, status.update)

    with console(stderr=True).status("working") as status:
        return asyncio.run(run())
