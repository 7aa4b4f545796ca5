"""Wrapped keys of keysets, as the vault's storage."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from authpipe.domain.errors import VaultError
from authpipe.store.repository import Repository
from authpipe.vault.keyset import WrappedKey

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

    async def demote(
        self, environment_id: UUID, tenant_id: str | None, key_id: UUID, *, at: datetime
    ) -> bool:
        """Take the primary mark from a key.  False when it did not have it."""
        return await self._run("demote", environment_id, tenant_id or _ENVIRONMENT_KEYSET, key_id, at) == 1

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
