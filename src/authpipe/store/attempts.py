"""Authorization attempts: taken by one ``DELETE … RETURNING``, so no state can be used twice."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from authpipe.domain.connect_session import AuthorizationAttempt
from authpipe.store.records import read
from authpipe.store.repository import Repository


class Attempts(Repository):
    """Rows found by the SHA-256 of their state.  Taking and peeking are system-wide work."""

    aggregate = "authorization_attempts"

    async def add(self, attempt: AuthorizationAttempt, *, state_hash: bytes, browser_hash: bytes) -> None:
        """Store an attempt the browser is about to leave for."""
        await self._run(
            "insert",
            attempt.environment_id,
            attempt.tenant_id,
            attempt.attempt_id,
            attempt.session_id,
            attempt.provider_config_id,
            state_hash,
            browser_hash,
            attempt.verifier_ciphertext,
            attempt.redirect_uri,
            list(attempt.scopes),
            attempt.created_at,
            attempt.expires_at,
        )

    async def take(
        self,
        state_hash: bytes,
        *,
        provider_config_id: UUID,
        browser_hashes: Sequence[bytes],
        now: datetime,
    ) -> AuthorizationAttempt | None:
        """Remove and return the attempt if path, cookie and time all match; otherwise touch nothing."""
        row = await self._one("take", state_hash, provider_config_id, list(browser_hashes), now)
        return None if row is None else read(AuthorizationAttempt, row)

    async def peek(self, state_hash: bytes) -> AuthorizationAttempt | None:
        """The attempt, left in place: to say why :meth:`take` refused."""
        row = await self._one("peek", state_hash)
        return None if row is None else read(AuthorizationAttempt, row)

    async def belongs_to_browser(self, state_hash: bytes, browser_hashes: Sequence[bytes]) -> bool:
        """Whether the attempt was begun by a browser that shows one of these cookies."""
        return await self._value("browser_hash", state_hash) in list(browser_hashes)

    async def drop_of_session(self, environment_id: UUID, tenant_id: str, session_id: UUID) -> None:
        """End every attempt of a session."""
        await self._run("drop_of_session", environment_id, tenant_id, session_id)

    async def purge(self, *, now: datetime) -> int:
        """Remove attempts past their time: system-wide work."""
        return await self._run("purge", now)
