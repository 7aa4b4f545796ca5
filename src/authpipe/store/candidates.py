"""Candidates: grants that wait for completion, or for being revoked and destroyed."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from authpipe.domain.connect_session import Candidate
from authpipe.store.records import read
from authpipe.store.repository import Repository


class Candidates(Repository):
    """Rows keyed by environment, tenant and candidate; one per session."""

    aggregate = "candidates"

    async def add(self, candidate: Candidate) -> None:
        """Store a candidate."""
        await self._run(
            "insert",
            candidate.environment_id,
            candidate.tenant_id,
            candidate.candidate_id,
            candidate.session_id,
            candidate.provider_config_id,
            candidate.grant_ciphertext,
            dict(candidate.account),
            candidate.created_at,
            candidate.expires_at,
        )

    async def of_session(self, environment_id: UUID, tenant_id: str, session_id: UUID) -> Candidate | None:
        """The session's candidate, or None."""
        row = await self._one("of_session", environment_id, tenant_id, session_id)
        return None if row is None else read(Candidate, row)

    async def another_waits(
        self,
        environment_id: UUID,
        provider_config_id: UUID,
        account_id: str,
        *,
        apart_from: UUID | None,
        now: datetime,
    ) -> bool:
        """Whether another grant for the same account or workspace waits for completion."""
        return bool(
            await self._value("waits_for", environment_id, provider_config_id, account_id, apart_from, now)
        )

    async def take(
        self, environment_id: UUID, tenant_id: str, session_id: UUID, *, now: datetime
    ) -> Candidate | None:
        """Remove and return it, unless it is being abandoned this moment."""
        row = await self._one("take", environment_id, tenant_id, session_id, now)
        return None if row is None else read(Candidate, row)

    async def claim_expired(self, *, now: datetime, lease_until: datetime, limit: int) -> list[Candidate]:
        """Lease candidates nobody completed in time: system-wide work."""
        rows = await self._all("claim_expired", now, lease_until, limit)
        return [read(Candidate, row) for row in rows]

    async def claim_of_session(
        self, environment_id: UUID, tenant_id: str, session_id: UUID, *, now: datetime, lease_until: datetime
    ) -> Candidate | None:
        """Lease one session's candidate for being abandoned at once."""
        row = await self._one("claim_of_session", environment_id, tenant_id, session_id, now, lease_until)
        return None if row is None else read(Candidate, row)

    async def destroy(self, candidate: Candidate) -> None:
        """Delete it for good."""
        await self._run("destroy", candidate.environment_id, candidate.tenant_id, candidate.candidate_id)
