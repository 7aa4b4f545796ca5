"""Completion: the application's backend says, in its own user's session, that this user finished."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from authpipe.catalog.definition import SideName
from authpipe.connect.abandon import Abandonment
from authpipe.connect.activate_connection import activate_connection
from authpipe.connect.activate_installation import activate_installation
from authpipe.connect.ending import SessionEnding
from authpipe.connect.grant import grant_context, restore
from authpipe.connect.one_time import digest
from authpipe.connect.sealed_grant import Place, Sealing
from authpipe.credentials.provider import Providers
from authpipe.domain.clock import Clock
from authpipe.domain.connect_session import Candidate, ConnectSession, SessionStatus
from authpipe.domain.connection import Connection, Installation
from authpipe.domain.errors import AuthpipeError, Conflict, ConnectError, NotFound
from authpipe.domain.event import Origin
from authpipe.domain.secret import Secret
from authpipe.events.record import record
from authpipe.events.types import EventType
from authpipe.store.database import Database
from authpipe.store.transaction import Transaction
from authpipe.telemetry import traces
from authpipe.telemetry.metrics import Metrics
from authpipe.vault.vault import Vault


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """What a connect session made; exactly one of the two is set."""

    session: ConnectSession
    connection: Connection | None
    installation: Installation | None


class Completion:
    """Activates candidates, or gives them back when somebody else than the one who began finished.

    This is the wall against session fixation: an attacker may begin a session and send the link to a victim,
    but the victim's application session will not say it is the attacker's user (OWASP ASVS 5.0, 10.1.2).
    """

    def __init__(
        self,
        *,
        database: Database,
        providers: Providers,
        vault: Vault,
        sealing: Sealing,
        abandonment: Abandonment,
        ending: SessionEnding,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._database = database
        self._providers = providers
        self._vault = vault
        self._sealing = sealing
        self._abandonment = abandonment
        self._ending = ending
        self._clock = clock
        self._metrics = metrics

    async def complete(
        self,
        environment_id: UUID,
        session_id: UUID,
        *,
        completion_code: Secret,
        tenant_id: str,
        user_id: str | None,
        origin: Origin,
    ) -> Completed:
        """The connection or installation.

        Raises ``NotFound``, ``Conflict`` (``tenant_erasing``, and see ``activate_connection`` and
        ``activate_installation``) and ``ConnectError``: ``session_completed``, ``session_not_ready``,
        ``session_failed``, ``session_expired``, ``completion_code_invalid``, ``completion_mismatch``.
        After a mismatch or a conflict the candidate is revoked and destroyed.
        """
        with traces.span("connect.complete", connect_session_id=session_id) as span:
            completed = await self._complete(
                environment_id, session_id, completion_code, tenant_id, user_id, origin
            )
            span.set(provider=completed.session.provider)
            return completed

    async def _complete(
        self,
        environment_id: UUID,
        session_id: UUID,
        completion_code: Secret,
        tenant_id: str,
        user_id: str | None,
        origin: Origin,
    ) -> Completed:
        session, candidate = await self._waiting(environment_id, session_id, completion_code, origin)
        if (session.tenant_id, session.user_id) != (tenant_id, user_id):
            await self._refuse(session, "completion_mismatch", origin)
            raise ConnectError(
                "The user who finished is not the one the session was made for; nothing was connected",
                code="completion_mismatch",
            )
        provider = await self._providers.by_id(environment_id, session.provider_config_id)
        secrets = await self._vault.decrypt(
            candidate.grant_ciphertext,
            grant_context(environment_id, session.tenant_id, candidate.candidate_id),
        )
        side_name = SideName(session.kind.value)
        sealed = await self._sealing.seal(
            provider, side_name, restore(candidate, secrets), tenant_id=session.tenant_id
        )
        place = Place(
            tenant_id=session.tenant_id,
            user_id=session.user_id,
            label=session.label,
            installation_id=session.installation_id,
            reconnect_id=session.reconnect_id,
        )
        connection: Connection | None = None
        installation: Installation | None = None
        try:
            async with self._database.tenant(environment_id, session.tenant_id) as transaction:
                provider.check_enabled()
                await transaction.tenants.keep(environment_id, session.tenant_id)
                await self._take(transaction, session, candidate)
                if side_name is SideName.CONNECTION:
                    connection = await activate_connection(
                        transaction, provider, sealed, place, origin=origin, at=self._clock.now()
                    )
                else:
                    installation = await activate_installation(
                        transaction, provider, sealed, place, origin=origin, at=self._clock.now()
                    )
                completed = await self._mark(transaction, session, connection, installation, origin)
        except (Conflict, ConnectError) as error:
            if error.code not in ("session_completed", "session_not_ready"):
                await self._refuse(session, error.code, origin)
            raise
        self._metrics.connect_sessions.labels(session.provider, "completed").inc()
        return Completed(session=completed, connection=connection, installation=installation)

    async def _waiting(
        self, environment_id: UUID, session_id: UUID, completion_code: Secret, origin: Origin
    ) -> tuple[ConnectSession, Candidate]:
        async with self._database.environment(environment_id) as transaction:
            session = await transaction.sessions.find(environment_id, session_id)
            if session is None:
                raise NotFound("no such connect session in this environment")
            await transaction.tenants.keep(environment_id, session.tenant_id)
            matches = await transaction.sessions.matches_completion(session, digest(completion_code))
            candidate = await transaction.candidates.of_session(environment_id, session.tenant_id, session_id)
        if session.status is SessionStatus.COMPLETED:
            raise ConnectError("The session was completed before", code="session_completed")
        if session.status is SessionStatus.FAILED:
            raise ConnectError(f"The session failed ({session.error_code})", code="session_failed")
        if session.status is SessionStatus.EXPIRED or session.expires_at <= self._clock.now():
            raise ConnectError("The session expired before it was completed", code="session_expired")
        if session.status is not SessionStatus.CANDIDATE or candidate is None:
            raise ConnectError(
                "The browser has not come back from the provider yet", code="session_not_ready"
            )
        if not matches:
            await self._ending.refused(session, "completion_code_invalid", origin=origin)
            raise ConnectError(
                "completion_code is not the one the browser brought back", code="completion_code_invalid"
            )
        return session, candidate

    async def _take(self, transaction: Transaction, session: ConnectSession, candidate: Candidate) -> None:
        """From here on nobody else completes this session or gives its candidate back."""
        locked = await transaction.sessions.lock(
            session.environment_id, session.tenant_id, session.session_id
        )
        taken = await transaction.candidates.take(
            session.environment_id, session.tenant_id, session.session_id, now=self._clock.now()
        )
        if locked is None or locked.status is not SessionStatus.CANDIDATE or taken is None:
            raise ConnectError("The session was completed or ended meanwhile", code="session_completed")

    async def _mark(
        self,
        transaction: Transaction,
        session: ConnectSession,
        connection: Connection | None,
        installation: Installation | None,
        origin: Origin,
    ) -> ConnectSession:
        now = self._clock.now()
        completed = await transaction.sessions.completed(
            session,
            connection_id=None if connection is None else connection.connection_id,
            installation_id=None if installation is None else installation.installation_id,
            at=now,
        )
        if completed is None:
            raise ConnectError("The session was completed or ended meanwhile", code="session_completed")
        await record(
            transaction,
            EventType.CONNECT_SESSION_COMPLETED,
            environment_id=session.environment_id,
            tenant_id=session.tenant_id,
            object_kind="connect_session",
            object_id=session.session_id,
            origin=origin,
            at=now,
            data={
                "provider": session.provider,
                "connection_id": None if connection is None else str(connection.connection_id),
                "installation_id": None if installation is None else str(installation.installation_id),
            },
        )
        return completed

    async def _refuse(self, session: ConnectSession, code: str, origin: Origin) -> None:
        """End the session and give its grant back at once."""
        await self._ending.fail(session, code, origin=origin)
        try:
            await self._abandonment.of_session(session, reason=code, origin=origin)
        except AuthpipeError:
            # The candidate stays leased and unreadable; the reaper gives it back when the lease runs out.
            return
