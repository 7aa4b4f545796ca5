"""Begins the chain of an environment: a head at position 0, sealed by the vault before anything is linked.

Whoever owns the database can remove a head, and cannot make one.  So a chain is begun with its environment,
and no process takes a head that is missing for one that was never there.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from authpipe.domain.clock import Clock
from authpipe.domain.environment import WORKSPACE_ID
from authpipe.domain.event import Origin
from authpipe.events.chain_hash import BEGINNING
from authpipe.events.head_seal import HeadSeals, make_seal
from authpipe.events.record import record
from authpipe.events.types import EventType
from authpipe.store.database import Database
from authpipe.store.transaction import Transaction
from authpipe.telemetry.logs import get_logger
from authpipe.vault.vault import Vault

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Beginning:
    """A sealed head that is not in the database yet."""

    environment_id: UUID
    seal: bytes
    complete_at: datetime | None

    async def write(self, transaction: Transaction) -> bool:
        """Add it, in system-wide work.  False when there is a head, or a link, already."""
        return await transaction.audit_chain.begin(
            self.environment_id, first_hash=BEGINNING.hash, seal=self.seal, complete_at=self.complete_at
        )


class ChainBeginnings:
    """Begins chains; each once."""

    def __init__(self, database: Database, vault: Vault, clock: Clock) -> None:
        self._database = database
        self._seals = HeadSeals(vault)
        self._clock = clock

    async def prepare(self, environment_id: UUID, *, complete_at: datetime | None) -> Beginning:
        """A beginning to be written with its environment; ``complete_at``: nothing happened before.

        Ahead of the transaction, as the vault may need a connection of its own.  Raises ``VaultError``.
        """
        sealer = await self._seals.prepare(environment_id)
        seal = make_seal(sealer, environment_id, BEGINNING, complete_at)
        return Beginning(environment_id, seal, complete_at)

    async def begin_late(self, origin: Origin) -> list[UUID]:
        """Begin every chain that has neither head nor link; returns whose.

        For what was there before there were chains, and told by an event of each.  Anywhere else a missing
        head means that somebody removed it, and this makes what they left look whole.
        """
        async with self._database.system() as transaction:
            known = [each.environment_id for each in await transaction.environments.all()]
            headed = set(await transaction.audit_chain.headed())
        begun = []
        for environment_id in [WORKSPACE_ID, *known]:
            if environment_id in headed:
                continue
            beginning = await self.prepare(environment_id, complete_at=None)
            async with self._database.system() as transaction:
                if not await beginning.write(transaction):
                    continue
                await record(
                    transaction,
                    EventType.AUDIT_CHAIN_BEGUN,
                    environment_id=environment_id,
                    tenant_id=None,
                    object_kind="environment",
                    object_id=environment_id,
                    origin=origin,
                    at=self._clock.now(),
                )
            begun.append(environment_id)
            _log.warning("an audit chain was begun", environment_id=environment_id)
        return begun
