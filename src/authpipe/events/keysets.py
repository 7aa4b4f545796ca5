"""Records what happened to keysets."""

from __future__ import annotations

from authpipe.events.record import record
from authpipe.events.types import EventType
from authpipe.store.transaction import Transaction
from authpipe.vault.keyset_change import KeysetChange, KeysetChangeKind

_TYPES = {
    KeysetChangeKind.ROTATED: EventType.KEYSET_ROTATED,
    KeysetChangeKind.REWRAPPED: EventType.KEYSET_REWRAPPED,
    KeysetChangeKind.REENCRYPTED: EventType.KEYSET_REENCRYPTED,
    KeysetChangeKind.KEY_DESTROYED: EventType.KEYSET_KEY_DESTROYED,
}


async def record_keyset_change(transaction: Transaction, change: KeysetChange) -> None:
    """Add the event of a change, in the transaction that makes it."""
    await record(
        transaction,
        _TYPES[change.kind],
        environment_id=change.environment_id,
        tenant_id=change.tenant_id,
        object_kind="keyset",
        object_id=change.environment_id if change.tenant_id is None else change.tenant_id,
        origin=change.origin,
        at=change.at,
        data=change.data,
    )
