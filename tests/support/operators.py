"""Operators of a test's workspace: added, signed in, and what was recorded of them."""

from __future__ import annotations

from typing import Any

from authpipe.access.operator_sessions import BrowserFacts
from authpipe.access.sign_in import NewSession
from authpipe.domain.access import Operator, OperatorRole
from authpipe.domain.environment import WORKSPACE_ID
from authpipe.domain.event import ActorKind, Event, Origin
from authpipe.domain.secret import Secret
from authpipe.server.signing_in import SigningIn
from authpipe.store.database import Database

PASSWORD = "maple cobalt otter 92"
ANOTHER = "granite willow lantern 5"
COMMAND_LINE = Origin(actor_kind=ActorKind.COMMAND_LINE)


def browser(address: str = "203.0.113.7") -> Origin:
    """A browser at an address."""
    return Origin(actor_kind=ActorKind.BROWSER, source_address=address)


async def add(
    signing_in: SigningIn,
    email: str = "ada@example.com",
    *,
    role: OperatorRole = OperatorRole.OWNER,
    password: str | None = PASSWORD,
    name: str | None = None,
) -> Operator:
    """An operator, with a password unless it is None."""
    secret = None if password is None else Secret(password)
    return await signing_in.operators.add(email, role=role, name=name, password=secret, origin=COMMAND_LINE)


async def sign_in(
    signing_in: SigningIn,
    email: str = "ada@example.com",
    password: str = PASSWORD,
    *,
    address: str = "203.0.113.7",
    mark: Secret | None = None,
    shown: Secret | None = None,
) -> NewSession:
    """With a password, from an address."""
    return await signing_in.password.sign_in(
        email,
        Secret(password),
        BrowserFacts(source_address=address, user_agent="Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0"),
        mark=mark,
        shown=shown,
        origin=browser(address),
    )


async def workspace_events(database: Database, type_: str | None = None) -> list[Event]:
    """What was recorded under the workspace, oldest first."""
    async with database.system() as transaction:
        found = await transaction.events.page(WORKSPACE_ID, type=type_, limit=200)
    return found[::-1]


def told(events: list[Event]) -> list[tuple[str, dict[str, Any]]]:
    """Type and data of events."""
    return [(event.type, dict(event.data)) for event in events]
