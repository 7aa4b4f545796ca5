"""The account and the operators, as owners, developers and viewers see and change them."""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING

import pytest

from authpipe.domain.access import OperatorRole
from support.hosted import Hosted
from support.operators import ANOTHER, PASSWORD, add, sign_in, workspace_events
from support.person import Page, Person

if TYPE_CHECKING:
    from integration.pages.conftest import Client

_OWNER_ACTIONS = ("update", "invite", "disable", "enable", "unlock", "sign-out")


async def _in(hosted: Hosted, person: Person, email: str = "ada@example.com") -> Page:
    return await person.submit(await person.open(hosted.url + "/sign-in"), email=email, password=PASSWORD)


def _form(page: Page, action: str) -> int:
    """Which of the page's forms leads there."""
    return next(index for index, form in enumerate(page.forms) if form.action.endswith(action))


async def test_the_account_shows_who_and_where(hosted: Hosted) -> None:
    """With what the browser called itself, and every session but this one can be ended."""
    ada = await add(hosted.rooms.signing_in, name="Ada <b>Lovelace</b>")
    for _ in range(3):
        await sign_in(hosted.rooms.signing_in)
    async with hosted.person() as person:
        page = await _in(hosted, person)
        assert "Ada &lt;b&gt;Lovelace&lt;/b&gt;" in page.text
        assert page.text.count("Firefox on Linux") == 3 + 3  # the text and the label of the button
        assert page.text.count("This browser") == 1
        page = await person.submit(page, form=_form(page, "/end"))
        assert page.url == hosted.url + "/account?done=session"
        assert len(await hosted.rooms.signing_in.sessions.list(ada.operator_id)) == 3
        page = await person.submit(page, form=_form(page, "/end-others"))
        assert "Every other session has ended." in page.text
        assert len(await hosted.rooms.signing_in.sessions.list(ada.operator_id)) == 1
        assert "End all others" not in page.text


async def test_nobody_ends_the_session_of_another(hosted: Hosted) -> None:
    """Not by its id either."""
    await add(hosted.rooms.signing_in)
    eve = await add(hosted.rooms.signing_in, "eve@example.com", role=OperatorRole.VIEWER)
    hers = await sign_in(hosted.rooms.signing_in, "eve@example.com")
    async with hosted.person() as person:
        page = await _in(hosted, person)
        token = page.forms[0].fields["csrf_token"]
        for session_id in (hers.signed_in.session.session_id, uuid.uuid4(), "x"):
            address = f"{hosted.url}/account/sessions/{session_id}/end"
            assert (await person.open(address, form={"csrf_token": token})).status == 200
    assert len(await hosted.rooms.signing_in.sessions.list(eve.operator_id)) == 1


async def test_the_password_is_changed_with_the_current_one(hosted: Hosted) -> None:
    """Every mistake is told at its field, and nothing entered is shown again."""
    await add(hosted.rooms.signing_in)
    async with hosted.person() as person:
        page = await _in(hosted, person)
        for current, chosen, again, text in (
            ("wrong wrong wrong", ANOTHER, ANOTHER, "current password is not right"),
            (PASSWORD, ANOTHER, PASSWORD, "not the same"),
            (PASSWORD, "short", "short", "at least 12 characters"),
        ):
            page = await person.submit(
                page, form=_form(page, "/password"), current=current, password=chosen, again=again
            )
            assert page.status == 422
            assert text in page.text
            assert ANOTHER not in page.text
        page = await person.submit(
            page, form=_form(page, "/password"), current=PASSWORD, password=ANOTHER, again=ANOTHER
        )
        assert page.url == hosted.url + "/account?done=password"
    assert await sign_in(hosted.rooms.signing_in, password=ANOTHER)


async def test_an_owner_adds_somebody_who_comes_in_by_the_link(hosted: Hosted) -> None:
    """The link is shown once; what is wrong is told in the form, with what was entered."""
    await add(hosted.rooms.signing_in)
    async with hosted.person() as owner, hosted.person() as bob:
        await _in(hosted, owner)
        page = await owner.open(hosted.url + "/operators")
        form = _form(page, "/operators")
        for email, status, text in (
            ("no-email", 422, "must be an address"),
            ("ada@example.com", 409, "There is an operator ada@example.com already."),
        ):
            page = await owner.submit(page, form=form, email=email, name="Bob", role="viewer")
            assert page.status == status
            assert text in page.text
            assert f'value="{email}"' in page.text
        assert (await owner.submit(page, form=form, email="b@example.com", role="king")).status == 422
        page = await owner.submit(page, form=form, email="bob@example.com", name="Bob", role="viewer")
        found = re.search(r'<code class="link">([^<]+)</code>', page.text)
        assert found is not None
        page = await bob.submit(await bob.open(found[1]), password=PASSWORD, again=PASSWORD)
        assert page.url == hosted.url + "/account"
        listed = (await owner.open(hosted.url + "/operators")).text
        assert found[1] not in listed
        assert "Bob" in listed
    event = (await workspace_events(hosted.rooms.database, "operator.added"))[-1]
    assert event.origin.actor_kind.value == "operator"
    assert (event.origin.source_address, event.data["role"]) == ("127.0.0.1", "viewer")


async def test_an_owner_changes_locks_and_disables(hosted: Hosted) -> None:
    """And each takes effect at the operator's next request."""
    signing_in = hosted.rooms.signing_in
    await add(signing_in)
    bob = await add(signing_in, "bob@example.com", role=OperatorRole.VIEWER)
    address = f"{hosted.url}/operators/{bob.operator_id}"
    async with hosted.person() as owner, hosted.person() as person:
        await _in(hosted, owner)
        page = await _in(hosted, person, "bob@example.com")
        assert "Viewer" in page.text
        page = await owner.open(address)
        page = await owner.submit(page, form=_form(page, "/update"), role="developer", name="Bob")
        assert page.url == address + "?done=saved"
        assert "Developer" in (await person.open(hosted.url + "/account")).text
        page = await owner.submit(page, form=_form(page, f"{bob.operator_id}/sign-out"))
        assert (await person.open(hosted.url + "/account")).url == hosted.url + "/sign-in?next=account"
        await _in(hosted, person, "bob@example.com")
        page = await owner.open(address)
        page = await owner.submit(page, form=_form(page, "/disable"))
        assert "Disabled since" in page.text
        page = await _in(hosted, person, "bob@example.com")
        assert page.status == 401
        page = await owner.open(address)
        page = await owner.submit(page, form=_form(page, "/enable"))
        assert page.url == address + "?done=enabled"
        assert (await _in(hosted, person, "bob@example.com")).url == hosted.url + "/account"


async def test_the_last_owner_is_told_so(hosted: Hosted) -> None:
    """409, on their own page, and they are still an owner."""
    ada = await add(hosted.rooms.signing_in)
    address = f"{hosted.url}/operators/{ada.operator_id}"
    async with hosted.person() as owner:
        await _in(hosted, owner)
        page = await owner.open(address)
        for action, fields in (("/disable", {}), ("/update", {"role": "viewer"})):
            page = await owner.submit(page, form=_form(page, action), **fields)
            assert page.status == 409
            assert "last owner" in page.text
    assert (await hosted.rooms.signing_in.operators.get(ada.operator_id)).role is OperatorRole.OWNER


@pytest.mark.parametrize("role", [OperatorRole.DEVELOPER, OperatorRole.VIEWER])
async def test_others_see_the_list_and_change_nothing(hosted: Hosted, role: OperatorRole) -> None:
    """Neither by a form, of which there is none, nor by its address."""
    signing_in = hosted.rooms.signing_in
    ada = await add(signing_in)
    await add(signing_in, "eve@example.com", role=role)
    async with hosted.person() as person:
        await _in(hosted, person, "eve@example.com")
        page = await person.open(hosted.url + "/operators")
        assert "ada@example.com" in page.text
        assert [form.action for form in page.forms] == ["/sign-out"]
        token = {"csrf_token": page.forms[0].fields["csrf_token"]}
        one = f"{hosted.url}/operators/{ada.operator_id}"
        assert (await person.open(one)).status == 403
        for address in (hosted.url + "/operators", *(f"{one}/{action}" for action in _OWNER_ACTIONS)):
            answer = await person.open(
                address, form=token | {"email": "x@example.com", "role": "owner", "name": "x"}
            )
            assert answer.status == 403, address
            assert "Your role does not include this" in answer.text
    now = await signing_in.operators.list()
    assert [(each.email, each.role, each.disabled_at) for each in now] == [
        ("ada@example.com", OperatorRole.OWNER, None),
        ("eve@example.com", role, None),
    ]


async def test_an_operator_nobody_knows_is_no_page(hosted: Hosted) -> None:
    """By whatever id and method."""
    await add(hosted.rooms.signing_in)
    async with hosted.person() as owner:
        page = await _in(hosted, owner)
        token = {"csrf_token": page.forms[0].fields["csrf_token"]}
        for unknown in (uuid.uuid4(), "x", "%00"):
            assert (await owner.open(f"{hosted.url}/operators/{unknown}")).status == 404
            for action in _OWNER_ACTIONS:
                address = f"{hosted.url}/operators/{unknown}/{action}"
                assert (await owner.open(address, form=token)).status == 404


async def test_pages_of_nobody_lead_to_the_sign_in(hosted: Hosted, client: Client) -> None:
    """Whichever it is."""
    ada = await add(hosted.rooms.signing_in)
    for path in ("/account", "/operators", f"/operators/{ada.operator_id}"):
        answer = await client("GET", path)
        assert answer.status == 303
        assert answer.headers["Location"].startswith("/sign-in?next=")
