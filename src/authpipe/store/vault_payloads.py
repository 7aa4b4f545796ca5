"""The vault's view of stored ciphertexts, on PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from uuid import UUID

from authpipe.domain.event import Origin
from authpipe.store.database import Database
from authpipe.store.payload_columns import PAYLOAD_COLUMNS
from authpipe.store.transaction import Transaction
from authpipe.store.vault_keysets import Tell
from authpipe.vault.envelope import key_id_of
from authpipe.vault.keyset import KeysetOwner
from authpipe.vault.keyset_change import KeysetChange, KeysetChangeKind
from authpipe.vault.payloads import Payload, Reencryption

_COLUMNS = {column.name: column for column in PAYLOAD_COLUMNS}


class DatabasePayloads:
    """The vault's ``PayloadStore``; every call is a transaction of its own."""

    def __init__(self, database: Database, *, tell: Tell) -> None:
        self._database = database
        self._tell = tell

    def columns(self, owner: KeysetOwner) -> Sequence[str]:
        """The columns that can hold payloads of this owner."""
        return [column.name for column in PAYLOAD_COLUMNS if column.holds(owner)]

    async def count(self, owner: KeysetOwner) -> Mapping[UUID, int]:
        """How many payloads of the owner name each key."""
        async with self._open(owner) as transaction:
            return await transaction.payloads.count(owner)

    async def page(
        self, owner: KeysetOwner, column: str, *, under: Sequence[UUID], after: UUID | None, limit: int
    ) -> Sequence[Payload]:
        """Payloads under one of these keys, in the order of their row ids."""
        async with self._open(owner) as transaction:
            return await transaction.payloads.page(
                owner, _COLUMNS[column], under=under, after=after, limit=limit
            )

    async def swap(
        self,
        owner: KeysetOwner,
        column: str,
        reencryptions: Sequence[Reencryption],
        *,
        origin: Origin,
        at: datetime,
    ) -> int:
        """Compare and swap on the ciphertext itself; the record of it is one event."""
        was = {key_id_of(each.was) for each in reencryptions}
        becomes = {key_id_of(each.becomes) for each in reencryptions}
        async with self._open(owner) as transaction:
            moved = await transaction.payloads.swap(owner, _COLUMNS[column], reencryptions)
            if moved == 0:
                return 0
            # Who read a row before this may come back with it: its key must last beyond that.
            await transaction.key_rotation.in_use(owner, was)
            await self._tell(
                transaction,
                KeysetChange(
                    kind=KeysetChangeKind.REENCRYPTED,
                    environment_id=owner.environment_id,
                    tenant_id=owner.tenant_id,
                    origin=origin,
                    at=at,
                    data={
                        "payloads": moved,
                        "field": column,
                        "from_key_ids": sorted(map(str, was)),
                        "key_ids": sorted(map(str, becomes)),
                    },
                ),
            )
        return moved

    @asynccontextmanager
    async def _open(self, owner: KeysetOwner) -> AsyncIterator[Transaction]:
        """A tenant's payloads from within the tenant; the environment's are in tables of the system too."""
        if owner.tenant_id is not None:
            async with self._database.tenant(owner.environment_id, owner.tenant_id) as transaction:
                yield transaction
        else:
            async with self._database.system() as transaction:
                yield transaction
