"""From the spool into the database: at once, again after an outage, and for processes that died."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from uuid import UUID

from authpipe.credentials.commits import Commits
from authpipe.credentials.outcome import Refreshed
from authpipe.credentials.spool import Receipt, Spool, SpoolRecord
from authpipe.domain.clock import Clock
from authpipe.domain.credential import StoredCredential
from authpipe.store.database import Database, is_outage
from authpipe.telemetry.logs import get_logger
from authpipe.telemetry.metrics import Metrics

#: Seconds between two tries while the database is away.
RETRY_S = 0.5

_log = get_logger(__name__)


class SpoolReplay:
    """Every answer a provider gave is on disk before the database is told, and stays until it was told."""

    def __init__(self, database: Database, spool: Spool, clock: Clock, metrics: Metrics) -> None:
        self._spool = spool
        self._metrics = metrics
        self._commits = Commits(database, clock)
        #: What the database did not take yet; a credential whose lease was lost may have two answers.
        self._pending: dict[tuple[UUID, int], list[tuple[SpoolRecord, Receipt | None]]] = {}
        self._retrying: asyncio.Task[None] | None = None

    async def write(
        self, record: SpoolRecord, credential: StoredCredential, *, spooled: Callable[[], None]
    ) -> Refreshed:
        """Put the answer on disk, then into the database.

        ``SPOOLED`` means the database does not take it now and the answer will follow; ``SUPERSEDED`` that a
        later writer had stored newer secrets.  A disk that refuses is logged and does not stop the commit.
        """
        receipt: Receipt | None = None
        try:
            receipt = await self._spool.append(record)
        except OSError as error:
            _log.error("the spool cannot be written", error=type(error).__name__, errno=error.errno)
        spooled()
        self._metrics.spool_records.set(self._spool.outstanding)
        try:
            outcome = await self._commits.write(record, credential)
        except Exception as error:  # noqa: BLE001  # whatever it was, the answer is the only one there is
            level = _log.warning if is_outage(error) else _log.error
            level(
                "the database does not take it now; a refreshed credential waits on local disk",
                credential_id=str(record.credential_id),
                error=type(error).__name__,
            )
            key = (record.credential_id, record.version)
            self._pending.setdefault(key, []).append((record, receipt))
            if self._retrying is None or self._retrying.done():
                self._retrying = asyncio.create_task(self._retry())
            return Refreshed.SPOOLED
        self._settle(receipt)
        return outcome

    async def held(self, credential: StoredCredential) -> Refreshed | None:
        """Commit the answer this process already has for a credential at this version, if it has one.

        Raises what the database raises while it is away.  None: there is no such answer.
        """
        for record, _ in self._pending.get((credential.credential_id, credential.version), ()):
            return await self._commits.write_late(record)
        return None

    async def adopt(self) -> int:
        """Commit what processes that died left on this machine's disk; returns how many records there were.

        Raises what the database raises while it is away; the files stay for the next try.  A file that
        cannot be worked off for another reason stays too, and keeps nobody from the others.
        """
        count = 0
        for orphan in self._spool.orphans():
            try:
                for record in orphan.records():
                    outcome = await self._commits.write_late(record)
                    count += 1
                    _log.info(
                        "replayed a spooled credential",
                        credential_id=str(record.credential_id),
                        outcome=outcome.value,
                    )
                if not orphan.finish():
                    _log.error("a spool file holds records of another release", file=orphan.path.name)
            except Exception as error:
                if is_outage(error):
                    raise
                _log.error(
                    "a spool file cannot be worked off",
                    file=orphan.path.name,
                    error=type(error).__name__,
                )
            finally:
                orphan.release()
        return count

    async def drain(self) -> None:
        """Wait until every record of this process is in the database."""
        while self._retrying is not None and not self._retrying.done():
            await asyncio.wait([self._retrying])

    async def close(self) -> None:
        """Stop retrying.  What is still outstanding stays on disk for the next process."""
        if self._retrying is not None:
            self._retrying.cancel()
            await asyncio.wait([self._retrying])
        self._spool.close()

    def _settle(self, receipt: Receipt | None) -> None:
        if receipt is not None:
            self._spool.settle(receipt)
        self._metrics.spool_records.set(self._spool.outstanding)

    async def _retry(self) -> None:
        """Offer what waits again and again; while the database is away, one of it at a time."""
        while self._pending:
            await asyncio.sleep(RETRY_S)
            for key in list(self._pending):
                # Behind the others: what fails by itself, in whatever way, stands in nobody's way.
                waiting = self._pending[key] = self._pending.pop(key)
                try:
                    while waiting:
                        record, receipt = waiting[0]
                        await self._commits.write_late(record)
                        waiting.pop(0)
                        self._settle(receipt)
                except Exception as error:  # noqa: BLE001  # an outage ends; anything else loses no record
                    if is_outage(error):
                        break
                    _log.error("a spooled credential cannot be committed", error=type(error).__name__)
                else:
                    del self._pending[key]
