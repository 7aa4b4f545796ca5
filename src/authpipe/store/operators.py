"""Operators and the browsers they are signed in with.  All of it is system-wide work."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

import asyncpg

from authpipe.domain.access import Operator, OperatorRole, OperatorSession
from authpipe.store.records import read
from authpipe.store.repository import Repository


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorProof:
    """An operator and what proves that somebody is them.  The row stays locked for the transaction."""

    operator: Operator
    password_hash: str | None = field(repr=False)
    known_browser_key: bytes = field(repr=False)
    last_failed_at: datetime | None


class Operators(Repository):
    """People who sign in to the dashboard.  Emails come in their normal form: lower case."""

    aggregate = "operators"

    async def add(self, operator: Operator, *, known_browser_key: bytes) -> bool:
        """Store a new operator.  False when the email or the OpenID subject is another's."""
        return (
            await self._run(
                "insert",
                operator.operator_id,
                operator.email,
                operator.name,
                operator.role.value,
                known_browser_key,
                operator.oidc_issuer,
                operator.oidc_subject,
                operator.created_at,
            )
            == 1
        )

    async def get(self, operator_id: UUID) -> Operator | None:
        """The operator, or None."""
        return _operator(await self._one("get", operator_id))

    async def by_email(self, email: str) -> Operator | None:
        """The operator of that email, or None."""
        return _operator(await self._one("by_email", email))

    async def by_subject(self, issuer: str, subject: str) -> Operator | None:
        """The operator who is bound to that account of an OpenID provider, or None."""
        return _operator(await self._one("by_subject", issuer, subject))

    async def by_invitation(self, invitation_hash: bytes, *, now: datetime) -> Operator | None:
        """The enabled operator whom an unexpired invitation is for, or None."""
        return _operator(await self._one("by_invitation", invitation_hash, now))

    async def all(self) -> list[Operator]:
        """Every operator, oldest first, disabled ones included."""
        return [read(Operator, row) for row in await self._all("all")]

    async def proof(self, operator_id: UUID) -> OperatorProof | None:
        """What tells whether somebody is this operator; locks the row."""
        return _proof(await self._one("get_locked", operator_id))

    async def proof_by_email(self, email: str) -> OperatorProof | None:
        """The same for the operator of that email; locks the row."""
        return _proof(await self._one("by_email_locked", email))

    async def enabled_owners(self) -> set[UUID]:
        """The owners who can sign in: enabled, with a password or an OpenID account.

        Locks them, so that two who remove one another wait for each other.
        """
        return {row["operator_id"] for row in await self._all("enabled_owners")}

    async def update(self, operator_id: UUID, *, role: OperatorRole, name: str | None, at: datetime) -> None:
        """Change role and name."""
        await self._run("update", operator_id, role.value, name, at)

    async def set_password(
        self, operator_id: UUID, *, password_hash: str, known_browser_key: bytes, at: datetime
    ) -> None:
        """Replace the password; ends invitation and lock, and no browser is known any more."""
        await self._run("set_password", operator_id, password_hash, known_browser_key, at)

    async def rehash(self, operator_id: UUID, *, before: str, after: str) -> None:
        """Store another hash of the same password, unless the password was changed meanwhile."""
        await self._run("rehash", operator_id, before, after)

    async def disable(self, operator_id: UUID, *, at: datetime) -> bool:
        """Refuse every sign-in from now on and end the invitation.  False when that was so already."""
        return await self._run("disable", operator_id, at) == 1

    async def enable(self, operator_id: UUID, *, at: datetime) -> bool:
        """Allow sign-in again.  False when that was so already."""
        return await self._run("enable", operator_id, at) == 1

    async def invite(self, operator_id: UUID, *, invitation_hash: bytes, expires_at: datetime) -> None:
        """Store an invitation; one made before stops being good."""
        await self._run("invite", operator_id, invitation_hash, expires_at)

    async def bind(self, operator_id: UUID, *, issuer: str, subject: str, at: datetime) -> bool:
        """Bind to an account of an OpenID provider.  False when the operator is bound already."""
        return await self._run("bind", operator_id, issuer, subject, at) == 1

    async def failing(
        self, operator_id: UUID, *, failures: int, at: datetime | None, locked_until: datetime | None
    ) -> None:
        """Write down how many sign-ins failed in a row, and what follows."""
        await self._run("failing", operator_id, failures, at, locked_until)

    async def not_failed(self, operator_id: UUID, *, locked_until: datetime | None) -> None:
        """Take one failure off again, and the lock if it is still the one that this failure made."""
        await self._run("not_failed", operator_id, locked_until)

    async def signed_in(self, operator_id: UUID, *, at: datetime) -> None:
        """Note a sign-in, which ends the row of failures."""
        await self._run("signed_in", operator_id, at)


class OperatorSessions(Repository):
    """Sessions by the SHA-256 of their cookie.  ``idle_since`` ends those nobody was seen in after it."""

    aggregate = "operator_sessions"

    async def add(self, session: OperatorSession, *, session_hash: bytes) -> None:
        """Store a new session."""
        await self._run(
            "insert",
            session.session_id,
            session_hash,
            session.operator_id,
            session.method.value,
            session.source_address,
            session.user_agent,
            session.created_at,
            session.last_seen_at,
            session.expires_at,
        )

    async def current(
        self, session_hash: bytes, *, now: datetime, idle_since: datetime
    ) -> OperatorSession | None:
        """The session of a cookie, unless it or its operator has ended."""
        row = await self._one("current", session_hash, now, idle_since)
        return None if row is None else read(OperatorSession, row)

    async def touch(
        self, session_id: UUID, *, at: datetime, unless_since: datetime, source_address: str | None
    ) -> None:
        """Note that the browser was seen, unless that was noted after ``unless_since``."""
        await self._run("touch", session_id, at, unless_since, source_address)

    async def of_operator(
        self, operator_id: UUID, *, now: datetime, idle_since: datetime
    ) -> list[OperatorSession]:
        """The operator's open sessions, last seen first."""
        rows = await self._all("of_operator", operator_id, now, idle_since)
        return [read(OperatorSession, row) for row in rows]

    async def end(self, operator_id: UUID, session_id: UUID) -> bool:
        """End one of the operator's sessions.  False when there is none of that id."""
        return await self._run("end", operator_id, session_id) == 1

    async def end_shown(self, session_hash: bytes) -> None:
        """End the session of a cookie, whoever's it is."""
        await self._run("end_shown", session_hash)

    async def end_all_but(self, operator_id: UUID, keep: UUID | None) -> int:
        """End the operator's sessions, all or all but one; returns how many those were."""
        return await self._run("end_all_but", operator_id, keep)

    async def purge(self, *, now: datetime, idle_since: datetime) -> int:
        """Remove what has ended by itself."""
        return await self._run("purge", now, idle_since)


def _operator(row: asyncpg.Record | None) -> Operator | None:
    return None if row is None else read(Operator, row)


def _proof(row: asyncpg.Record | None) -> OperatorProof | None:
    if row is None:
        return None
    return OperatorProof(
        operator=read(Operator, row),
        password_hash=row["password_hash"],
        known_browser_key=row["known_browser_key"],
        last_failed_at=row["last_failed_at"],
    )
