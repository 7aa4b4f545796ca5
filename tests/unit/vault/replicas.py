"""What the vault's tests build: contexts, and replicas that share a store."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from tests.unit.vault.memory_keysets import MemoryKeysets

from authpipe.domain.clock import ManualClock
from authpipe.vault.context import EncryptionContext
from authpipe.vault.keks.local import LocalKek
from authpipe.vault.keks.ring import KekRing
from authpipe.vault.vault import Vault

ENVIRONMENT = UUID("01900000-0000-7000-8000-00000000000a")
OTHER_ENVIRONMENT = UUID("01900000-0000-7000-8000-00000000000b")
ROW = UUID("01900000-0000-7000-8000-000000000001")
OTHER_ROW = UUID("01900000-0000-7000-8000-000000000002")


def place(
    *,
    environment_id: UUID = ENVIRONMENT,
    tenant_id: str | None = "org_acme",
    row_id: UUID = ROW,
    field: str = "secret",
) -> EncryptionContext:
    """A context, of which a test changes what it is about."""
    return EncryptionContext(environment_id=environment_id, tenant_id=tenant_id, row_id=row_id, field=field)


class Replicas:
    """Vaults of several processes over one store, one clock and one KEK."""

    def __init__(self, kek: LocalKek) -> None:
        self.kek = kek
        self.store = MemoryKeysets()
        self.clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))

    def start(self, *, keks: KekRing | None = None, **settings: Any) -> Vault:
        """A process with nothing in memory."""
        return Vault(keks or KekRing(self.kek), self.store, self.clock, **settings)
