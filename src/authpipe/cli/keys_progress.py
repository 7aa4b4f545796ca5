"""Work on keys that may take its time: how far it is, and an end at any moment."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from authpipe.cli.administration import settings_for_a_command
from authpipe.cli.failures import complain
from authpipe.cli.output import console

if TYPE_CHECKING:
    from rich.console import Console

    from authpipe.server.wiring import Rooms
    from authpipe.vault.rotation import Progress

T = TypeVar("T")

#: Seconds between two lines where there is no terminal.
_LINE_EVERY_S = 1.0


def work_with_progress(work: Callable[[Rooms, Progress], Awaitable[T]], *, doing: str) -> T:
    """The result of ``work`` on open rooms, with a bar on standard error, or a line now and then.

    Ctrl-C ends it between two transactions, and says that running it again goes on.
    """
    from authpipe.server.wiring import open_rooms

    settings = settings_for_a_command()
    terminal = console(stderr=True)

    async def run() -> T:
        async with open_rooms(settings) as rooms:
            with _bar(terminal, doing) if terminal.is_terminal else _lines(terminal, doing) as progress:
                return await work(rooms, progress)

    try:
        return asyncio.run(run())
    except KeyboardInterrupt:
        complain("stopped; what is done stays done, and the same command goes on from there")
        raise


@contextmanager
def _bar(terminal: Console, doing: str) -> Iterator[Progress]:
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(*columns, console=terminal, transient=True) as bar:
        task = bar.add_task(doing, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def _lines(terminal: Console, doing: str) -> Iterator[Progress]:
    told = -_LINE_EVERY_S

    def tell(done: int, total: int) -> None:
        nonlocal told
        if time.monotonic() - told >= _LINE_EVERY_S:
            told = time.monotonic()
            terminal.print(f"{doing}: {done} of {total}", soft_wrap=True)

    yield tell
