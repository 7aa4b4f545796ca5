"""Runs a coroutine until it is done or somebody wants the program to stop."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Coroutine
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run_until_told(main: Coroutine[Any, Any, int], *, told: int) -> int:
    """The coroutine's exit code, or ``told`` when a signal ended it; what it opened is closed first.

    SIGINT, SIGTERM and SIGHUP (the terminal was closed) cancel it.  A second one ends the program at once:
    its children then end by themselves, since they watch it.
    """
    return asyncio.run(_run(main, told))


async def _run(main: Coroutine[Any, Any, int], told: int) -> int:
    loop = asyncio.get_running_loop()
    task = asyncio.create_task(main)
    stopped = False

    def stop(number: int) -> None:
        nonlocal stopped
        if stopped:
            os._exit(128 + number)
        stopped = True
        task.cancel()

    for each in _SIGNALS:
        loop.add_signal_handler(each, stop, each)
    try:
        return await task
    except asyncio.CancelledError:
        if not stopped:
            raise
        return told
    finally:
        for each in _SIGNALS:
            loop.remove_signal_handler(each)
