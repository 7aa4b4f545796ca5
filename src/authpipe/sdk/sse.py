"""Reading server-sent events from bytes, in pieces of any size.

https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation, with bounds: a
line or an event that outgrows them is :class:`TooLong` and ends the reading.
"""

from __future__ import annotations

from dataclasses import dataclass

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
LONGEST_LINE = 64 * 1024
LONGEST_EVENT = 256 * 1024

_LF, _CR = 0x0A, 0x0D


class TooLong(Exception):
    """A line or an event is longer than any that is meant for us."""


@dataclass(frozen=True, slots=True)
class ServerSentEvent:
    """One event.  ``name`` is ``message`` where the stream named none, ``id`` the last one that was told."""

    name: str
    data: str
    id: str


class EventParser:
    """The state of one connection's reading.

    ``last_event_id`` and ``retry_s`` are what the stream told so far; both outlive a connection, so the next
    parser is made with the id of the one before.
    """

    def __init__(self, last_event_id: str = "") -> None:
        self.last_event_id = last_event_id
        self.retry_s: float | None = None
        self._id = last_event_id
        self._line = bytearray()
        self._after_cr = False
        self._first = True
        self._name = ""
        self._data: list[str] = []
        self._size = 0

    def feed(self, chunk: bytes) -> list[ServerSentEvent]:
        """The events that ``chunk`` completes.  Raises TooLong."""
        events: list[ServerSentEvent] = []
        start = 0
        if self._after_cr and chunk:
            # The LF of a CRLF that was cut in two.
            self._after_cr = False
            start = chunk[0] == _LF
        while True:
            end = _line_end(chunk, start)
            self._line += chunk[start : len(chunk) if end < 0 else end]
            if len(self._line) > LONGEST_LINE:
                raise TooLong
            if end < 0:
                return events
            event = self._take()
            if event is not None:
                events.append(event)
            start = end + 1
            if chunk[end] == _CR:
                if start == len(chunk):
                    self._after_cr = True
                elif chunk[start] == _LF:
                    start += 1

    def _take(self) -> ServerSentEvent | None:
        raw = bytes(self._line)
        self._line.clear()
        if self._first:
            self._first = False
            raw = raw.removeprefix(BYTE_ORDER_MARK)
        if not raw:
            return self._dispatch()
        name, _, value = raw.decode("utf-8", "replace").partition(":")
        self._field(name, value.removeprefix(" "))
        return None

    def _field(self, name: str, value: str) -> None:
        match name:
            case "event":
                self._name = value
            case "data":
                self._size += len(value) + 1
                if self._size > LONGEST_EVENT:
                    raise TooLong
                self._data.append(value)
            case "id" if "\0" not in value:
                self._id = value
            case "retry" if value.isascii() and value.isdigit() and len(value) < 10:
                self.retry_s = int(value) / 1000

    def _dispatch(self) -> ServerSentEvent | None:
        self.last_event_id = self._id
        name, data = self._name, self._data
        self._name, self._data, self._size = "", [], 0
        return ServerSentEvent(name or "message", "\n".join(data), self._id) if data else None


def _line_end(chunk: bytes, start: int) -> int:
    lf, cr = chunk.find(b"\n", start), chunk.find(b"\r", start)
    if lf < 0 or cr < 0:
        return max(lf, cr)
    return min(lf, cr)
