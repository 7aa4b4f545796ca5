"""Following the server's change stream: what each byte of it means for the cache.

Nothing here performs I/O.  ``stream_thread`` and ``stream_task`` open one connection after another and pass
on what they receive.  Per connection: ``hello`` first, from when on the stream tells of every change; then
``change`` and ``reset`` events, and a comment at least every heartbeat.

A lost stream needs no haste in the cache (see there): what it vouched for ends by itself.
"""

from __future__ import annotations

import json
import logging
import random
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

from authpipe.sdk.cache import Coverage
from authpipe.sdk.changes import Change, Key
from authpipe.sdk.core import Core
from authpipe.sdk.document import Document, Malformed
from authpipe.sdk.errors import AuthenticationFailed, AuthpipeError, AuthpipeUnavailable
from authpipe.sdk.exchange import Answer
from authpipe.sdk.problem import read_answer
from authpipe.sdk.sse import EventParser, ServerSentEvent, TooLong
from authpipe.sdk.wire import EVENT_STREAM

logger = logging.getLogger("authpipe.sdk")

HEARTBEAT_S = 10.0
SHORTEST_HEARTBEAT_S, LONGEST_HEARTBEAT_S = 0.1, 60.0
# Heartbeats that may be missing before the stream counts as lost.
MISSED = 2.5

FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 30.0
# After an answer that says there is no stream here: an older server, a proxy, a role without the right.
REFUSED_PAUSE_S = 60.0
LONGEST_REFUSAL = 64 * 1024
LONGEST_ID = 200
# A resumed stream begins half a minute before the place where the last one ended.
TOLD_BEFORE = 4096


class Broken(Exception):
    """What was received is no change stream; the message is for people."""


class Follower:
    """One reader of the stream over all its connections.  Used by one thread or task."""

    def __init__(self, core: Core, prefetch: Callable[[Sequence[Key]], None]) -> None:
        self._core = core
        self._prefetch = prefetch
        self._coverage = Coverage()
        self._parser = EventParser()
        self._heartbeat_s = HEARTBEAT_S
        self._told: OrderedDict[int, None] = OrderedDict()
        self._began: float | None = None
        self._failures = 0
        self._retry_s = 0.0

    @property
    def silence_s(self) -> float:
        """How long nothing at all may be received before the stream is lost."""
        return MISSED * self._heartbeat_s

    def headers(self) -> dict[str, str]:
        """What to send with the next request: where the last connection ended."""
        told = self._parser.last_event_id
        sendable = told and len(told) <= LONGEST_ID and told.isascii() and told.isprintable()
        return {"Last-Event-ID": told} if sendable else {}

    def opens(self, status: int, content_type: str) -> bool:
        """Whether this answer is the stream.  If not, its body goes to :meth:`refused`."""
        self._parser = EventParser(self._parser.last_event_id)
        return status == 200 and content_type.partition(";")[0].strip().lower() == EVENT_STREAM

    def feed(self, chunk: bytes) -> None:
        """What was just received.  Raises Broken."""
        # Read before the events are, so that a change is never taken for later than it was told.
        heard_at = self._core.clock.elapsed()
        try:
            for event in self._parser.feed(chunk):
                self._take(event)
        except TooLong:
            raise Broken("a line or an event is too long") from None
        except (ValueError, RecursionError, Malformed):
            # Not passed over: the change it was meant to tell may be any.  Nor is it asked for again.
            self._parser.last_event_id = ""
            raise Broken("an event was not understood") from None
        if self._parser.retry_s is not None:
            self._retry_s = min(self._parser.retry_s, LONGEST_PAUSE_S)
        self._coverage.heard_at = max(self._coverage.heard_at, heard_at)

    def lost(self, why: object) -> float:
        """The connection ended or did not come about.  The pause in seconds before the next."""
        began, self._began = self._began, None
        self._core.cache.stream_ends(self._coverage)
        if began is not None:
            logger.info("the change stream was lost (%s); trying again", why)
            if time.monotonic() - began >= self._heartbeat_s:
                self._failures = 0
        else:
            logger.debug("no change stream (%s); trying again", why)
        pause = min(LONGEST_PAUSE_S, max(FIRST_PAUSE_S, self._retry_s) * 2.0**self._failures)
        self._failures = min(self._failures + 1, 10)
        # When a server restarts, all its clients notice in the same moment.
        return pause * random.uniform(0.5, 1.5)  # noqa: S311  # spreads load

    def refused(self, answer: Answer) -> float | None:
        """The answer was not the stream.  The pause in seconds; None to give up until something is cached."""
        try:
            read_answer(answer, lambda document: None)
        except AuthenticationFailed:
            logger.warning("the API key is refused: every cached credential has been dropped")
            self._core.cache.key_refused()
            self._core.tend()
            return None
        except AuthpipeUnavailable as error:
            pause = self.lost(f"status {answer.status}")
            return max(pause, min(error.retry_after_s or 0.0, REFUSED_PAUSE_S))
        except AuthpipeError as error:
            logger.info("the server offers no change stream (%s)", error.code)
        else:
            logger.info("the server offers no change stream (status %d)", answer.status)
        return REFUSED_PAUSE_S * random.uniform(0.5, 1.5)  # noqa: S311  # spreads load

    def _take(self, event: ServerSentEvent) -> None:
        cache, now = self._core.cache, self._core.clock.elapsed()
        if event.name == "hello":
            self._heartbeat_s = _heartbeat(event.data, self._heartbeat_s)
            self._began = time.monotonic()
            cache.stream_begins(self._coverage, now)
        elif event.name == "change":
            change = Change.read(Document(json.loads(event.data)))
            if self._is_new(event):
                again = cache.change(change, now)
                self._core.tend()
                if again:
                    self._prefetch(again)
        elif event.name == "reset" and self._began is not None:
            cache.stream_ends(self._coverage)
            cache.stream_begins(self._coverage, now)

    def _is_new(self, event: ServerSentEvent) -> bool:
        """Whether this is the first time that the change is told.

        What is cached now was fetched after the first time, so telling it again changes nothing, and dropping
        it again would make callers wait.
        """
        mark = hash((event.id, event.data))
        if mark in self._told:
            return False
        self._told[mark] = None
        if len(self._told) > TOLD_BEFORE:
            self._told.popitem(last=False)
        return True


def _heartbeat(data: str, known: float) -> float:
    value = json.loads(data)
    told = value.get("heartbeat_s") if isinstance(value, dict) else None
    if not isinstance(told, int | float) or isinstance(told, bool) or not told > 0:
        return known
    return min(LONGEST_HEARTBEAT_S, max(SHORTEST_HEARTBEAT_S, float(told)))
