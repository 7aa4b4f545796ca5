"""Adding, changing and disabling the people who sign in to the dashboard."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from authpipe.access.operator_sessions import OperatorSessions
from authpipe.access.operator_tokens import new_browser_key
from authpipe.access.passwords import Passwords
from authpipe.domain.access import Operator, OperatorRole
from authpipe.domain.clock import Clock
from authpipe.domain.environment import WORKSPACE_ID
from authpipe.domain.errors import Conflict, InvalidInput, NotFound
from authpipe.domain.event import Origin
from authpipe.domain.identifiers import new_id
from authpipe.domain.secret import Secret
from authpipe.events.record import record
from authpipe.events.types import EventType
from authpipe.store.database import Database
from authpipe.store.transaction import Transaction

_LONGEST_NAME = 100
_LONGEST_EMAIL = 254  # RFC 5321 section 4.5.3.1.3, without the angle brackets
#: ASCII only: two addresses that look the same must not be two people.
_EMAIL = re.compile(
    r"[a-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
    r"(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*"
)


def normal_email(text: str) -> str:
    """The address in the form it is compared in: lower case, without space around it.

    Raises ``InvalidInput`` when it is not one, by the rule browsers use (HTML, "valid email address").
    """
    email = text.strip().lower()
    if len(email) > _LONGEST_EMAIL or _EMAIL.fullmatch(email) is None:
        raise InvalidInput("The email must be an address such as ada@example.com.", field="email")
    return email


def normal_name(text: str | None) -> str | None:
    """A name to show, or None for an empty one.  Raises ``InvalidInput``."""
    name = (text or "").strip()
    if len(name) > _LONGEST_NAME or not name.isprintable():
        raise InvalidInput(f"The name must have at most {_LONGEST_NAME} printable characters.", field="name")
    return name or None


@dataclass(frozen=True, slots=True)
class Operators:
    """The operators of the workspace.  One owner who can sign in always remains."""

    database: Database
    clock: Clock
    passwords: Passwords
    sessions: OperatorSessions

    async def add(
        self,
        email: str,
        *,
        role: OperatorRole,
        name: str | None = None,
        password: Secret | None = None,
        origin: Origin,
    ) -> Operator:
        """A new operator, who cannot sign in with a password before there is one.

        Raises ``InvalidInput`` (``email``, ``name``, ``password``) and ``Conflict`` when the email is taken.
        """
        email, name = normal_email(email), normal_name(name)
        hashed = None
        if password is not None:
            hashed = await self.passwords.hash_chosen(password, account_words=(email, name or ""))
        async with self.database.system() as transaction:
            operator = await add_in(
                transaction, email, role=role, name=name, origin=origin, at=self.clock.now()
            )
            if operator is None:
                raise Conflict(f"There is an operator {email} already.")
            if hashed is not None:
                await transaction.operators.set_password(
                    operator.operator_id,
                    password_hash=hashed,
                    known_browser_key=new_browser_key(),
                    at=operator.created_at,
                )
            return await _found(transaction, operator.operator_id)

    async def list(self) -> list[Operator]:
        """Every operator, oldest first, disabled ones included."""
        async with self.database.system() as transaction:
            return await transaction.operators.all()

    async def get(self, operator_id: UUID) -> Operator:
        """The operator.  Raises ``NotFound``."""
        async with self.database.system() as transaction:
            return await _found(transaction, operator_id)

    async def by_email(self, email: str) -> Operator:
        """The operator of that email, however it is written.  Raises ``InvalidInput`` or ``NotFound``."""
        async with self.database.system() as transaction:
            operator = await transaction.operators.by_email(normal_email(email))
        if operator is None:
            raise NotFound(f"There is no operator {normal_email(email)}.")
        return operator

    async def update(
        self, operator_id: UUID, *, role: OperatorRole, name: str | None, origin: Origin
    ) -> Operator:
        """Change role and name; the new role holds from the next request on.

        Raises ``NotFound``, ``InvalidInput`` (``name``) and ``Conflict`` for the last owner who can sign in.
        """
        name = normal_name(name)
        async with self.database.system() as transaction:
            before = await _found(transaction, operator_id)
            if role is not OperatorRole.OWNER:
                await _keep_an_owner(transaction, before)
            changed = {
                field: value
                for field, value, old in (
                    ("role", role.value, before.role.value),
                    ("name", name, before.name),
                )
                if value != old
            }
            if changed:
                await transaction.operators.update(operator_id, role=role, name=name, at=self.clock.now())
                await self._record(transaction, EventType.OPERATOR_UPDATED, operator_id, origin, changed)
            return await _found(transaction, operator_id)

    async def set_password(
        self, operator_id: UUID, password: Secret, *, keep: UUID | None = None, origin: Origin
    ) -> None:
        """Replace the password; ends every session (but ``keep``), the lock and an open invitation.

        Raises ``NotFound``, and ``InvalidInput`` when the password may not be chosen.
        """
        operator = await self.get(operator_id)
        hashed = await self.passwords.hash_chosen(
            password, account_words=(operator.email, operator.name or "")
        )
        async with self.database.system() as transaction:
            await self.store_password(transaction, operator_id, hashed, keep=keep, origin=origin)

    async def store_password(
        self,
        transaction: Transaction,
        operator_id: UUID,
        hashed: str,
        *,
        keep: UUID | None = None,
        origin: Origin,
    ) -> None:
        """The same with a hash of a password that was checked, as a part of something larger."""
        await transaction.operators.set_password(
            operator_id, password_hash=hashed, known_browser_key=new_browser_key(), at=self.clock.now()
        )
        await self.sessions.end_all_in(transaction, operator_id, keep=keep, origin=origin)
        await self._record(
            transaction, EventType.OPERATOR_UPDATED, operator_id, origin, {"changed": ["password"]}
        )

    async def disable(self, operator_id: UUID, *, origin: Origin) -> Operator:
        """Refuse every sign-in and end every session, at once and everywhere.

        Raises ``NotFound``, and ``Conflict`` for the last owner who can sign in.
        """
        async with self.database.system() as transaction:
            await _keep_an_owner(transaction, await _found(transaction, operator_id))
            if await transaction.operators.disable(operator_id, at=self.clock.now()):
                await self.sessions.end_all_in(transaction, operator_id, origin=origin)
                await self._record(transaction, EventType.OPERATOR_DISABLED, operator_id, origin, {})
            return await _found(transaction, operator_id)

    async def enable(self, operator_id: UUID, *, origin: Origin) -> Operator:
        """Allow sign-in again, with the password and the OpenID account of before.  Raises ``NotFound``."""
        async with self.database.system() as transaction:
            if await transaction.operators.enable(operator_id, at=self.clock.now()):
                await self._record(
                    transaction, EventType.OPERATOR_UPDATED, operator_id, origin, {"enabled": True}
                )
            return await _found(transaction, operator_id)

    async def unlock(self, operator_id: UUID, *, origin: Origin) -> Operator:
        """Forget failed sign-ins.  Raises ``NotFound``."""
        async with self.database.system() as transaction:
            before = await _found(transaction, operator_id)
            await transaction.operators.failing(operator_id, failures=0, at=None, locked_until=None)
            if before.locked_until is not None:
                await self._record(
                    transaction, EventType.OPERATOR_UPDATED, operator_id, origin, {"unlocked": True}
                )
            return await _found(transaction, operator_id)

    async def _record(
        self,
        transaction: Transaction,
        event: EventType,
        operator_id: UUID,
        origin: Origin,
        data: Mapping[str, Any],
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


async def add_in(
    transaction: Transaction,
    email: str,
    *,
    role: OperatorRole,
    name: str | None,
    oidc: tuple[str, str] | None = None,
    origin: Origin,
    at: datetime,
) -> Operator | None:
    """Add an operator whose email and name are in normal form; None when email or OpenID account is taken.

    ``oidc`` is the issuer and the subject to bind to from the start.
    """
    issuer, subject = oidc or (None, None)
    operator = Operator(
        operator_id=new_id(),
        email=email,
        name=name,
        role=role,
        has_password=False,
        oidc_issuer=issuer,
        oidc_subject=subject,
        failed_sign_ins=0,
        locked_until=None,
        disabled_at=None,
        last_sign_in_at=None,
        created_at=at,
        updated_at=at,
    )
    if not await transaction.operators.add(operator, known_browser_key=new_browser_key()):
        return None
    await record(
        transaction,
        EventType.OPERATOR_ADDED,
        environment_id=WORKSPACE_ID,
        tenant_id=None,
        object_kind="operator",
        object_id=operator.operator_id,
        origin=origin,
        at=at,
        data={"email": email, "role": role.value},
    )
    return operator


async def _found(transaction: Transaction, operator_id: UUID) -> Operator:
    operator = await transaction.operators.get(operator_id)
    if operator is None:
        raise NotFound("There is no such operator.")
    return operator


async def _keep_an_owner(transaction: Transaction, operator: Operator) -> None:
    """Raise ``Conflict`` when without this operator nobody could administer the workspace."""
    if await transaction.operators.enabled_owners() == {operator.operator_id}:
        raise Conflict("This is the last owner who can sign in. Make somebody else an owner first.")
