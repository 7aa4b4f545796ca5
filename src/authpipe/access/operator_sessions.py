"""Browsers in which operators are signed in: opened, looked up for every request, and ended at once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from authpipe.access.operator_tokens import new_token, token_hash
from authpipe.domain.access import Operator, OperatorSession, SignInMethod
from authpipe.domain.clock import Clock
from authpipe.domain.environment import WORKSPACE_ID
from authpipe.domain.errors import NotFound
from authpipe.domain.event import ActorKind, Origin
from authpipe.domain.identifiers import new_id
from authpipe.domain.secret import Secret
from authpipe.events.record import record
from authpipe.events.types import EventType
from authpipe.store.database import Database
from authpipe.store.transaction import Transaction

#: A session ends when nobody was seen in it for so long, and in any case after its longest life.
IDLE_LIMIT = timedelta(hours=12)
LONGEST_LIFE = timedelta(days=7)
#: How often it is written down that the browser was seen.
_SEEN_EVERY = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class BrowserFacts:
    """What is kept of a browser, so that its owner recognises it."""

    source_address: str | None
    user_agent: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedIn:
    """Who sits at a browser."""

    operator: Operator
    session: OperatorSession

    def origin(self, request_id: str | None, source_address: str | None) -> Origin:
        """Who causes what they do."""
        return Origin(
            actor_kind=ActorKind.OPERATOR,
            actor_id=str(self.operator.operator_id),
            request_id=request_id,
            source_address=source_address,
        )


@dataclass(frozen=True, slots=True)
class OperatorSessions:
    """Sessions live in the database and nowhere else, so what ends there has ended on every replica."""

    database: Database
    clock: Clock

    async def open(
        self,
        transaction: Transaction,
        operator: Operator,
        method: SignInMethod,
        browser: BrowserFacts,
        *,
        shown: Secret | None,
        origin: Origin,
    ) -> tuple[OperatorSession, Secret]:
        """A new session and the value of its cookie, in the transaction that proved who it is.

        Always a new one: the session whose cookie the browser has ``shown`` ends.
        """
        now = self.clock.now()
        cookie = new_token()
        session = OperatorSession(
            session_id=new_id(),
            operator_id=operator.operator_id,
            method=method,
            source_address=browser.source_address,
            user_agent=browser.user_agent,
            created_at=now,
            last_seen_at=now,
            expires_at=now + LONGEST_LIFE,
        )
        if shown is not None:
            await transaction.operator_sessions.end_shown(token_hash(shown))
        await transaction.operators.signed_in(operator.operator_id, at=now)
        await transaction.operator_sessions.add(session, session_hash=token_hash(cookie))
        await record(
            transaction,
            EventType.OPERATOR_SIGNED_IN,
            environment_id=WORKSPACE_ID,
            tenant_id=None,
            object_kind="operator",
            object_id=operator.operator_id,
            origin=Origin(
                actor_kind=ActorKind.OPERATOR,
                actor_id=str(operator.operator_id),
                request_id=origin.request_id,
                source_address=origin.source_address,
            ),
            at=now,
            data={"session_id": str(session.session_id), "method": method.value},
        )
        return session, cookie

    async def current(self, cookie: Secret, *, source_address: str | None) -> SignedIn | None:
        """Who is signed in with this cookie, or None: never, ended, idle for too long, or disabled."""
        now = self.clock.now()
        async with self.database.system() as transaction:
            session = await transaction.operator_sessions.current(
                token_hash(cookie), now=now, idle_since=now - IDLE_LIMIT
            )
            operator = None if session is None else await transaction.operators.get(session.operator_id)
            if session is None or operator is None:
                return None
            if now - session.last_seen_at >= _SEEN_EVERY:
                await transaction.operator_sessions.touch(
                    session.session_id,
                    at=now,
                    unless_since=now - _SEEN_EVERY,
                    source_address=source_address,
                )
        return SignedIn(operator=operator, session=session)

    async def list(self, operator_id: UUID) -> list[OperatorSession]:
        """The operator's open sessions, last seen first."""
        now = self.clock.now()
        async with self.database.system() as transaction:
            return await transaction.operator_sessions.of_operator(
                operator_id, now=now, idle_since=now - IDLE_LIMIT
            )

    async def sign_out(self, signed_in: SignedIn, *, origin: Origin) -> None:
        """End this browser's own session."""
        session = signed_in.session
        async with self.database.system() as transaction:
            if await transaction.operator_sessions.end(session.operator_id, session.session_id):
                await self._record(
                    transaction,
                    EventType.OPERATOR_SIGNED_OUT,
                    session.operator_id,
                    origin,
                    {"session_id": str(session.session_id)},
                )

    async def end(self, operator_id: UUID, session_id: UUID, *, origin: Origin) -> None:
        """End one of an operator's sessions.  Raises ``NotFound`` when there is none of that id."""
        async with self.database.system() as transaction:
            if not await transaction.operator_sessions.end(operator_id, session_id):
                raise NotFound("That session has ended already.")
            await self._record(
                transaction,
                EventType.OPERATOR_SESSION_REVOKED,
                operator_id,
                origin,
                {"session_id": str(session_id)},
            )

    async def end_all(self, operator_id: UUID, *, keep: UUID | None = None, origin: Origin) -> int:
        """End every session of an operator, or all but one; returns how many those were."""
        async with self.database.system() as transaction:
            return await self.end_all_in(transaction, operator_id, keep=keep, origin=origin)

    async def end_all_in(
        self, transaction: Transaction, operator_id: UUID, *, keep: UUID | None = None, origin: Origin
    ) -> int:
        """The same as a part of something larger.  No event when there was nothing to end."""
        ended = await transaction.operator_sessions.end_all_but(operator_id, keep)
        if ended:
            await self._record(
                transaction, EventType.OPERATOR_SESSION_REVOKED, operator_id, origin, {"sessions": ended}
            )
        return ended

    async def purge(self) -> int:
        """Remove sessions that have ended by themselves."""
        now: datetime = self.clock.now()
        async with self.database.system() as transaction:
            return await transaction.operator_sessions.purge(now=now, idle_since=now - IDLE_LIMIT)

    async def _record(
        self,
        transaction: Transaction,
        event: EventType,
        operator_id: UUID,
        origin: Origin,
        data: dict[str, object],
    ) -> None:
        await record(
            transaction,
            event,
            environment_id=WORKSPACE_ID,
            tenant_id=None,
            object_kind="operator",
            object_id=operator_id,
            origin=origin,
            at=self.clock.now(),
            data=data,
        )
