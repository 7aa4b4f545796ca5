"""Attempts that are to be repeated: their leases are given back, many at once when a provider is away."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from authpipe.credentials.grouping import Grouping
from authpipe.credentials.outcome import Refreshed
from authpipe.domain.event import Event
from authpipe.events.record import record_all
from authpipe.store.credentials import Postponement
from authpipe.store.database import Database


class _Item(NamedTuple):
    postponement: Postponement
    first_failure: Event | None


class Postponements:
    """Writes postponements: those that come together in one transaction, one that comes alone at once."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._groups: Grouping[_Item, Refreshed] = Grouping(self._write_group, self._write_one)

    async def write(self, postponement: Postponement, *, first_failure: Event | None = None) -> Refreshed:
        """``POSTPONED``, or ``SUPERSEDED`` when the lease was lost.

        ``first_failure`` is recorded when it is the first failure in a row: an outage is not a flood.
        """
        return await self._groups.write(_Item(postponement, first_failure))

    async def _write_group(self, items: Sequence[_Item]) -> list[Refreshed | None]:
        async with self._database.system() as transaction:
            failures = await transaction.credentials.postpone_all([item.postponement for item in items])
            told = [
                item.first_failure
                for item, count in zip(items, failures, strict=True)
                if item.first_failure is not None and count == 1
            ]
            if told:
                await record_all(transaction, told)
        return [None if count is None else Refreshed.POSTPONED for count in failures]

    async def _write_one(self, item: _Item) -> Refreshed:
        given, credential = item.postponement, item.postponement.credential
        async with self._database.tenant(credential.environment_id, credential.tenant_id) as transaction:
            if given.error is None:
                deferred = await transaction.credentials.defer(credential, until=given.until)
                return Refreshed.POSTPONED if deferred else Refreshed.SUPERSEDED
            postponed = await transaction.credentials.postpone(
                credential,
                until=given.until,
                error=given.error,
                at=given.at,
                outcome_unknown=given.outcome_unknown,
            )
            if postponed is None:
                return Refreshed.SUPERSEDED
            if item.first_failure is not None and postponed.refresh_failures == 1:
                await record_all(transaction, [item.first_failure])
        return Refreshed.POSTPONED
