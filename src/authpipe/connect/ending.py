"""How a session ends without a connection: one status, one event, one count."""

from __future__ import annotations

from typing import Any

from authpipe.domain.clock import Clock
from authpipe.domain.connect_session import ConnectSession, SessionStatus
from authpipe.domain.errors import ConnectError
from authpipe.domain.event import Origin, Outcome
from authpipe.events.record import record
from authpipe.events.types import EventType
from authpipe.store.database import Database
from authpipe.store.transaction import Transaction
from authpipe.telemetry.metrics import Metrics


class FailedSession(ConnectError):
    """The browser's session is over; the page can offer the way back to the application."""

    def __init__(self, message: str, *, code: str, session: ConnectSession) -> None:
        super().__init__(message, code=code)
        self.session = session


class SessionEnding:
    """Ends sessions and records refusals; every rule that refuses a browser goes through here."""

    def __init__(self, *, database: Database, clock: Clock, metrics: Metrics) -> None:
        self._database = database
        self._clock = clock
        self._metrics = metrics

    async def fail(
        self, session: ConnectSession, code: str, *, origin: Origin, data: dict[str, Any] | None = None
    ) -> bool:
        """The session is over.  False when it had ended before; nothing is recorded twice."""
        async with self._database.tenant(session.environment_id, session.tenant_id) as transaction:
            return await self.fail_in(transaction, session, code, origin=origin, data=data)

    async def fail_in(
        self,
        transaction: Transaction,
        session: ConnectSession,
        code: str,
        *,
        origin: Origin,
        status: SessionStatus = SessionStatus.FAILED,
        data: dict[str, Any] | None = None,
    ) -> bool:
        """As :meth:`fail`, as part of a larger change."""
        now = self._clock.now()
        if await transaction.sessions.end(session, status=status, error_code=code, at=now) is None:
            return False
        await transaction.attempts.drop_of_session(
            session.environment_id, session.tenant_id, session.session_id
        )
        expired = status is SessionStatus.EXPIRED
        await record(
            transaction,
            EventType.CONNECT_SESSION_EXPIRED if expired else EventType.CONNECT_SESSION_FAILED,
            environment_id=session.environment_id,
            tenant_id=session.tenant_id,
            object_kind="connect_session",
            object_id=session.session_id,
            origin=origin,
            at=now,
            outcome=Outcome.FAILURE,
            data={"provider": session.provider, "error": code, **(data or {})},
        )
        self._metrics.connect_sessions.labels(session.provider, status.value).inc()
        return True

    async def refused(self, session: ConnectSession, code: str, *, origin: Origin) -> None:
        """Somebody was turned away and the session stands as it did."""
        async with self._database.tenant(session.environment_id, session.tenant_id) as transaction:
            await record(
                transaction,
                EventType.CONNECT_SESSION_REFUSED,
                environment_id=session.environment_id,
                tenant_id=session.tenant_id,
                object_kind="connect_session",
                object_id=session.session_id,
                origin=origin,
                at=self._clock.now(),
                outcome=Outcome.FAILURE,
                data={"provider": session.provider, "error": code},
            )
