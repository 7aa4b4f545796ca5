"""The objects that rotate keys, each given what it works with."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from authpipe.credentials.changes import Changes
from authpipe.domain.clock import Clock
from authpipe.events.keysets import record_keyset_change
from authpipe.store.database import Database
from authpipe.store.keysets import CHANNEL, announced
from authpipe.store.vault_keysets import DatabaseKeysets
from authpipe.store.vault_payloads import DatabasePayloads
from authpipe.store.vault_rotation import DatabaseRetiredKeys, DatabaseWrappedKeys
from authpipe.vault.keks.ring import KekRing
from authpipe.vault.rewrapping import Rewrapping
from authpipe.vault.rotation import KeysetRotation
from authpipe.vault.upkeep import KeysetUpkeep
from authpipe.vault.vault import Vault


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotating:
    """What rotates keysets and KEKs."""

    keks: KekRing
    rotation: KeysetRotation
    rewrapping: Rewrapping
    upkeep: KeysetUpkeep


def build_rotating(
    *,
    database: Database,
    vault: Vault,
    keks: KekRing,
    keysets: DatabaseKeysets,
    changes: Changes,
    clock: Clock,
    key_max_age_days: int,
) -> Rotating:
    """Put them together, and let the vault hear of rotations elsewhere."""
    payloads = DatabasePayloads(database, tell=record_keyset_change)
    rotation = KeysetRotation(vault=vault, keysets=keysets, payloads=payloads, clock=clock)
    changes.on(CHANNEL, lambda payload: vault.forget(*announced(payload)))
    changes.on_gap(vault.forget_all)
    return Rotating(
        keks=keks,
        rotation=rotation,
        rewrapping=Rewrapping(
            keks=keks, keys=DatabaseWrappedKeys(database, tell=record_keyset_change), clock=clock
        ),
        upkeep=KeysetUpkeep(
            vault=vault,
            rotation=rotation,
            keys=DatabaseRetiredKeys(database, tell=record_keyset_change),
            payloads=payloads,
            clock=clock,
            max_age=timedelta(days=key_max_age_days) if key_max_age_days else None,
        ),
    )
