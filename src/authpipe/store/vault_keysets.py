"""The vault's keyset storage, on PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from authpipe.store.database import Database
from authpipe.vault.keyset import WrappedKey


class DatabaseKeysets:
    """The vault's ``KeysetStore`` on PostgreSQL; every call is a transaction of its own.

    Encrypting may therefore need a connection: callers encrypt before they open their transaction.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def load(self, environment_id: UUID, tenant_id: str | None) -> Sequence[WrappedKey]:
        """Every key of the keyset; empty when there is none yet."""
        async with self._database.keysets(environment_id, tenant_id) as transaction:
            return await transaction.data_keys.all(environment_id, tenant_id)

    async def add_primary(self, key: WrappedKey, *, replaces: UUID | None) -> bool:
        """Add a primary in place of ``replaces``.  False when another replica was first."""
        async with self._database.keysets(key.environment_id, key.tenant_id) as transaction:
            if replaces is not None and not await transaction.data_keys.demote(
                key.environment_id, key.tenant_id, replaces, at=key.created_at
            ):
                return False
            return await transaction.data_keys.add_primary(key)

    async def reserve_encryptions(
        self, environment_id: UUID, tenant_id: str | None, key_id: UUID, count: int
    ) -> int:
        """Add ``count`` to the stored counter of a key and return the new total."""
        async with self._database.keysets(environment_id, tenant_id) as transaction:
            return await transaction.data_keys.count_encryptions(environment_id, tenant_id, key_id, count)
