"""The blocking client's reader of the change stream: one daemon thread."""

from __future__ import annotations

import contextlib
import logging
import queue
import socket
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from authpipe.sdk.changes import Key
from authpipe.sdk.core import Core
from authpipe.sdk.exchange import Answer
from authpipe.sdk.stream import LONGEST_REFUSAL, Broken, Follower
from authpipe.sdk.sync_driver import SyncDriver
from authpipe.sdk.wire import answer_from, listening_arguments

if TYPE_CHECKING:
    import httpx2

logger = logging.getLogger("authpipe.sdk")

# How long close() waits for the thread once its connection has been cut.
CLOSE_WAIT_S = 2.0


class StreamThread:
    """Follows the stream from :meth:`ensure` until :meth:`close`.

    The thread holds this object and nothing that holds the client: a client that nobody closes can be
    collected, and its finalizer calls :meth:`let_go`.
    """

    def __init__(self, core: Core, driver: SyncDriver, prefetch: Callable[[Sequence[Key]], None]) -> None:
        self._core = core
        self._driver = driver
        self._prefetch = prefetch
        self._stopped = False
        self.after_fork()

    def after_fork(self) -> None:
        """In a forked child: no thread.  The parent's connection is left alone, not shut down."""
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._socket: socket.socket | None = None
        # A SimpleQueue, because a finalizer may put into it at any moment, even within its own methods.
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()

    def ensure(self) -> None:
        """Have the thread run.  Never blocks."""
        if self._thread is not None or self._stopped:
            return
        with self._lock:
            if self._thread is None and not self._stopped:
                thread = threading.Thread(target=self._run, name="authpipe-stream", daemon=True)
                # An interpreter that is about to exit starts no thread, and needs none.
                with contextlib.suppress(RuntimeError):
                    thread.start()
                    self._thread = thread

    def close(self) -> None:
        """Cut the connection and end the thread.

        Waits for it a little, but not while it resolves a name or opens a connection, which nothing can
        interrupt: it ends as soon as that is over.
        """
        with self._lock:
            thread = self._thread
            self._stopped = True
        connected = self.let_go()
        if thread is not None and thread is not threading.current_thread():
            thread.join(CLOSE_WAIT_S if connected else CLOSE_WAIT_S / 20)

    def let_go(self) -> bool:
        """End the thread soon.  Takes no lock, so that a finalizer may call it.  Whether it was connected."""
        self._stopped = True
        self._wake.put(None)
        connected = self._socket
        if connected is None:
            return False
        # Closing would not wake a thread that waits for data; shutting down does.
        with contextlib.suppress(OSError):
            # Not SSLSocket's own, which takes the TLS state from under the reading thread.
            socket.socket.shutdown(connected, socket.SHUT_RDWR)
        return True

    def _run(self) -> None:
        follower = Follower(self._core, self._prefetch)
        pause: float | None = 0.0
        while pause is not None and not self._stopped:
            with contextlib.suppress(queue.Empty):
                if pause:
                    self._wake.get(timeout=pause)
            if self._stopped:
                break
            try:
                pause = self._follow(follower)
            except Exception:
                if self._stopped:
                    break
                logger.exception("following the change stream failed unexpectedly")
                pause = follower.lost("a bug")
        with self._lock:
            self._thread = None

    def _follow(self, follower: Follower) -> float | None:
        import httpx2

        why: object = "the server closed it"
        arguments = listening_arguments(self._core.settings, follower.headers(), follower.silence_s)
        arguments["extensions"] = {"trace": self._trace}
        try:
            with self._driver.streaming() as http, http.stream(**arguments) as response:
                self._remember(response.extensions.get("network_stream"))
                if not follower.opens(response.status_code, response.headers.get("content-type", "")):
                    return follower.refused(_refusal(response))
                if self._stopped:
                    return None
                for chunk in response.iter_bytes():
                    if self._stopped:
                        break
                    follower.feed(chunk)
        except (httpx2.HTTPError, httpx2.StreamError, Broken, _Stopped) as error:
            why = str(error) or type(error).__name__
        finally:
            self._socket = None
        return follower.lost(why)

    def _trace(self, event: str, told: dict[str, Any]) -> None:
        if event.endswith((".connect_tcp.complete", ".start_tls.complete", ".connect_unix_socket.complete")):
            stream = told["return_value"]
            self._socket = stream.get_extra_info("socket")
            if self._stopped:
                # Nobody else has it yet.
                stream.close()
                raise _Stopped

    def _remember(self, stream: Any) -> None:
        # Also of a transport that traces nothing; one that is not on a network has no such thing.
        if stream is not None:
            self._socket = stream.get_extra_info("socket")


class _Stopped(Exception):
    """The client closed while this was under way."""


def _refusal(response: httpx2.Response) -> Answer:
    body = bytearray()
    for chunk in response.iter_bytes():
        body += chunk
        if len(body) > LONGEST_REFUSAL:
            break
    return answer_from(response, bytes(body))
