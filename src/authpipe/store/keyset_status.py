"""How every keyset stands, in two statements whatever their number."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from authpipe.domain.environment import WORKSPACE_ID
from authpipe.store.database import Database
from authpipe.store.keysets import owner_of
from authpipe.vault.keyset import KeysetOwner


@dataclass(frozen=True, slots=True, kw_only=True)
class KeysetStatus:
    """One keyset.

    ``environment`` is its environment's name, None for the workspace.  ``kek_ids`` has an item for each key,
    ``kek_id`` and what follows are about the primary.  ``under_retired_keys`` counts payloads that are to be
    re-encrypted, ``lost`` those whose key does not exist.
    """

    owner: KeysetOwner
    environment: str | None
    kek_ids: tuple[str, ...] = ()
    kek_id: str | None = None
    primary_created_at: datetime | None = None
    encryptions: int = 0
    under_retired_keys: int = 0
    lost: int = 0

    @property
    def is_workspace(self) -> bool:
        """Whether it belongs to no environment."""
        return self.owner.environment_id == WORKSPACE_ID

    def keys_not_under(self, kek_id: str) -> int:
        """How many of its keys another KEK wraps."""
        return sum(each != kek_id for each in self.kek_ids)


async def keyset_statuses(
    database: Database, *, environment_id: UUID | None, tenant_id: str | None
) -> list[KeysetStatus]:
    """Every keyset, or those of one environment or tenant.  Reads the key id of every stored ciphertext."""
    async with database.system() as transaction:
        found = {
            owner_of(row): KeysetStatus(
                owner=owner_of(row),
                environment=row["environment"],
                kek_ids=tuple(row["kek_ids"]),
                kek_id=row["kek_id"],
                primary_created_at=row["primary_created_at"],
                encryptions=row["encryptions"],
            )
            for row in await transaction.key_rotation.keysets(environment_id, tenant_id)
        }
        for row in await transaction.payloads.astray(environment_id, tenant_id):
            owner = owner_of(row)
            status = found.get(owner) or KeysetStatus(owner=owner, environment=str(owner.environment_id))
            found[owner] = replace(status, under_retired_keys=row["under_retired_keys"], lost=row["lost"])
    return list(found.values())
