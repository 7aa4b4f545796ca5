"""Finding the rows that a credential read chooses from, for one read or for several at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

import asyncpg

from authpipe.domain.errors import Conflict
from authpipe.store.erasures import tenant_erasing
from authpipe.store.repository import Repository

_ERASING = "erasing"


class Lookup(NamedTuple):
    """What one read asks for; the fields are the parameters of the function behind the statement."""

    environment_id: UUID
    tenant_id: str
    provider: str
    user_id: str | None
    credential_for: str
    installation_id: UUID | None
    label: str | None
    kind: str | None


class Lookups(Repository):
    """Works outside a transaction: the statement sets the row-level security scope itself.

    A lookup gives every live connection and installation that may be the answer, each with its credential.
    """

    aggregate = "lookups"

    async def one(self, lookup: Lookup) -> list[asyncpg.Record]:
        """The rows of one lookup.  Raises ``Conflict`` (``tenant_erasing``)."""
        rows = await self._all("one", *lookup)
        if rows and rows[0]["owner_kind"] == _ERASING:
            raise tenant_erasing()
        return rows

    async def many(self, lookups: Sequence[Lookup]) -> list[list[asyncpg.Record] | Conflict]:
        """The rows of each lookup, in order, or what :meth:`one` would have raised: one statement for all."""
        found: list[list[asyncpg.Record] | Conflict] = [[] for _ in lookups]
        for row in await self._all("many", *(list(column) for column in zip(*lookups, strict=True))):
            place = row["number"] - 1
            rows = found[place]
            if row["owner_kind"] == _ERASING:
                found[place] = tenant_erasing()
            elif isinstance(rows, list):
                rows.append(row)
        return found
