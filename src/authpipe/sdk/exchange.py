"""One request with its retries, as a generator: it yields what to do and is sent what came of it.

Nothing here performs I/O.  A driver (``sync_driver``, ``async_driver``) sends each :class:`Request`, sleeps
each :class:`Sleep`, and passes back an :class:`Answer`, a :class:`NoAnswer`, or None after a sleep.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from typing import Any, Literal, TypeAlias, TypeVar

from authpipe.sdk.clock import Clock
from authpipe.sdk.errors import AuthpipeUnavailable

T = TypeVar("T")

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0
PASSING_STATUSES = frozenset({429, 502, 503, 504})
LARGEST_ANSWER = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to send.  ``timeout_s`` (seconds) covers the whole of it, connecting and reading included.

    ``same_twice`` marks a POST that may be repeated without an idempotency key, under which the server would
    keep a copy of the answer.
    """

    method: Literal["GET", "POST"]
    path: str
    query: tuple[tuple[str, str], ...] = ()
    body: Mapping[str, Any] | None = field(default=None, repr=False)
    idempotency_key: str | None = None
    same_twice: bool = False
    timeout_s: float = 0.0

    @property
    def repeatable(self) -> bool:
        """Whether sending it twice has the effect of sending it once."""
        return self.method == "GET" or self.same_twice or self.idempotency_key is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back.  ``headers`` has lower-case names; ``asked_at`` is the elapsed clock before sending."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    asked_at: float = 0.0

    def retry_after_s(self) -> float | None:
        """``Retry-After`` in seconds, in both forms of RFC 9110 section 10.2.3."""
        value = self.headers.get("retry-after", "").strip()
        if value.isascii() and value.isdigit():
            return float(value)
        until, now = _http_date(value), self.server_time()
        return None if until is None or now is None else max(0.0, until - now)

    def server_time(self) -> float | None:
        """The ``Date`` header in seconds since 1970, or None."""
        return _http_date(self.headers.get("date", ""))


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """The request got no answer; ``reason`` is for people."""

    reason: str


@dataclass(frozen=True, slots=True)
class Sleep:
    """Wait this long before going on."""

    seconds: float


Step: TypeAlias = Request | Sleep
Outcome: TypeAlias = Answer | NoAnswer | None
Steps: TypeAlias = Generator[Step, Outcome, T]


@dataclass(frozen=True, slots=True)
class Persistence:
    """How hard to try: at most ``attempts`` requests within ``deadline_s`` seconds altogether."""

    attempts: int
    deadline_s: float


def exchange(
    request: Request,
    clock: Clock,
    persistence: Persistence,
    *,
    jitter: Callable[[], float] = random.random,
) -> Steps[Answer]:
    """Send until there is an answer worth reading, and return it, whatever its status.

    Connection failures and the statuses 429, 502, 503 and 504 are tried again where the request is
    repeatable, after an exponential pause with full jitter or after ``Retry-After`` where that is longer, for
    as long as the deadline leaves room.  Raises AuthpipeUnavailable when there was no answer at all.
    """
    deadline = clock.elapsed() + persistence.deadline_s
    attempts = persistence.attempts if request.repeatable else 1
    for attempt in range(1, attempts + 1):
        asked_at = clock.elapsed()
        outcome = yield replace(request, timeout_s=max(0.001, deadline - asked_at))
        if isinstance(outcome, Answer):
            answer = replace(outcome, asked_at=asked_at)
            if answer.status not in PASSING_STATUSES:
                return answer
            wished = answer.retry_after_s() or 0.0
        else:
            answer, wished = None, 0.0
        pause = max(wished, jitter() * min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**attempt))
        if attempt < attempts and clock.elapsed() + pause < deadline:
            yield Sleep(pause)
            continue
        if answer is not None:
            return answer
        reason = outcome.reason if isinstance(outcome, NoAnswer) else "no answer"
        raise AuthpipeUnavailable(
            f"the Authpipe server did not answer ({reason}); check AUTHPIPE_URL and that the server runs"
        )
    raise AssertionError("a Persistence allows at least one attempt")


def _http_date(value: str) -> float | None:
    try:
        moment = parsedate_to_datetime(value)
    except (TypeError, ValueError):
        return None
    return moment.timestamp()
