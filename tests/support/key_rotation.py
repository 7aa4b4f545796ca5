"""What rotates keys in one process, and looks at what became of them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

from authpipe.domain.clock import Clock
from authpipe.domain.event import ActorKind, Event, Origin
from authpipe.events.keysets import record_keyset_change
from authpipe.store.database import Database
from authpipe.store.keyset_status import KeysetStatus, keyset_statuses
from authpipe.store.vault_keysets import DatabaseKeysets
from authpipe.store.vault_payloads import DatabasePayloads
from authpipe.store.vault_rotation import DatabaseRetiredKeys, DatabaseWrappedKeys
from authpipe.vault.keks.kek import Kek
from authpipe.vault.keks.ring import KekRing
from authpipe.vault.keyset import KeysetOwner, WrappedKey
from authpipe.vault.rewrapping import Rewrapped, Rewrapping
from authpipe.vault.rotation import KeysetRotation, Rotated
from authpipe.vault.upkeep import KeysetUpkeep
from authpipe.vault.vault import Vault

ORIGIN = Origin(actor_kind=ActorKind.COMMAND_LINE, actor_id="ops")


class Keys:
    """A process with nothing in memory; the first KEK is primary."""

    def __init__(
        self, database: Database, clock: Clock, *keks: Kek, max_age: timedelta | None = None, **vault: Any
    ) -> None:
        self.database = database
        self.keks = KekRing(keks[0], keks[1:])
        self.keysets = DatabaseKeysets(database, tell=record_keyset_change)
        self.vault = Vault(self.keks, self.keysets, clock, **vault)
        self.payloads = DatabasePayloads(database, tell=record_keyset_change)
        self.wrapped_keys = DatabaseWrappedKeys(database, tell=record_keyset_change)
        self.retired_keys = DatabaseRetiredKeys(database, tell=record_keyset_change)
        self.rotation = KeysetRotation(
            vault=self.vault, keysets=self.keysets, payloads=self.payloads, clock=clock
        )
        self.rewrapping = Rewrapping(keks=self.keks, keys=self.wrapped_keys, clock=clock)
        self.upkeep = KeysetUpkeep(
            vault=self.vault,
            rotation=self.rotation,
            keys=self.retired_keys,
            payloads=self.payloads,
            clock=clock,
            max_age=max_age,
        )

    async def rotate(self, environment_id: UUID, tenant_id: str | None, *, force: bool = False) -> Rotated:
        """As the command does."""
        return await self.rotation.rotate(KeysetOwner(environment_id, tenant_id), origin=ORIGIN, force=force)

    async def rewrap(self) -> Rewrapped:
        """As the command does."""
        return await self.rewrapping.run(origin=ORIGIN, progress=lambda done, total: None)

    async def keyset(self, environment_id: UUID, tenant_id: str | None) -> list[WrappedKey]:
        """The stored keys, oldest first."""
        return list(await self.keysets.load(environment_id, tenant_id))

    async def primary(self, environment_id: UUID, tenant_id: str | None) -> UUID:
        """The stored primary."""
        [key_id] = [key.key_id for key in await self.keyset(environment_id, tenant_id) if key.is_primary]
        return key_id

    async def statuses(self) -> dict[KeysetOwner, KeysetStatus]:
        """How every keyset stands."""
        found = await keyset_statuses(self.database, environment_id=None, tenant_id=None)
        return {each.owner: each for each in found}

    async def astray(self) -> int:
        """How many payloads are not under their keyset's primary."""
        return sum(each.under_retired_keys + each.lost for each in (await self.statuses()).values())


async def keyset_events(database: Database, environment_id: UUID) -> list[Event]:
    """What was recorded about keysets of an environment, oldest first."""
    async with database.environment(environment_id) as transaction:
        found = await transaction.events.page(environment_id, limit=1000)
    return [event for event in found[::-1] if event.type.startswith("keyset.")]
