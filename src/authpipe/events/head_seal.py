"""The seal of a chain's head: what it says encrypted by the vault, which the database cannot do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from authpipe.domain.errors import VaultError
from authpipe.domain.secret import Secret
from authpipe.events.chain_hash import Head
from authpipe.vault.context import EncryptionContext
from authpipe.vault.sealer import Sealer
from authpipe.vault.vault import Vault

#: How much older an event that waits may be than the moment up to which everything was linked: reads are kept
#: in memory while the database is away from their process alone, transactions take time, clocks differ.
LATE = timedelta(days=1)

_FIELD = "audit_head"


class HeadSeals:
    """Makes and checks seals under the environment's own keyset.

    What is encrypted is no secret.  Authenticated encryption is what the vault has, and a seal is worth as
    much as the KEK is out of reach.
    """

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    async def prepare(self, environment_id: UUID) -> Sealer:
        """One encryption, counted ahead: the vault may need a connection, and a transaction holds one."""
        return await self._vault.sealer(environment_id, None, encryptions=1)

    async def holds(
        self, environment_id: UUID, head: Head, complete_at: datetime | None, seal: bytes
    ) -> bool:
        """Whether the vault sealed this very head of this environment, with this very time.

        False as well when the key is gone or its KEK is not known here: then nothing is proven.
        """
        try:
            text = await self._vault.decrypt(seal, _context(environment_id))
        except VaultError:
            return False
        return text.reveal() == _text(head, complete_at)


def make_seal(sealer: Sealer, environment_id: UUID, head: Head, complete_at: datetime | None) -> bytes:
    """The seal, without waiting.  Raises ``VaultError`` when ``sealer`` is another environment's or used."""
    return sealer.encrypt(Secret(_text(head, complete_at)), _context(environment_id))


def late_before(complete_at: datetime | None) -> datetime | None:
    """What happened before this moment cannot still be waiting; None: anything can."""
    return None if complete_at is None else complete_at - LATE


def _text(head: Head, complete_at: datetime | None) -> str:
    moment = "" if complete_at is None else complete_at.astimezone(UTC).isoformat(timespec="microseconds")
    return f"{head}:{moment}"


def _context(environment_id: UUID) -> EncryptionContext:
    return EncryptionContext(
        environment_id=environment_id, tenant_id=None, row_id=environment_id, field=_FIELD
    )
