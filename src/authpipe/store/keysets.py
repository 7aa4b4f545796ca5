"""Wrapped keys of keysets, as the vault's storage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from authpipe.domain.errors import VaultError
from authpipe.store.repository import Repository
from authpipe.vault.keyset import WrappedKey

if TYPE_CHECKING:
    from authpipe.store.database import Database

#: The tenant column of an environment's own keyset; row-level security shows it to environment-wide work.
_ENVIRONMENT_KEYSET = "*"


class DataKeys(Repository):
    """Rows keyed by environment, tenant and key."""

    aggregate = "data_keys"

    async def all(self, environment_id: UUID, tenant_id: str | None) -> list[WrappedKey]:
        """Every key of one keyset, oldest first."""
        rows = await self._all("all", environment_id, tenant_id or _ENVIRONMENT_KEYSET)
        return [
            WrappedKey(
                key_id=row["key_id"],
                environment_id=row["environment_id"],
                tenant_id=tenant_id,
                kek_id=row["kek_id"],
                wrapped=row["wrapped"],
                is_primary=row["is_primary"],
                encryptions=row["encryptions"],
                created_at=row["created_at"],
            )
            for row in rows
        ]

    async def demote(self, environment_id: UUID, tenant_id: str | None, key_id: UUID) -> bool:
        """Take the primary mark from a key.  False when it did not have it."""
        return await self._run("demote", environment_id, tenant_id or _ENVIRONMENT_KEYSET, key_id) == 1

    async def add_primary(self, key: WrappedKey) -> bool:
        """Store a new primary.  False when the keyset has one."""
        return (
            await self._run(
                "insert_primary",
                key.environment_id,
                key.tenant_id or _ENVIRONMENT_KEYSET,
                key.key_id,
                key.kek_id,
                key.wrapped,
                key.encryptions,
                key.created_at,
            )
            == 1
        )

    async def count_encryptions(
        self, environment_id: UUID, tenant_id: str | None, key_id: UUID, count: int
    ) -> int:
        """Add to a key's counter and return the new total.  Raises ``VaultError`` for an unknown key."""
        total = await self._value(
            "count_encryptions", environment_id, tenant_id or _ENVIRONMENT_KEYSET, key_id, count
        )
        if total is None:
            raise VaultError("the data key does not exist any longer")
        return int(total)


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
                key.environment_id, key.tenant_id, replaces
            ):
                return False
            return await transaction.data_keys.add_primary(key)

    async def reserve_encryptions(
        self, environment_id: UUID, tenant_id: str | None, key_id: UUID, count: int
    ) -> int:
        """Add ``count`` to the stored counter of a key and return the new total."""
        async with self._database.keysets(environment_id, tenant_id) as transaction:
            return await transaction.data_keys.count_encryptions(environment_id, tenant_id, key_id, count)
