"""The least that can be a provider's token endpoint: ``python -m benchmarks.token_endpoint PORT LIFETIME``.

Every POST is answered with new tokens; nothing is checked or kept.  After ``latency`` milliseconds, if given.
"""

from __future__ import annotations

import asyncio
import re
import sys
from itertools import count

_LENGTH = re.compile(rb"\r\n[Cc]ontent-[Ll]ength: *(\d+)")
#: As long as the seeded ones.
_TOKEN_CHARACTERS = 120


class _TokenEndpoint(asyncio.Protocol):
    """One kept connection."""

    numbers = count()

    def __init__(self, lifetime_s: int, latency_s: float) -> None:
        self._lifetime_s = lifetime_s
        self._latency_s = latency_s
        self._unread = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self._unread += data
        while (end := self._unread.find(b"\r\n\r\n")) >= 0:
            length = _LENGTH.search(self._unread, 0, end)
            whole = end + 4 + (int(length[1]) if length else 0)
            if len(self._unread) < whole:
                return
            self._unread = self._unread[whole:]
            if self._latency_s:
                asyncio.get_running_loop().call_later(self._latency_s, self._answer)
            else:
                self._answer()

    def _answer(self) -> None:
        assert self._transport is not None
        number = next(self.numbers)
        access = f"at-{number:032x}-".ljust(_TOKEN_CHARACTERS, "x")
        refresh = f"rt-{number:032x}-".ljust(_TOKEN_CHARACTERS, "x")
        body = (
            f'{{"access_token":"{access}","refresh_token":"{refresh}","token_type":"Bearer",'
            f'"expires_in":{self._lifetime_s},"scope":"identify"}}'
        )
        self._transport.write(
            f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
        )


async def _serve(port: int, lifetime_s: int, latency_s: float) -> None:
    server = await asyncio.get_running_loop().create_server(
        lambda: _TokenEndpoint(lifetime_s, latency_s), "127.0.0.1", port
    )
    await server.serve_forever()


if __name__ == "__main__":
    given = [float(each) for each in sys.argv[1:]]
    asyncio.run(_serve(int(given[0]), int(given[1]), (given[2] if len(given) > 2 else 0.0) / 1000))
