"""Adding, changing and disabling operators; one owner always remains."""

from __future__ import annotations

import asyncio
import uuid
from datetime import timedelta

import pytest

from authpipe.access.operator_sessions import BrowserFacts
from authpipe.access.sign_in_refused import SignInReason, SignInRefused
from authpipe.domain.access import OperatorRole
from authpipe.domain.clock import ManualClock
from authpipe.domain.errors import Conflict, InvalidInput, NotFound
from authpipe.domain.secret import Secret
from authpipe.server.signing_in import SigningIn
from authpipe.store.database import Database
from support.operators import ANOTHER, COMMAND_LINE, PASSWORD, add, browser, sign_in, told, workspace_events

FACTS = BrowserFacts(source_address="203.0.113.7", user_agent=None)


async def test_an_email_is_one_operator_however_it_is_written(signing_in: SigningIn) -> None:
    """Lower case, without space around it; a second one is refused."""
    made = await add(signing_in, "  Ada@Example.COM ", name="  Ada  ")
    assert (made.email, made.name, made.has_password) == ("ada@example.com", "Ada", True)
    with pytest.raises(Conflict, match=r"ada@example\.com"):
        await add(signing_in, "ADA@example.com")
    assert await signing_in.operators.by_email("aDa@example.com") == made


@pytest.mark.parametrize(
    "email",
    [
        "",
        "ada",
        "ada@",
        "@example.com",
        "a b@example.com",
        "ada@exa mple.com",
        "ada@-example.com",
        "a@b@c",
        "ad\u0430@example.com",
        "ada@example.com\nx",
        f"{'a' * 65}@example.com",
        f"a@{'b.' * 130}com",
    ],
)
async def test_what_is_no_email_is_refused(signing_in: SigningIn, email: str) -> None:
    """Look-alike letters of other alphabets too."""
    with pytest.raises(InvalidInput) as caught:
        await add(signing_in, email)
    assert caught.value.field == "email"


async def test_a_password_that_is_too_easy_adds_nobody(signing_in: SigningIn) -> None:
    """Nor does a name that cannot be shown."""
    with pytest.raises(InvalidInput, match="most common"):
        await add(signing_in, password="Password2026!!")
    with pytest.raises(InvalidInput, match="email"):
        await add(signing_in, "grace.hopper@example.com", password="grace.hopper-1906")
    with pytest.raises(InvalidInput, match="name"):
        await add(signing_in, name="a\nb")
    assert await signing_in.operators.list() == []


async def test_what_was_done_is_recorded(signing_in: SigningIn, database: Database) -> None:
    """Under the workspace, by whom, and without a password."""
    ada = await add(signing_in)
    bob = await add(signing_in, "bob@example.com", role=OperatorRole.VIEWER, password=None)
    await signing_in.operators.update(
        bob.operator_id, role=OperatorRole.DEVELOPER, name="Bob", origin=COMMAND_LINE
    )
    await signing_in.operators.update(
        bob.operator_id, role=OperatorRole.DEVELOPER, name="Bob", origin=COMMAND_LINE
    )
    await signing_in.operators.disable(bob.operator_id, origin=COMMAND_LINE)
    await signing_in.operators.disable(bob.operator_id, origin=COMMAND_LINE)
    await signing_in.operators.enable(bob.operator_id, origin=COMMAND_LINE)
    await signing_in.operators.set_password(ada.operator_id, Secret(ANOTHER), origin=COMMAND_LINE)
    events = await workspace_events(database)
    assert told(events) == [
        ("operator.added", {"email": "ada@example.com", "role": "owner"}),
        ("operator.added", {"email": "bob@example.com", "role": "viewer"}),
        ("operator.updated", {"role": "developer", "name": "Bob"}),
        ("operator.disabled", {}),
        ("operator.updated", {"enabled": True}),
        ("operator.updated", {"changed": ["password"]}),
    ]
    assert {event.origin.actor_kind.value for event in events} == {"command_line"}
    assert events[0].object_id == str(ada.operator_id)
    with pytest.raises(NotFound):
        await signing_in.operators.get(uuid.uuid4())


async def test_the_last_owner_stays(signing_in: SigningIn) -> None:
    """Neither disabled nor made less, while no other owner can sign in."""
    ada = await add(signing_in)
    grace = await add(signing_in, "grace@example.com")
    await signing_in.operators.disable(grace.operator_id, origin=COMMAND_LINE)
    with pytest.raises(Conflict, match="last owner"):
        await signing_in.operators.disable(ada.operator_id, origin=COMMAND_LINE)
    with pytest.raises(Conflict, match="last owner"):
        await signing_in.operators.update(
            ada.operator_id, role=OperatorRole.VIEWER, name=None, origin=COMMAND_LINE
        )
    await signing_in.operators.update(
        ada.operator_id, role=OperatorRole.OWNER, name="Ada", origin=COMMAND_LINE
    )
    await signing_in.operators.enable(grace.operator_id, origin=COMMAND_LINE)
    await signing_in.operators.disable(ada.operator_id, origin=COMMAND_LINE)


async def test_an_owner_without_a_way_to_sign_in_is_no_other_owner(
    signing_in: SigningIn, database: Database
) -> None:
    """Only a password or an account at the OpenID provider makes them one."""
    ada = await add(signing_in)
    grace = await add(signing_in, "grace@example.com", password=None)
    with pytest.raises(Conflict, match="last owner"):
        await signing_in.operators.disable(ada.operator_id, origin=COMMAND_LINE)
    async with database.system() as transaction:
        await transaction.operators.bind(
            grace.operator_id, issuer="https://id.example.com", subject="grace", at=grace.created_at
        )
    await signing_in.operators.disable(ada.operator_id, origin=COMMAND_LINE)


async def test_two_owners_cannot_remove_one_another_at_once(signing_in: SigningIn) -> None:
    """Whoever comes second finds themselves the last."""
    owners = [await add(signing_in, f"{name}@example.com") for name in ("ada", "grace")]
    for _ in range(5):
        ends = [signing_in.operators.disable(each.operator_id, origin=COMMAND_LINE) for each in owners]
        results = await asyncio.gather(*ends, return_exceptions=True)
        assert sum(isinstance(each, Conflict) for each in results) == 1
        assert sum(each.disabled_at is None for each in await signing_in.operators.list()) == 1
        for each in owners:
            await signing_in.operators.enable(each.operator_id, origin=COMMAND_LINE)


async def test_disabling_ends_everything_at_once(signing_in: SigningIn) -> None:
    """Sessions, the invitation, and every way to sign in; enabling brings back the password alone."""
    await add(signing_in)
    bob = await add(signing_in, "bob@example.com", role=OperatorRole.VIEWER)
    made = await sign_in(signing_in, "bob@example.com")
    token = await signing_in.invitations.invite(bob.operator_id, origin=COMMAND_LINE)
    await signing_in.operators.disable(bob.operator_id, origin=COMMAND_LINE)
    assert await signing_in.sessions.current(made.cookie, source_address=None) is None
    with pytest.raises(SignInRefused):
        await sign_in(signing_in, "bob@example.com")
    with pytest.raises(SignInRefused):
        await signing_in.invitations.invited(token)
    with pytest.raises(Conflict, match="disabled"):
        await signing_in.invitations.invite(bob.operator_id, origin=COMMAND_LINE)
    await signing_in.operators.enable(bob.operator_id, origin=COMMAND_LINE)
    assert await signing_in.sessions.current(made.cookie, source_address=None) is None
    assert await sign_in(signing_in, "bob@example.com")


async def test_an_invitation_works_once_and_the_last_one_made(
    signing_in: SigningIn, clock: ManualClock
) -> None:
    """For a day, for one password, in one browser of several that try at once."""
    bob = await add(signing_in, "bob@example.com", password=None)
    older = await signing_in.invitations.invite(bob.operator_id, origin=COMMAND_LINE)
    token = await signing_in.invitations.invite(bob.operator_id, origin=COMMAND_LINE)
    assert (await signing_in.invitations.invited(token)).email == "bob@example.com"

    async def accept(token: Secret, password: str = PASSWORD) -> object:
        return await signing_in.invitations.accept(
            token, Secret(password), FACTS, shown=None, origin=browser()
        )

    with pytest.raises(SignInRefused) as caught:
        await accept(older)
    assert caught.value.reason is SignInReason.INVITATION_UNKNOWN
    with pytest.raises(InvalidInput):
        await accept(token, "too short")
    results = await asyncio.gather(*(accept(token) for _ in range(4)), return_exceptions=True)
    assert sum(isinstance(each, SignInRefused) for each in results) == 3
    assert await sign_in(signing_in, "bob@example.com")
    late = await signing_in.invitations.invite(bob.operator_id, origin=COMMAND_LINE)
    clock.advance(timedelta(hours=24))
    with pytest.raises(SignInRefused):
        await accept(late)


async def test_nothing_in_the_database_lets_anybody_in(signing_in: SigningIn, database: Database) -> None:
    """Passwords, cookies and invitations are there as hashes only."""
    bob = await add(signing_in, "bob@example.com")
    made = await sign_in(signing_in, "bob@example.com")
    token = await signing_in.invitations.invite(bob.operator_id, origin=COMMAND_LINE)
    async with database.system() as transaction:
        rows = [
            str(dict(row))
            for table in ("operators", "operator_sessions", "events")
            for row in await transaction.connection.fetch(f"SELECT * FROM {table}")
        ]
    text = "\n".join(rows)
    assert "argon2id" in text
    for secret in (PASSWORD, made.cookie.reveal(), made.mark.reveal(), token.reveal()):
        assert secret not in text
        assert secret.encode().hex() not in text
