"""What the vault's rotation asks of the stored keys, on PostgreSQL."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime

from authpipe.domain.event import Origin
from authpipe.store.database import Database
from authpipe.store.vault_keysets import Tell
from authpipe.vault.keyset import WrappedKey
from authpipe.vault.keyset_change import KeysetChange, KeysetChangeKind
from authpipe.vault.rewrapping import Rewrap
from authpipe.vault.upkeep import PrimaryKey, RetiredKey


class DatabaseWrappedKeys:
    """The vault's ``WrappedKeyStore``; every call is a transaction of its own."""

    def __init__(self, database: Database, *, tell: Tell) -> None:
        self._database = database
        self._tell = tell

    async def count_by_kek(self) -> Mapping[str, int]:
        """How many keys each KEK wraps."""
        async with self._database.system() as transaction:
            return await transaction.key_rotation.count_by_kek()

    async def page(
        self, kek_ids: Sequence[str], *, after: WrappedKey | None, limit: int
    ) -> Sequence[WrappedKey]:
        """Keys under one of these KEKs, in the order of owner and key."""
        async with self._database.system() as transaction:
            return await transaction.key_rotation.page(kek_ids, after=after, limit=limit)

    async def swap(self, rewraps: Sequence[Rewrap], *, kek_id: str, origin: Origin, at: datetime) -> int:
        """Compare and swap; the record of it is one event in each environment."""
        async with self._database.system() as transaction:
            rows = await transaction.key_rotation.rewrap(rewraps, kek_id=kek_id)
            for environment_id in sorted({row["environment_id"] for row in rows}):
                former = Counter(row["was_kek_id"] for row in rows if row["environment_id"] == environment_id)
                await self._tell(
                    transaction,
                    KeysetChange(
                        kind=KeysetChangeKind.REWRAPPED,
                        environment_id=environment_id,
                        tenant_id=None,
                        origin=origin,
                        at=at,
                        data={"keys": former.total(), "kek_id": kek_id, "from_kek_ids": dict(former)},
                    ),
                )
        return len(rows)


class DatabaseRetiredKeys:
    """The vault's ``RetiredKeyStore``; every call is a transaction of its own."""

    def __init__(self, database: Database, *, tell: Tell) -> None:
        self._database = database
        self._tell = tell

    async def aged(self, *, created_until: datetime, limit: int) -> Sequence[PrimaryKey]:
        """Primaries made by then, the oldest first."""
        async with self._database.system() as transaction:
            return await transaction.key_rotation.aged(created_until=created_until, limit=limit)

    async def claim(self, *, now: datetime, until: datetime, limit: int) -> Sequence[RetiredKey]:
        """Retired keys to look at now."""
        async with self._database.system() as transaction:
            return await transaction.key_rotation.claim_retired(now=now, until=until, limit=limit)

    async def settle(self, key: RetiredKey, *, used: bool, now: datetime, examine_at: datetime) -> None:
        """Note what was found, and when to look again."""
        async with self._database.system() as transaction:
            await transaction.key_rotation.settle(key, used=used, now=now, examine_at=examine_at)

    async def destroy(
        self,
        key: RetiredKey,
        *,
        retired_until: datetime,
        unused_until: datetime,
        origin: Origin,
        at: datetime,
    ) -> bool:
        """Delete the key if nothing names it.

        The lock comes before the look: whoever holds the key to store something under it is waited for and
        then seen, and whoever comes later finds no key.
        """
        async with self._database.system() as transaction:
            locked = await transaction.key_rotation.lock_unused(
                key, retired_until=retired_until, unused_until=unused_until
            )
            if locked is None or (await transaction.payloads.count(key.owner)).get(key.key_id, 0):
                return False
            await transaction.key_rotation.destroy(key)
            await transaction.data_keys.announce(*key.owner)
            await self._tell(
                transaction,
                KeysetChange(
                    kind=KeysetChangeKind.KEY_DESTROYED,
                    environment_id=key.owner.environment_id,
                    tenant_id=key.owner.tenant_id,
                    origin=origin,
                    at=at,
                    data={
                        "key_id": str(key.key_id),
                        "kek_id": locked["kek_id"],
                        "retired_at": locked["retired_at"].isoformat(),
                        "encryptions": locked["encryptions"],
                    },
                ),
            )
        return True
