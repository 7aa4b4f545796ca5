"""Ends what a process that died, or had no more time, left half-way: erasures of tenants."""

from __future__ import annotations

import asyncio

from authpipe.connect.erase import TenantErasure
from authpipe.store.database import is_outage
from authpipe.telemetry.logs import get_logger

_log = get_logger(__name__)

#: Seconds between two looks.
EVERY_S = 5.0


class ErasureResumption:
    """Runs in every worker; erasures are leased, so any number of them share the work."""

    def __init__(self, erasure: TenantErasure) -> None:
        self._erasure = erasure
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Work until :meth:`stop`.  Database outages are waited out."""
        stopped = asyncio.create_task(self._stopping.wait())
        try:
            while not self._stopping.is_set():
                rounds = asyncio.create_task(self._rounds())
                await asyncio.wait({rounds, stopped}, return_when=asyncio.FIRST_COMPLETED)
                # A large tenant takes long; whoever comes next goes on where this stops.
                rounds.cancel()
                await asyncio.wait({rounds})
                await asyncio.wait({stopped}, timeout=EVERY_S)
        finally:
            stopped.cancel()

    def stop(self) -> None:
        """Stop at the next step."""
        self._stopping.set()

    async def _rounds(self) -> None:
        try:
            while await self._erasure.resume() is not None:
                continue
        except Exception as error:  # noqa: BLE001  # the next round tries again
            level = _log.warning if is_outage(error) else _log.error
            level("an erasure cannot go on", error=type(error).__name__)
