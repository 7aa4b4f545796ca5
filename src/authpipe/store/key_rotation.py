"""Data keys as those who rotate them see them: across keysets, by KEK, by age, by what is left under them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from uuid import UUID

import asyncpg

from authpipe.store.keysets import ENVIRONMENT_KEYSET, owner_of, read_key
from authpipe.store.repository import Repository
from authpipe.vault.keyset import KeysetOwner, WrappedKey
from authpipe.vault.rewrapping import Rewrap
from authpipe.vault.upkeep import PrimaryKey, RetiredKey

#: Before every row in the order of its key.
_BEGINNING = (UUID(int=0), "", UUID(int=0))


class KeyRotation(Repository):
    """System-wide work, but for :meth:`in_use`."""

    aggregate = "key_rotation"

    async def count_by_kek(self) -> dict[str, int]:
        """How many keys each KEK wraps."""
        return {row["kek_id"]: row["keys"] for row in await self._all("count_by_kek")}

    async def page(self, kek_ids: Sequence[str], *, after: WrappedKey | None, limit: int) -> list[WrappedKey]:
        """Keys under one of these KEKs, in the order of owner and key."""
        place = _BEGINNING
        if after is not None:
            place = (after.environment_id, after.tenant_id or ENVIRONMENT_KEYSET, after.key_id)
        return [read_key(row) for row in await self._all("page", list(kek_ids), *place, limit)]

    async def rewrap(self, rewraps: Sequence[Rewrap], *, kek_id: str) -> list[asyncpg.Record]:
        """Replace the wraps that are still as they were; returns environment and former KEK of each."""
        keys = [rewrap.key for rewrap in rewraps]
        return await self._all(
            "rewrap",
            [key.environment_id for key in keys],
            [key.tenant_id or ENVIRONMENT_KEYSET for key in keys],
            [key.key_id for key in keys],
            [key.kek_id for key in keys],
            [key.wrapped for key in keys],
            [rewrap.wrapped for rewrap in rewraps],
            kek_id,
        )

    async def aged(self, *, created_until: datetime, limit: int) -> list[PrimaryKey]:
        """Primaries made by then, the oldest first."""
        rows = await self._all("aged", created_until, limit)
        return [PrimaryKey(owner_of(row), row["key_id"]) for row in rows]

    async def claim_retired(self, *, now: datetime, until: datetime, limit: int) -> list[RetiredKey]:
        """Retired keys to look at now, hidden from other claims before ``until``."""
        return [
            RetiredKey(
                owner=owner_of(row),
                key_id=row["key_id"],
                retired_at=row["retired_at"],
                unused_since=row["unused_since"],
            )
            for row in await self._all("claim_retired", now, until, limit)
        ]

    async def settle(self, key: RetiredKey, *, used: bool, now: datetime, examine_at: datetime) -> None:
        """Note whether anything was found under the key, and when to look again."""
        await self._run("settle", *_place(key.owner), key.key_id, used, now, examine_at)

    async def in_use(self, owner: KeysetOwner, key_ids: Collection[UUID]) -> None:
        """Note that something was found under these keys."""
        await self._run("in_use", *_place(owner), list(key_ids))

    async def lock_unused(
        self, key: RetiredKey, *, retired_until: datetime, unused_until: datetime
    ) -> asyncpg.Record | None:
        """Lock the key until the end of the transaction, if it retired and was found unused by then."""
        return await self._one("lock_unused", *_place(key.owner), key.key_id, retired_until, unused_until)

    async def destroy(self, key: RetiredKey) -> None:
        """Delete the key."""
        await self._run("destroy", *_place(key.owner), key.key_id)

    async def keysets(self, environment_id: UUID | None, tenant_id: str | None) -> list[asyncpg.Record]:
        """Every keyset in one row; None leaves environment or tenant open."""
        return await self._all("keysets", environment_id, tenant_id)


def _place(owner: KeysetOwner) -> tuple[UUID, str]:
    return owner.environment_id, owner.tenant_id or ENVIRONMENT_KEYSET
