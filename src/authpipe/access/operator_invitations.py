"""One-time links with which an operator sets a password: at first, or instead of a forgotten one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from authpipe.access.operator_sessions import BrowserFacts, OperatorSessions, SignedIn
from authpipe.access.operator_tokens import browser_mark, new_token, token_hash
from authpipe.access.operators import Operators
from authpipe.access.passwords import Passwords
from authpipe.access.sign_in import NewSession
from authpipe.access.sign_in_refused import SignInReason, SignInRefused
from authpipe.domain.access import Operator, SignInMethod
from authpipe.domain.clock import Clock
from authpipe.domain.environment import WORKSPACE_ID
from authpipe.domain.errors import Conflict, NotFound
from authpipe.domain.event import ActorKind, Origin
from authpipe.domain.secret import Secret
from authpipe.events.record import record
from authpipe.events.types import EventType
from authpipe.store.database import Database

LIFETIME = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class OperatorInvitations:
    """At most one open invitation for each operator; the last one made is the one that is good."""

    database: Database
    clock: Clock
    passwords: Passwords
    operators: Operators
    sessions: OperatorSessions

    async def invite(self, operator_id: UUID, *, origin: Origin) -> Secret:
        """The token of a link that works once and for 24 hours.  It is stored nowhere.

        The password of before goes on working until the link is used.  Raises ``NotFound``, and
        ``Conflict`` for an operator who is disabled.
        """
        token, now = new_token(), self.clock.now()
        async with self.database.system() as transaction:
            operator = await transaction.operators.get(operator_id)
            if operator is None:
                raise NotFound("There is no such operator.")
            if operator.disabled_at is not None:
                raise Conflict("This operator is disabled. Enable them first.")
            await transaction.operators.invite(
                operator_id, invitation_hash=token_hash(token), expires_at=now + LIFETIME
            )
            await record(
                transaction,
                EventType.OPERATOR_UPDATED,
                environment_id=WORKSPACE_ID,
                tenant_id=None,
                object_kind="operator",
                object_id=operator_id,
                origin=origin,
                at=now,
                data={"invited_until": (now + LIFETIME).isoformat()},
            )
        return token

    async def invited(self, token: Secret) -> Operator:
        """Whom the invitation is for; uses nothing up.  Raises ``SignInRefused`` (``invitation_unknown``)."""
        async with self.database.system() as transaction:
            operator = await transaction.operators.by_invitation(token_hash(token), now=self.clock.now())
        if operator is None:
            raise _unknown()
        return operator

    async def accept(
        self,
        token: Secret,
        password: Secret,
        browser: BrowserFacts,
        *,
        shown: Secret | None,
        origin: Origin,
    ) -> NewSession:
        """Set the password and sign in; every session of before and the invitation are over.

        Raises ``SignInRefused`` (``invitation_unknown``), and ``InvalidInput`` when the password may not be
        chosen, which leaves the invitation good.
        """
        invited = await self.invited(token)
        hashed = await self.passwords.hash_chosen(password, account_words=(invited.email, invited.name or ""))
        acting = Origin(
            actor_kind=ActorKind.OPERATOR,
            actor_id=str(invited.operator_id),
            request_id=origin.request_id,
            source_address=origin.source_address,
        )
        async with self.database.system() as transaction:
            # Locked and read again: of two browsers with the same link, one finds it used.
            await transaction.operators.proof(invited.operator_id)
            operator = await transaction.operators.by_invitation(token_hash(token), now=self.clock.now())
            if operator is None:
                raise _unknown()
            await self.operators.store_password(transaction, operator.operator_id, hashed, origin=acting)
            session, cookie = await self.sessions.open(
                transaction, operator, SignInMethod.PASSWORD, browser, shown=shown, origin=acting
            )
            proof = await transaction.operators.proof(operator.operator_id)
            if proof is None:
                raise _unknown()
        return NewSession(
            signed_in=SignedIn(operator=proof.operator, session=session),
            cookie=cookie,
            mark=browser_mark(proof.known_browser_key, operator.operator_id),
        )


def _unknown() -> SignInRefused:
    return SignInRefused(
        SignInReason.INVITATION_UNKNOWN,
        "An invitation works once, for 24 hours, and a newer one replaces it. Ask an owner for another.",
    )
