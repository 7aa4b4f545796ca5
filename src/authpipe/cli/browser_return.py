"""The place on this machine where a browser comes back to after a connect session."""

from __future__ import annotations

import queue
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, urlsplit

from authpipe.domain.errors import ConfigurationError, ConnectError

#: As long as a connect session lives.
_PATIENCE_S = 600.0
_PATH = "/connected"
_HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
_PAGE = (
    "<!doctype html><meta charset=utf-8><title>Authpipe</title><h1>{}</h1><p>You can close this window.</p>"
)


class BrowserReturn:
    """Listens on 127.0.0.1 while the context is open.

    Raises ``ConfigurationError`` when the port is taken.
    """

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}{_PATH}"
        arrivals: queue.SimpleQueue[dict[str, str]] = queue.SimpleQueue()
        self._arrivals = arrivals

        class Arrival(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                address = urlsplit(self.path)
                query = {name: values[0] for name, values in parse_qs(address.query).items()}
                if address.path != _PATH or "connect_session_id" not in query:
                    self._answer(404, "Nothing is here")
                    return
                self._answer(200, "Not connected" if "error" in query else "Connected")
                arrivals.put(query)

            def _answer(self, status: int, heading: str) -> None:
                page = _PAGE.format(heading).encode()
                self.send_response(status)
                for name, value in {**_HEADERS, "Content-Length": str(len(page))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(page)

            def log_message(self, *_: object) -> None:
                """Not a word: the address holds the completion code."""

        try:
            self._server = ThreadingHTTPServer(("127.0.0.1", port), Arrival)
        except OSError as error:
            raise ConfigurationError(
                f"cannot wait for the browser on port {port} ({error.strerror}): choose another with --port"
            ) from None
        self._server.daemon_threads = True

    def __enter__(self) -> Self:
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        ).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def completion_code(self, connect_session_id: str) -> str:
        """The code the browser brings for this session; arrivals of others are not ours and are passed over.

        Raises ``ConnectError`` with the code of what went wrong, or ``session_expired`` after 10 minutes.
        """
        while True:
            try:
                query = self._arrivals.get(timeout=_PATIENCE_S)
            except queue.Empty:
                raise ConnectError(
                    "nobody came back within 10 minutes: start again", code="session_expired"
                ) from None
            if query["connect_session_id"] != connect_session_id:
                continue
            if "completion_code" in query:
                return query["completion_code"]
            code = query.get("error", "failed")
            raise ConnectError(f"the connect session ended with {code}: start again", code=code)
