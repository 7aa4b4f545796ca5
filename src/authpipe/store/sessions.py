"""Connect sessions.  Tokens, cookies and completion codes are known here by their SHA-256 only."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from authpipe.domain.connect_session import ConnectSession, SessionStatus
from authpipe.store.records import read
from authpipe.store.repository import Repository


class Sessions(Repository):
    """Rows keyed by environment, tenant and session.  Lookups for a browser are system-wide work."""

    aggregate = "connect_sessions"

    async def add(self, session: ConnectSession, *, token_hash: bytes) -> None:
        """Store a pending session."""
        await self._run(
            "insert",
            session.environment_id,
            session.tenant_id,
            session.session_id,
            session.user_id,
            session.kind.value,
            session.provider_config_id,
            session.provider,
            list(session.scopes),
            session.label,
            session.installation_id,
            session.reconnect_id,
            session.return_mode.value,
            session.return_url,
            token_hash,
            session.expires_at,
            session.created_at,
        )

    async def find(self, environment_id: UUID, session_id: UUID) -> ConnectSession | None:
        """The session of whichever tenant: environment-wide work."""
        row = await self._one("find", environment_id, session_id)
        return None if row is None else read(ConnectSession, row)

    async def lock(self, environment_id: UUID, tenant_id: str, session_id: UUID) -> ConnectSession | None:
        """The session, held until the transaction ends."""
        row = await self._one("lock", environment_id, tenant_id, session_id)
        return None if row is None else read(ConnectSession, row)

    async def by_token(self, token_hash: bytes) -> ConnectSession | None:
        """The session this link belongs to, whatever its status."""
        row = await self._one("by_token", token_hash)
        return None if row is None else read(ConnectSession, row)

    async def by_id(self, session_id: UUID) -> ConnectSession | None:
        """The session in whichever environment, for a browser that shows its id."""
        row = await self._one("by_id", session_id)
        return None if row is None else read(ConnectSession, row)

    async def open(self, token_hash: bytes, *, browser_hash: bytes, at: datetime) -> ConnectSession | None:
        """Consume the link and bind the session to one browser.  None when it was consumed or is over."""
        row = await self._one("open", token_hash, browser_hash, at)
        return None if row is None else read(ConnectSession, row)

    async def authorizing(self, session: ConnectSession, *, at: datetime) -> ConnectSession | None:
        """The browser left for the provider.  None when the session is over."""
        row = await self._one(
            "authorizing", session.environment_id, session.tenant_id, session.session_id, at
        )
        return None if row is None else read(ConnectSession, row)

    async def count_key_attempt(self, session: ConnectSession, *, at: datetime) -> int:
        """One more key was entered in the session; returns how many that makes."""
        return int(
            await self._value(
                "count_key_attempt", session.environment_id, session.tenant_id, session.session_id, at
            )
            or 0
        )

    async def candidate(
        self, session: ConnectSession, *, completion_hash: bytes, expires_at: datetime, at: datetime
    ) -> ConnectSession | None:
        """A candidate waits for completion until ``expires_at``.  None when the session is over."""
        row = await self._one(
            "candidate",
            session.environment_id,
            session.tenant_id,
            session.session_id,
            completion_hash,
            expires_at,
            at,
        )
        return None if row is None else read(ConnectSession, row)

    async def matches_completion(self, session: ConnectSession, completion_hash: bytes) -> bool:
        """Whether this is the digest of the session's unused completion code."""
        return bool(
            await self._value(
                "matches_completion",
                session.environment_id,
                session.tenant_id,
                session.session_id,
                completion_hash,
            )
        )

    async def completed(
        self,
        session: ConnectSession,
        *,
        connection_id: UUID | None,
        installation_id: UUID | None,
        at: datetime,
    ) -> ConnectSession | None:
        """The application confirmed.  None when the session is not waiting for that."""
        row = await self._one(
            "completed",
            session.environment_id,
            session.tenant_id,
            session.session_id,
            connection_id,
            installation_id,
            at,
        )
        return None if row is None else read(ConnectSession, row)

    async def end(
        self, session: ConnectSession, *, status: SessionStatus, error_code: str, at: datetime
    ) -> ConnectSession | None:
        """End a session that did not complete.  None when it had ended before."""
        row = await self._one(
            "ended",
            session.environment_id,
            session.tenant_id,
            session.session_id,
            status.value,
            error_code,
            at,
        )
        return None if row is None else read(ConnectSession, row)

    async def any_open(self, environment_id: UUID, provider_config_id: UUID) -> bool:
        """Whether a session of this provider config may still make something."""
        return bool(await self._value("any_open", environment_id, provider_config_id))

    async def overdue(self, *, now: datetime, limit: int) -> list[ConnectSession]:
        """Open sessions past their time, held until the transaction ends: system-wide work."""
        return [read(ConnectSession, row) for row in await self._all("overdue", now, limit)]
