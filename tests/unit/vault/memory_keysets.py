"""A keyset store in memory, with the contract of the real one and doors for an attacker and a crash."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from authpipe.domain.errors import VaultError
from authpipe.vault.keyset import KeysetOwner, RotationCause, WrappedKey


class MemoryKeysets:
    """What replicas share.  Every call gives way once, as a real database would make it."""

    def __init__(self) -> None:
        self.rows: dict[KeysetOwner, dict[UUID, WrappedKey]] = {}
        self.loads = 0
        self.adds = 0
        self.reservations: list[int] = []
        self.gate: asyncio.Event | None = None

    async def load(self, environment_id: UUID, tenant_id: str | None) -> Sequence[WrappedKey]:
        self.loads += 1
        await asyncio.sleep(0)
        found = list(self.rows.get(KeysetOwner(environment_id, tenant_id), {}).values())
        if self.gate is not None:
            await self.gate.wait()
        return found

    async def add_primary(self, key: WrappedKey, *, replaces: UUID | None, cause: RotationCause) -> bool:
        self.adds += 1
        await asyncio.sleep(0)
        keys = self.rows.setdefault(KeysetOwner(key.environment_id, key.tenant_id), {})
        if next((one.key_id for one in keys.values() if one.is_primary), None) != replaces:
            return False
        if replaces is not None:
            keys[replaces] = replace(keys[replaces], is_primary=False)
        keys[key.key_id] = key
        return True

    async def reserve_encryptions(
        self, environment_id: UUID, tenant_id: str | None, key_id: UUID, count: int
    ) -> int:
        self.reservations.append(count)
        await asyncio.sleep(0)
        keys = self.rows.get(KeysetOwner(environment_id, tenant_id), {})
        if key_id not in keys:
            raise VaultError("the key does not exist")
        keys[key_id] = replace(keys[key_id], encryptions=keys[key_id].encryptions + count)
        return keys[key_id].encryptions

    def keys(self, environment_id: UUID, tenant_id: str | None) -> list[WrappedKey]:
        """The stored keys of one owner, in the order they were added."""
        return list(self.rows.get(KeysetOwner(environment_id, tenant_id), {}).values())

    def put(self, key: WrappedKey) -> None:
        """Write a row as someone with access to the database would."""
        self.rows.setdefault(KeysetOwner(key.environment_id, key.tenant_id), {})[key.key_id] = key
