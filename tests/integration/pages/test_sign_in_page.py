"""Signing in, out and by invitation, as a person with a browser and no script."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from authpipe.access.sign_in_limits import TRIES
from authpipe.domain.access import OperatorRole
from authpipe.domain.secret import Secret
from support.hosted import Hosted
from support.operators import ANOTHER, COMMAND_LINE, PASSWORD, add, workspace_events
from support.person import Page, Person

if TYPE_CHECKING:
    from integration.pages.conftest import Client


@pytest.fixture
async def person(hosted: Hosted) -> AsyncIterator[Person]:
    async with hosted.person() as person:
        yield person


async def _sign_in(hosted: Hosted, person: Person, password: str = PASSWORD, *, at: str = "/sign-in") -> Page:
    return await person.submit(await person.open(hosted.url + at), email="ada@example.com", password=password)


async def test_one_is_led_where_one_wanted_to_go(hosted: Hosted, person: Person) -> None:
    """By way of the sign-in, and to one of our own places only."""
    await add(hosted.rooms.signing_in)
    page = await person.open(hosted.url + "/operators")
    assert page.url == hosted.url + "/sign-in?next=operators"
    page = await person.submit(page, email="ada@example.com", password=PASSWORD)
    assert (page.url, page.status) == (hosted.url + "/operators", 200)
    assert (await person.open(hosted.url + "/sign-in")).url == hosted.url + "/account"
    assert (await person.open(hosted.url + "/")).url == hosted.url + "/account"


@pytest.mark.parametrize("place", ["https://evil.example.com", "//evil.example.com", "/operators", "x", ""])
async def test_a_link_cannot_lead_elsewhere(hosted: Hosted, person: Person, place: str) -> None:
    """What is not one of our words is the account, in the link and in the form."""
    await add(hosted.rooms.signing_in)
    page = await person.open(f"{hosted.url}/sign-in?next={place}")
    assert "evil" not in page.text
    page = await person.submit(page, email="ada@example.com", password=PASSWORD, next=place)
    assert page.url == hosted.url + "/account"


async def test_a_wrong_password_shows_the_form_again(hosted: Hosted, person: Person) -> None:
    """Without what was entered; and the right one works then."""
    await add(hosted.rooms.signing_in)
    page = await _sign_in(hosted, person, "wrong wrong wrong")
    assert page.status == 401
    assert 'role="alert"' in page.text
    assert "wrong wrong wrong" not in page.text
    assert "ada@example.com" not in page.text
    page = await person.submit(page, email="ada@example.com", password=PASSWORD)
    assert page.url == hosted.url + "/account"


async def test_too_many_tries_are_told_as_such(hosted: Hosted, person: Person) -> None:
    """429, whatever the email and password."""
    await add(hosted.rooms.signing_in)
    page = await person.open(hosted.url + "/sign-in")
    for number in range(TRIES):
        page = await person.submit(page, email=f"u{number}@example.com", password="wrong wrong wrong")
        assert page.status == 401
    page = await person.submit(page, email="ada@example.com", password=PASSWORD)
    assert page.status == 429
    assert "Wait 15 minutes" in page.text


async def test_the_cookies_are_what_they_should_be(hosted: Hosted, client: Client) -> None:
    """Of this host alone, over TLS, out of a script's reach, new each time; those of the way there go."""
    await add(hosted.rooms.signing_in)
    seen = set()
    for _ in range(2):
        shown = await client("GET", "/sign-in")
        (form_cookie,) = shown.headers.getall("Set-Cookie")
        token = shown.text.partition('name="csrf_token" value="')[2].partition('"')[0]
        answer = await client(
            "POST",
            "/sign-in",
            headers={"Cookie": form_cookie.partition(";")[0]},
            data={"csrf_token": token, "email": "ada@example.com", "password": PASSWORD},
        )
        assert answer.status == 303
        set_ = answer.headers.getall("Set-Cookie")
        for cookie in [form_cookie, *set_]:
            assert cookie.startswith("__Host-authpipe_")
            attributes = {each.strip().lower() for each in cookie.split(";")[1:]}
            assert {"secure", "httponly", "path=/", "samesite=lax"} <= attributes
            assert not any(each.startswith("domain") for each in attributes)
        session = next(each for each in set_ if each.startswith("__Host-authpipe_operator="))
        assert "Max-Age=604800" in session
        seen.add(session.partition(";")[0])
        gone = {each.partition("=")[0] for each in set_ if "Max-Age=0" in each}
        assert gone == {
            "__Host-authpipe_form",
            "__Host-authpipe_sign_in",
            "__Host-authpipe_invitation",
        }
    assert len(seen) == 2


async def test_signing_out_ends_the_session(hosted: Hosted, person: Person) -> None:
    """Also for somebody who kept the cookie."""
    ada = await add(hosted.rooms.signing_in)
    page = await _sign_in(hosted, person)
    assert page.forms[0].action == "/sign-out"
    page = await person.submit(page)
    assert page.url == hosted.url + "/sign-in"
    assert await hosted.rooms.signing_in.sessions.list(ada.operator_id) == []
    assert (await person.open(hosted.url + "/account")).url == hosted.url + "/sign-in?next=account"


async def test_a_session_that_ended_does_nothing_more(hosted: Hosted, person: Person) -> None:
    """A form that was open says so, and nothing of it is done."""
    ada = await add(hosted.rooms.signing_in)
    await _sign_in(hosted, person)
    page = await person.open(hosted.url + "/operators")
    await hosted.rooms.signing_in.sessions.end_all(ada.operator_id, origin=COMMAND_LINE)
    page = await person.submit(page, form=1, email="eve@example.com", role="owner")
    assert page.status == 401
    assert 'href="/sign-in"' in page.text
    assert len(await hosted.rooms.signing_in.operators.list()) == 1


async def test_an_invitation_becomes_a_password_and_a_session(hosted: Hosted, person: Person) -> None:
    """Once; its token is in no address bar, and a look at the link uses nothing up."""
    signing_in = hosted.rooms.signing_in
    bob = await add(signing_in, "bob@example.com", role=OperatorRole.VIEWER, password=None)
    token = await signing_in.invitations.invite(bob.operator_id, origin=COMMAND_LINE)
    link = f"{hosted.url}/invitation/{token.reveal()}"
    await person.open(link)
    page = await person.open(link)
    assert (page.url, page.status) == (hosted.url + "/invitation", 200)
    assert token.reveal() not in page.text
    assert "bob@example.com" in page.text
    page = await person.submit(page, password=PASSWORD, again=ANOTHER)
    assert page.status == 422
    assert "not the same" in page.text
    page = await person.submit(page, password="password1234", again="password1234")
    assert page.status == 422
    assert "password1234" not in page.text
    page = await person.submit(page, password=PASSWORD, again=PASSWORD)
    assert (page.url, page.status) == (hosted.url + "/account", 200)
    page = await person.open(link)
    assert page.status == 404
    assert "not good any more" in page.text


async def test_another_browser_has_no_invitation(hosted: Hosted, client: Client) -> None:
    """Nor has one that shows something else; and it is a page."""
    for headers in ({}, {"Cookie": "__Host-authpipe_invitation=" + "x" * 43}):
        answer = await client("GET", "/invitation", headers=headers)
        assert answer.status == 404
    for path in ("/invitation/unknown", "/invitation/%FF", "/invitation/" + "x" * 43):
        answer = await client("GET", path)
        assert answer.status == 404
        assert "Set-Cookie" not in answer.headers


async def test_without_an_openid_provider_there_is_no_such_way(hosted: Hosted, client: Client) -> None:
    """No button, and no address that works."""
    shown = await client("GET", "/sign-in")
    assert "Continue with" not in shown.text
    assert (await client("GET", "/sign-in/callback?code=x&state=y")).status == 404
    assert (await client("GET", "/sign-in/oidc")).status == 405


async def test_what_a_person_entered_is_in_no_event(hosted: Hosted, person: Person) -> None:
    """Whatever field it was entered in."""
    await add(hosted.rooms.signing_in)
    page = await person.open(hosted.url + "/sign-in")
    await person.submit(page, email=PASSWORD, password=PASSWORD)
    assert PASSWORD not in str(await workspace_events(hosted.rooms.database))


async def test_an_idle_session_ends_on_the_page(hosted: Hosted, person: Person) -> None:
    """The next visit leads to the sign-in."""
    await add(hosted.rooms.signing_in)
    await _sign_in(hosted, person)
    hosted.clock.advance(timedelta(hours=12))
    assert (await person.open(hosted.url + "/account")).url == hosted.url + "/sign-in?next=account"


async def test_a_secret_shaped_cookie_of_another_form_is_nobody(hosted: Hosted, client: Client) -> None:
    """Whatever a browser sends in the place of the cookie."""
    for value in ("", "x", "x" * 43, "x" * 4000, '"', Secret("a" * 43).reveal() + "%00"):
        answer = await client("GET", "/account", headers={"Cookie": f"__Host-authpipe_operator={value}"})
        assert answer.status == 303
