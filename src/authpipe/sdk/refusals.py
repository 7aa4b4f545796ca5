"""The server's definite no, kept for a moment: who asks in a loop does not ask the server each time."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from authpipe.sdk.changes import Key
from authpipe.sdk.errors import AmbiguousConnection, AuthpipeError, NotConnected, ReauthorizationRequired

# What only a person changes.  A passing failure, a refused API key and a wrong request are never kept.
KEPT = (NotConnected, ReauthorizationRequired, AmbiguousConnection)


class Refusals:
    """Refusals by key, each for ``seconds`` of the elapsed clock, at most ``limit`` of them.

    Not thread-safe: the cache keeps them under its own lock.
    """

    def __init__(self, *, seconds: float, limit: int) -> None:
        self._seconds = seconds
        self._limit = limit
        self._refusals: OrderedDict[Key, tuple[float, AuthpipeError]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._refusals)

    def find(self, key: Key, now: float) -> AuthpipeError | None:
        """An exception of the caller's own to raise, or None."""
        kept = self._refusals.get(key)
        if kept is None:
            return None
        until, error = kept
        if now >= until:
            del self._refusals[key]
            return None
        return error.for_another_waiter()

    def keep(self, key: Key, error: AuthpipeError, now: float) -> None:
        """Remember ``error`` if it is of a kind that is kept."""
        if self._seconds <= 0 or not isinstance(error, KEPT):
            return
        # Without its traceback, whose frames would hold the caller's variables.
        self._refusals[key] = (now + self._seconds, error.for_another_waiter())
        self._refusals.move_to_end(key)
        while len(self._refusals) > self._limit:
            self._refusals.popitem(last=False)

    def drop(self, key: Key) -> None:
        """The key has an answer."""
        self._refusals.pop(key, None)

    def drop_where(self, concerned: Callable[[Key], bool]) -> None:
        """Forget those a change concerns."""
        for key in [key for key in self._refusals if concerned(key)]:
            del self._refusals[key]
