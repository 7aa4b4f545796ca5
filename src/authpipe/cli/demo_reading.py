"""What an application does with credentials all day: read them, and use them."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from authpipe.sdk.credential import Credential

_BATCHES = 1000
_BATCH = 100


@dataclass(slots=True)
class Readings:
    """What a loop of reads met.  ``refused`` counts credentials the provider did not take."""

    count: int = 0
    refused: int = 0
    expired: int = 0
    went_back: int = 0
    versions: list[int] = field(default_factory=list)
    #: Seconds the credential still had when its successor was read for the first time.
    left_at_change_s: float | None = None
    first_expiry: datetime | None = None


class ReadingLoop:
    """Reads a credential again and again and tries each at its provider, until stopped."""

    def __init__(
        self, read: Callable[[], Awaitable[Credential]], accepted: Callable[[Credential], Awaitable[bool]]
    ) -> None:
        self.readings = Readings()
        self._read = read
        self._accepted = accepted
        self._latest: Credential | None = None
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> Readings:
        """End, and tell what was met.  Raises what a read raised."""
        await self.abandon()
        if self._task is not None and not self._task.cancelled():
            self._task.result()
        return self.readings

    async def abandon(self) -> None:
        """End, whatever was met."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def changed(self, *, within_s: float) -> bool:
        """Whether a refreshed credential was read, waiting for it so long.  Raises what a read raised."""
        if self._task is None:
            raise RuntimeError("the loop was not started")
        waiting = asyncio.create_task(self._changed.wait())
        await asyncio.wait({waiting, self._task}, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if self._task.done():
            self._task.result()
        return self._changed.is_set()

    def first_one_lives(self) -> bool:
        """Whether the first credential has not ended yet, or only just (half a second ago)."""
        ends = self.readings.first_expiry
        return ends is not None and datetime.now(UTC) < ends + timedelta(seconds=0.5)

    async def _run(self) -> None:
        while True:
            credential = await self._read()
            self._note(credential)
            if not await self._accepted(credential):
                self.readings.refused += 1
            await asyncio.sleep(0.01)

    def _note(self, credential: Credential) -> None:
        readings, now, before = self.readings, datetime.now(UTC), self._latest
        readings.count += 1
        if credential.expires_at is not None and credential.expires_at <= now:
            readings.expired += 1
        if before is None:
            readings.first_expiry = credential.expires_at
            readings.versions.append(credential.version)
        elif credential.version < before.version:
            readings.went_back += 1
        elif credential.version > before.version:
            readings.versions.append(credential.version)
            if readings.left_at_change_s is None and before.expires_at is not None:
                readings.left_at_change_s = (before.expires_at - now).total_seconds()
            self._changed.set()
        self._latest = credential


def cached_read_s(read: Callable[[], Credential]) -> tuple[float, int]:
    """The median time of one read in seconds, and over how many; the first, which fetches, does not count."""
    read()
    took = []
    for _ in range(_BATCHES):
        begun = time.perf_counter_ns()
        for _ in range(_BATCH):
            read()
        took.append((time.perf_counter_ns() - begun) / _BATCH)
    return statistics.median(took) / 1e9, _BATCHES * _BATCH
