"""Concurrency of the blocking client: one request for many waiting threads, one thread for what is due."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Hashable
from typing import Generic, TypeAlias, TypeVar

from authpipe.sdk.errors import AuthpipeError

T = TypeVar("T")
Job: TypeAlias = Callable[[], None]

logger = logging.getLogger("authpipe.sdk")

# A client that is no longer used, and was not closed, lets go of its thread (and itself) after this long.
IDLE_S = 30.0
# How long close() waits for a job under way before its connection is taken from it.
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
        self._open: dict[Hashable, _Flight[T]] = {}

    def share(self, key: Hashable, attempt: Callable[[], T]) -> T:
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

    def _lead(self, key: Hashable, flight: _Flight[T], attempt: Callable[[], T]) -> T:
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


class Background:
    """Runs jobs one after another on a daemon thread, started when there is the first one.

    It holds nothing of the client but the jobs not yet done.
    """

    def __init__(self) -> None:
        self._closed = False
        self.after_fork()

    def after_fork(self) -> None:
        """In a forked child: no thread, nothing due."""
        self._lock = threading.Lock()
        self._due: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._later: tuple[float, Job] | None = None

    def submit(self, job: Job) -> None:
        """Have ``job`` run soon.  Never blocks."""
        with self._lock:
            if not self._closed:
                self._due.put(job)
                self._start()

    def put_off(self, job: Job, seconds: float) -> None:
        """Have ``job`` run in ``seconds``, unless one has been put off and not run yet."""
        with self._lock:
            if not self._closed and self._later is None:
                self._later = (time.monotonic() + seconds, job)
                # Wakes the thread, which may have settled down to wait for longer.
                self._due.put(_nothing)
                self._start()

    def close(self) -> None:
        """Stop after the job under way, for which it waits a little."""
        with self._lock:
            thread, self._thread = self._thread, None
            self._later = None
            self.let_go()
        if thread is not None and thread is not threading.current_thread():
            thread.join(CLOSE_WAIT_S)

    def let_go(self) -> None:
        """Stop after the job under way.  Takes no lock, so that a finalizer may call it."""
        self._closed = True
        self._due.put(None)

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="authpipe-background", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                job = self._due.get(timeout=self._patience())
            except queue.Empty:
                with self._lock:
                    if not self._due.empty():
                        continue
                    later = self._later
                    if later is None:
                        self._thread = None
                        return
                    if time.monotonic() < later[0]:
                        continue
                    job, self._later = later[1], None
            if job is None or self._closed:
                return
            try:
                job()
            except Exception:
                if not self._closed:
                    logger.exception("a background job failed unexpectedly")
            # Not kept while waiting for the next: it holds the client.
            del job

    def _patience(self) -> float:
        later = self._later
        return IDLE_S if later is None else max(0.0, later[0] - time.monotonic())


def _nothing() -> None:
    return
