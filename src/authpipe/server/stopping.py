"""Hears that the process is told to stop, beside the server that handles it."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def hearing_signals(tell: Callable[[], None]) -> Iterator[None]:
    """Have ``tell`` called on this event loop when a signal comes that the server handles.

    A server finishes its requests before it sends the lifespan's end, so what never ends by itself must hear
    of it earlier.  The server's own handler is called as before, also one that hangs on the event loop: that
    is woken through a file descriptor.  Signals nobody handles keep their effect.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    before = {each: signal.getsignal(each) for each in _SIGNALS}

    def hear(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(tell)
        handler = before[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)

    for each, handler in before.items():
        if callable(handler) and handler is not signal.default_int_handler:
            signal.signal(each, hear)
            signal.siginterrupt(each, False)
    try:
        yield
    finally:
        for each, handler in before.items():
            if signal.getsignal(each) is hear:
                signal.signal(each, handler)
