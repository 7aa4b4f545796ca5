"""Wrapped keys of keysets, as the vault's storage."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

import asyncpg

from authpipe.domain.errors import VaultError
from authpipe.store.repository import Repository
from authpipe.vault.keyset import KeysetOwner, WrappedKey

#: The tenant column of an environment's own keyset; row-level security shows it to environment-wide work.
ENVIRONMENT_KEYSET = "*"


#: Tells every process which keyset to drop from memory.
CHANNEL = "authpipe_keysets"


def owner_of(row: asyncpg.Record) -> KeysetOwner:
    """Whose keyset a row belongs to."""
    tenant_id = row["tenant_id"]
    return KeysetOwner(row["environment_id"], None if tenant_id == ENVIRONMENT_KEYSET else tenant_id)


def announced(payload: str) -> KeysetOwner:
    """Whose keyset a notification of :data:`CHANNEL` is about.  Raises ``ValueError`` for anything else."""
    environment_id, _, tenant_id = payload.partition("/")
    return KeysetOwner(UUID(environment_id), None if tenant_id == ENVIRONMENT_KEYSET else tenant_id)


def read_key(row: asyncpg.Record) -> WrappedKey:
    """A stored key."""
    owner = owner_of(row)
    return WrappedKey(
        key_id=row["key_id"],
        environment_id=owner.environment_id,
        tenant_id=owner.tenant_id,
        kek_id=row["kek_id"],
        wrapped=row["wrapped"],
        is_primary=row["is_primary"],
        encryptions=row["encryptions"],
        created_at=row["created_at"],
    )


class DataKeys(Repository):
    """Rows keyed by environment, tenant and key."""

    aggregate = "data_keys"

    async def all(self, environment_id: UUID, tenant_id: str | None) -> list[WrappedKey]:
        """Every key of one keyset, oldest first."""
        rows = await self._all("all", environment_id, tenant_id or ENVIRONMENT_KEYSET)
        return [read_key(row) for row in rows]

    async def demote(
        self, environment_id: UUID, tenant_id: str | None, key_id: UUID, *, at: datetime
    ) -> bool:
        """Take the primary mark from a key.  False when it did not have it."""
        return await self._run("demote", environment_id, tenant_id or ENVIRONMENT_KEYSET, key_id, at) == 1

    async def add_primary(self, key: WrappedKey) -> bool:
        """Store a new primary.  False when the keyset has one."""
        return (
            await self._run(
                "insert_primary",
                key.environment_id,
                key.tenant_id or ENVIRONMENT_KEYSET,
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
            "count_encryptions", environment_id, tenant_id or ENVIRONMENT_KEYSET, key_id, count
        )
        if total is None:
            raise VaultError("the data key does not exist any longer")
        return int(total)

    async def hold(self, environment_id: UUID, tenant_id: str | None, key_ids: Collection[UUID]) -> bool:
        """Keep keys from being destroyed until what is stored now under them is seen.

        False when one of them is gone already: what it encrypted is not worth storing.
        """
        rows = await self._all("hold", environment_id, tenant_id or ENVIRONMENT_KEYSET, list(key_ids))
        return len(rows) == len(set(key_ids))

    async def destroy_all(self, environment_id: UUID, tenant_id: str | None) -> int:
        """Delete every key of one keyset: nothing encrypted under it is ever read again.

        Every process that holds the keyset in memory is told to drop it when the transaction commits.
        Returns how many keys there were.
        """
        count = await self._run("destroy_all", environment_id, tenant_id or ENVIRONMENT_KEYSET)
        await self.announce(environment_id, tenant_id)
        return count

    async def announce(self, environment_id: UUID, tenant_id: str | None) -> None:
        """Tell every process, at commit, that this keyset is no more what it may hold in memory."""
        await self._value("announce", environment_id, tenant_id or ENVIRONMENT_KEYSET)
