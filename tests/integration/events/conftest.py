"""An environment whose events are written, linked, checked and tampered with."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from authpipe.domain.clock import ManualClock
from authpipe.domain.environment import WORKSPACE_ID
from authpipe.domain.event import ActorKind, Event, Origin
from authpipe.domain.identifiers import new_id
from authpipe.events.chain import AuditChain
from authpipe.events.chain_beginning import ChainBeginnings
from authpipe.events.chain_hash import Head
from authpipe.events.record import record
from authpipe.events.types import EventType
from authpipe.events.verification import ChainVerification, Verdict
from authpipe.store.database import Database
from authpipe.telemetry.metrics import Metrics
from authpipe.vault.vault import Vault
from support.postgres import Dsns

ORIGIN = Origin(
    actor_kind=ActorKind.API_KEY, actor_id="key_1", request_id="req_1", source_address="192.0.2.7"
)


@dataclass
class Audited:
    """One environment's chain, and a superuser who may do anything to the database."""

    database: Database
    vault: Vault
    clock: ManualClock
    superuser: asyncpg.Connection[Any]
    environment_id: UUID

    async def begin(self) -> None:
        """The beginning of the chain, as an environment is made with."""
        chains = ChainBeginnings(self.database, self.vault, self.clock)
        beginning = await chains.prepare(self.environment_id, complete_at=self.clock.now())
        async with self.database.system() as transaction:
            assert await beginning.write(transaction)

    def maker(self, **options: Any) -> AuditChain:
        """Another process's chain maker."""
        return AuditChain(
            database=self.database, vault=self.vault, clock=self.clock, metrics=Metrics(), **options
        )

    async def happen(
        self, count: int = 1, *, tenant_id: str | None = "org_acme", data: Any = None
    ) -> list[Event]:
        """Events, each in a transaction of its own."""
        return [await self._one(tenant_id, data) for _ in range(count)]

    async def _one(self, tenant_id: str | None, data: Any) -> Event:
        async with self.database.environment(self.environment_id) as transaction:
            return await record(
                transaction,
                EventType.CONNECTION_UPDATED,
                environment_id=self.environment_id,
                tenant_id=tenant_id,
                object_kind="connection",
                object_id=new_id(),
                origin=ORIGIN,
                at=self.clock.now(),
                data={"changed": ["label"], "n": 1} if data is None else data,
            )

    async def linked(self, count: int) -> list[Event]:
        """Events that were linked, in their order."""
        events = await self.happen(count)
        maker = self.maker()
        while await maker.extend():
            pass
        return events

    async def verify(self, *, expected: Head | None = None) -> Verdict:
        """The verdict."""
        return await ChainVerification(self.database, self.vault).verify(
            self.environment_id, expected=expected
        )

    async def head(self) -> Head:
        """The head as stored."""
        row = await self.superuser.fetchrow(
            "SELECT position, hash FROM audit_heads WHERE environment_id = $1", self.environment_id
        )
        assert row is not None
        return Head(row["position"], row["hash"])

    async def count(self, table: str) -> int:
        """Rows of this environment."""
        return int(
            await self.superuser.fetchval(
                f"SELECT count(*) FROM {table} WHERE environment_id = $1", self.environment_id
            )
        )

    def workspace(self) -> Audited:
        """The same for what belongs to no environment."""
        return Audited(self.database, self.vault, self.clock, self.superuser, WORKSPACE_ID)


@pytest.fixture
async def audited(database: Database, vault: Vault, clock: ManualClock, dsns: Dsns) -> AsyncIterator[Audited]:
    superuser = await asyncpg.connect(dsns.superuser)
    await superuser.set_type_codec("jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog")
    audited = Audited(database, vault, clock, superuser, new_id())
    await audited.begin()
    await audited.workspace().begin()
    yield audited
    await superuser.close()
