"""Performs steps in the calling thread."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, TypeVar

from authpipe.sdk.exchange import LARGEST_ANSWER, Answer, NoAnswer, Outcome, Request, Sleep, Steps
from authpipe.sdk.settings import Settings
from authpipe.sdk.wire import (
    TOO_LARGE,
    TOO_LATE,
    answer_from,
    client_arguments,
    no_answer_from,
    stream_arguments,
)

if TYPE_CHECKING:
    import httpx2

T = TypeVar("T")


class SyncDriver:
    """Sends requests over pooled connections, opened with the first request.  Thread-safe."""

    def __init__(self, settings: Settings, transport: httpx2.BaseTransport | None) -> None:
        self._settings = settings
        self._transport = transport
        self._closed = False
        self.after_fork()

    def after_fork(self) -> None:
        """In a forked child: leave the parent's sockets alone.  They are dropped, not shut down."""
        self._lock = threading.Lock()
        self._http: httpx2.Client | None = None

    def pump(self, steps: Steps[T]) -> T:
        """Perform ``steps`` to their result.  Raises RuntimeError when closed."""
        outcome: Outcome = None
        try:
            while True:
                step = steps.send(outcome)
                if isinstance(step, Sleep):
                    time.sleep(step.seconds)
                    outcome = None
                else:
                    outcome = self._send(step)
        except StopIteration as stop:
            result: T = stop.value
            return result
        finally:
            steps.close()

    @contextlib.contextmanager
    def streaming(self) -> Iterator[httpx2.Client]:
        """An HTTP client for one long answer.  Raises RuntimeError when closed.

        Its connection is a new one, so that whoever waits on it can be interrupted from the moment it stands;
        except with a transport of the user's, which is never closed for it.
        """
        if self._transport is not None:
            yield self._open()
            return
        import httpx2

        with httpx2.Client(**client_arguments(self._settings)) as http:
            yield http

    def close(self) -> None:
        """Close the connections.  Later requests raise."""
        with self._lock:
            self._closed = True
            http, self._http = self._http, None
        if http is not None:
            http.close()

    def _open(self) -> httpx2.Client:
        http = self._http
        if http is None:
            import httpx2

            with self._lock:
                if self._closed:
                    raise RuntimeError("this Authpipe client is closed; make a new one")
                if self._http is None:
                    self._http = httpx2.Client(transport=self._transport, **client_arguments(self._settings))
                http = self._http
        return http

    def _send(self, request: Request) -> Answer | NoAnswer:
        http = self._open()
        import httpx2

        deadline = time.monotonic() + request.timeout_s
        try:
            with http.stream(**stream_arguments(self._settings, request)) as response:
                body = bytearray()
                for chunk in response.iter_bytes():
                    body += chunk
                    if len(body) > LARGEST_ANSWER:
                        return TOO_LARGE
                    if time.monotonic() > deadline:
                        return TOO_LATE
                return answer_from(response, bytes(body))
        except httpx2.HTTPError as error:
            return no_answer_from(error)
