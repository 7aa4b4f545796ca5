"""Answers remembered under an ``Idempotency-Key``, encrypted because some of them carry a secret."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from authpipe.store.records import read
from authpipe.store.repository import Repository


@dataclass(frozen=True, slots=True, kw_only=True)
class RememberedAnswer:
    """What is known of a request made before; ``response_status`` None means it is still running.

    ``tenant_id`` is the tenant the answer is about, with which it goes.
    """

    row_id: UUID
    request_hash: bytes
    response_status: int | None
    response_ciphertext: bytes | None
    tenant_id: str | None
    created_at: datetime


class IdempotencyKeys(Repository):
    """Rows keyed by environment, API key and the caller's key."""

    aggregate = "idempotency_keys"

    async def begin(
        self,
        environment_id: UUID,
        api_key_id: UUID,
        key: str,
        *,
        request_hash: bytes,
        row_id: UUID,
        at: datetime,
        abandoned_before: datetime,
    ) -> bool:
        """Take the key for a new request.  False when it is taken.

        A request that began before ``abandoned_before`` and never answered died with its process and does
        not hold the key any longer.
        """
        await self._run("purge_unfinished", environment_id, api_key_id, key, abandoned_before)
        return await self._run("begin", environment_id, api_key_id, key, request_hash, row_id, at) == 1

    async def get(self, environment_id: UUID, api_key_id: UUID, key: str) -> RememberedAnswer | None:
        """What is remembered, or None."""
        row = await self._one("get", environment_id, api_key_id, key)
        return None if row is None else read(RememberedAnswer, row)

    async def finish(
        self,
        environment_id: UUID,
        api_key_id: UUID,
        key: str,
        *,
        row_id: UUID,
        status: int,
        ciphertext: bytes,
        tenant_id: str | None,
    ) -> None:
        """Remember the answer, unless the key was taken over from this request meanwhile."""
        await self._run("finish", environment_id, api_key_id, key, row_id, status, ciphertext, tenant_id)

    async def forget(self, environment_id: UUID, api_key_id: UUID, key: str, *, row_id: UUID) -> None:
        """Free the key of a request that failed before it changed anything, if it still holds it."""
        await self._run("forget", environment_id, api_key_id, key, row_id)

    async def purge(self, *, before: datetime) -> int:
        """Remove old answers: system-wide work."""
        return await self._run("purge", before)
