"""Concurrency of the blocking client: one request for many waiting threads, and one thread for refetches."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from authpipe.sdk.cache import Entry, Key
from authpipe.sdk.errors import AuthpipeError

T = TypeVar("T")

logger = logging.getLogger("authpipe.sdk")

# A client that is no longer used, and was not closed, lets go of its thread (and itself) after this long.
IDLE_S = 30.0
# How long close() waits for a refetch under way before its connection is taken from it.
CLOSE_WAIT_S = 2.0


class _Flight(Generic[T]):
    __slots__ = ("done", "error", "landed", "result")

    def __init__(self) -> None:
        self.done = threading.Event()
        self.landed = False
        self.result: T | None = None
        self.error: AuthpipeError | None = None


class Flights(Generic[T]):
    """Callers that want the same thing at the same time share one attempt and its outcome."""

    def __init__(self) -> None:
        self.after_fork()

    def after_fork(self) -> None:
        """In a forked child: nobody is under way."""
        self._lock = threading.Lock()
        self._open: dict[Key, _Flight[T]] = {}

    def share(self, key: Key, attempt: Callable[[], T]) -> T:
        """The outcome of ``attempt``, run by the first caller.  Raises what it raised.

        Where the first caller was interrupted (KeyboardInterrupt, a killed thread), the next takes over.
        """
        while True:
            with self._lock:
                flight = self._open.get(key)
                first = flight is None
                if flight is None:
                    flight = self._open[key] = _Flight()
            if first:
                return self._lead(key, flight, attempt)
            flight.done.wait()
            if flight.error is not None:
                raise flight.error.for_another_waiter()
            if flight.landed:
                return flight.result  # type: ignore[return-value]  # landed: the result is there

    def _lead(self, key: Key, flight: _Flight[T], attempt: Callable[[], T]) -> T:
        try:
            result = attempt()
            flight.result, flight.landed = result, True
            return result
        except AuthpipeError as error:
            flight.error = error.for_another_waiter()
            raise
        finally:
            with self._lock:
                self._open.pop(key, None)
            flight.done.set()


class Refetcher:
    """Runs refetches one after another on a daemon thread, started when there is the first one."""

    def __init__(self, work: Callable[[Key, Entry], None]) -> None:
        self._work = work
        self._closed = False
        self.after_fork()

    def after_fork(self) -> None:
        """In a forked child: no thread, nothing due."""
        self._lock = threading.Lock()
        self._due: queue.SimpleQueue[tuple[Key, Entry] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def submit(self, key: Key, entry: Entry) -> None:
        """Have ``key`` fetched again soon.  Never blocks."""
        with self._lock:
            if self._closed:
                return
            self._due.put((key, entry))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="authpipe-refetch", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Stop after the refetch under way, for which it waits a little."""
        with self._lock:
            self._closed = True
            thread, self._thread = self._thread, None
            self._due.put(None)
        if thread is not None and thread is not threading.current_thread():
            thread.join(CLOSE_WAIT_S)

    def _run(self) -> None:
        while True:
            try:
                due = self._due.get(timeout=IDLE_S)
            except queue.Empty:
                with self._lock:
                    if not self._due.empty():
                        continue
                    self._thread = None
                    return
            if due is None or self._closed:
                return
            try:
                self._work(*due)
            except Exception:
                if not self._closed:
                    logger.exception("a background refetch failed unexpectedly")
