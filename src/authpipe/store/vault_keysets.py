"""The vault's keyset storage, on PostgreSQL."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID

from authpipe.store.database import Database
from authpipe.store.transaction import Transaction
from authpipe.vault.keyset import RotationCause, WrappedKey
from authpipe.vault.keyset_change import KeysetChange, KeysetChangeKind

#: Adds the record of a change, in the transaction that makes it.
Tell = Callable[[Transaction, KeysetChange], Awaitable[None]]


async def _untold(transaction: Transaction, change: KeysetChange) -> None:
    pass


class DatabaseKeysets:
    """The vault's ``KeysetStore`` on PostgreSQL; every call is a transaction of its own.

    Encrypting may therefore need a connection: callers encrypt before they open their transaction.
    ``tell`` records rotations; without it nobody is told.
    """

    def __init__(self, database: Database, *, tell: Tell = _untold) -> None:
        self._database = database
        self._tell = tell

    async def load(self, environment_id: UUID, tenant_id: str | None) -> Sequence[WrappedKey]:
        """Every key of the keyset; empty when there is none yet."""
        async with self._database.keysets(environment_id, tenant_id) as transaction:
            return await transaction.data_keys.all(environment_id, tenant_id)

    async def add_primary(self, key: WrappedKey, *, replaces: UUID | None, cause: RotationCause) -> bool:
        """Add a primary in place of ``replaces``.  False when another replica was first."""
        place = (key.environment_id, key.tenant_id)
        async with self._database.keysets(*place) as transaction:
            if replaces is None:
                return await transaction.data_keys.add_primary(key)
            if not await transaction.data_keys.demote(*place, replaces, at=key.created_at):
                return False
            await transaction.data_keys.add_primary(key)
            # Who goes on encrypting under the retired key leaves work behind.
            await transaction.data_keys.announce(*place)
            await self._tell(
                transaction,
                KeysetChange(
                    kind=KeysetChangeKind.ROTATED,
                    environment_id=key.environment_id,
                    tenant_id=key.tenant_id,
                    origin=cause.origin,
                    at=key.created_at,
                    data={
                        "reason": cause.reason.value,
                        "key_id": str(key.key_id),
                        "retired_key_id": str(replaces),
                        "kek_id": key.kek_id,
                    },
                ),
            )
            return True

    async def reserve_encryptions(
        self, environment_id: UUID, tenant_id: str | None, key_id: UUID, count: int
    ) -> int:
        """Add ``count`` to the stored counter of a key and return the new total."""
        async with self._database.keysets(environment_id, tenant_id) as transaction:
            return await transaction.data_keys.count_encryptions(environment_id, tenant_id, key_id, count)
