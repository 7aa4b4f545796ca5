"""Ciphertexts of every table, found by the key that their header names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import asyncpg

from authpipe.domain.environment import WORKSPACE_ID
from authpipe.store.keysets import ENVIRONMENT_KEYSET
from authpipe.store.payload_columns import PAYLOAD_COLUMNS, Belonging, PayloadColumn
from authpipe.store.queries import load
from authpipe.store.repository import Repository
from authpipe.vault.keyset import KeysetOwner
from authpipe.vault.payloads import Payload, Reencryption

#: Seconds that looking through every ciphertext of the database may take.
_WHOLE_SCAN_S = 600.0

# The parameters $1 and $2 are the owner's in every statement, used or not.
_OWNED = {
    Belonging.TENANT: "environment_id = $1::uuid AND tenant_id = $2::text",
    Belonging.ENVIRONMENT: f"environment_id = $1::uuid AND $2::text = '{ENVIRONMENT_KEYSET}'",
    Belonging.WORKSPACE: f"$1::uuid = '{WORKSPACE_ID}' AND $2::text = '{ENVIRONMENT_KEYSET}'",
}
_ENVIRONMENT_OF = {Belonging.WORKSPACE: f"'{WORKSPACE_ID}'::uuid"}
_TENANT_OF = {Belonging.TENANT: "tenant_id"}


class Payloads(Repository):
    """Works across tables; which ones, :data:`PAYLOAD_COLUMNS` says."""

    aggregate = "payloads"

    async def page(
        self,
        owner: KeysetOwner,
        column: PayloadColumn,
        *,
        under: Sequence[UUID],
        after: UUID | None,
        limit: int,
    ) -> list[Payload]:
        """Payloads of the owner under one of these keys, by row id, from beyond row ``after``."""
        rows = await self._connection.fetch(
            _filled("page", column), *_place(owner), [key_id.bytes for key_id in under], after, limit
        )
        return [Payload(column.context(owner, row["row_id"]), row["ciphertext"]) for row in rows]

    async def swap(
        self, owner: KeysetOwner, column: PayloadColumn, reencryptions: Sequence[Reencryption]
    ) -> int:
        """Replace the ciphertexts that are still as they were, and nothing else of their rows."""
        row_ids, was, becomes = zip(*reencryptions, strict=True)
        status = await self._connection.execute(
            _filled("swap", column), *_place(owner), list(row_ids), list(was), list(becomes)
        )
        return int(status.rsplit(" ", 1)[-1])

    async def count(self, owner: KeysetOwner) -> dict[UUID, int]:
        """How many payloads of the owner name each key."""
        parts = [_filled("keys_of_owner", column) for column in PAYLOAD_COLUMNS if column.holds(owner)]
        rows = await self._connection.fetch(
            load(self.aggregate)["count"].format(payloads=_union(parts)),
            *_place(owner),
            timeout=_WHOLE_SCAN_S,
        )
        return {UUID(bytes=row["key_id"]): row["payloads"] for row in rows if len(row["key_id"]) == 16}

    async def astray(self, environment_id: UUID | None, tenant_id: str | None) -> list[asyncpg.Record]:
        """By keyset, how many payloads are not under its primary.  System-wide work: looks at everything."""
        parts = [_filled("keys_of_all", column) for column in PAYLOAD_COLUMNS]
        return await self._connection.fetch(
            load(self.aggregate)["astray"].format(payloads=_union(parts)),
            environment_id,
            tenant_id,
            timeout=_WHOLE_SCAN_S,
        )


def _place(owner: KeysetOwner) -> tuple[UUID, str]:
    return owner.environment_id, owner.tenant_id or ENVIRONMENT_KEYSET


def _filled(name: str, column: PayloadColumn) -> str:
    names: dict[str, Any] = {
        "table": column.table,
        "column": column.column,
        "row_id": column.row_id,
        "owned": _OWNED[column.belonging],
        "environment": _ENVIRONMENT_OF.get(column.belonging, "environment_id"),
        "tenant": _TENANT_OF.get(column.belonging, f"'{ENVIRONMENT_KEYSET}'"),
    }
    return load(Payloads.aggregate)[name].format(**names)


def _union(parts: Sequence[str]) -> str:
    return "\nUNION ALL\n".join(parts)
