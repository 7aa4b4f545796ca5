"""Every form of every page carries a token, and does nothing without it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Any

import pytest

from authpipe.domain.access import OperatorRole
from authpipe.domain.secret import Secret
from authpipe.server.asgi import build_application
from support.hosted import Hosted
from support.operators import COMMAND_LINE, PASSWORD, add, sign_in
from support.person import Form, Page, Person

FORM = re.compile(r"<form\b.*?</form>", re.DOTALL)
TEMPLATES = [
    each for each in files("authpipe.pages").joinpath("templates").iterdir() if each.name.endswith(".html")
]


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda each: each.name)
def test_every_form_of_a_template_posts_with_a_token(template: Any) -> None:
    """Right after its opening tag, so that nobody forgets it; no form asks by GET."""
    for form in FORM.findall(template.read_text(encoding="utf-8")):
        opening, _, rest = form.partition(">\n")
        assert 'method="post"' in opening, form
        assert rest.startswith('<input type="hidden" name="csrf_token" value="{{ csrf_token }}">'), form


def test_there_are_forms_to_look_at() -> None:
    """Else the rule above would prove nothing."""
    assert sum(len(FORM.findall(each.read_text(encoding="utf-8"))) for each in TEMPLATES) > 15


@asynccontextmanager
async def _visits(hosted: Hosted) -> AsyncIterator[list[tuple[Person, Page]]]:
    """A page of every kind that has a form, each in a browser that may send it."""
    signing_in = hosted.rooms.signing_in
    await add(signing_in)
    bob = await add(signing_in, "bob@example.com", role=OperatorRole.VIEWER)
    off = await add(signing_in, "off@example.com", role=OperatorRole.VIEWER)
    locked = await add(signing_in, "locked@example.com", role=OperatorRole.VIEWER)
    await signing_in.operators.disable(off.operator_id, origin=COMMAND_LINE)
    await sign_in(signing_in)
    await sign_in(signing_in, "bob@example.com")
    for number in range(5):
        with pytest.raises(Exception, match="Email and password"):
            await sign_in(signing_in, "locked@example.com", "wrong", address=f"192.0.2.{number}")
    token = await signing_in.invitations.invite(bob.operator_id, origin=COMMAND_LINE)
    async with hosted.person() as stranger, hosted.person() as owner, hosted.person() as guest:
        visits = [(stranger, await stranger.open(hosted.url + "/sign-in"))]
        for provider in ("discord", "clicksend"):
            _, link = await hosted.mint(provider)
            visits.append((stranger, await stranger.open(link)))
        visits.append((guest, await guest.open(f"{hosted.url}/invitation/{token.reveal()}")))
        page = await owner.submit(
            await owner.open(hosted.url + "/sign-in"), email="ada@example.com", password=PASSWORD
        )
        visits.append((owner, page))
        addresses = [f"{hosted.url}/operators/{each.operator_id}" for each in (bob, off, locked)]
        for address in (hosted.url + "/operators", *addresses):
            visits.append((owner, await owner.open(address)))
        yield visits


def _kind(form: Form) -> str:
    return re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "{id}", form.action)


async def _state(hosted: Hosted) -> str:
    """What a form could have changed."""
    async with hosted.rooms.database.system() as transaction:
        operators = await transaction.connection.fetch("SELECT * FROM operators ORDER BY 1")
        sessions = await transaction.connection.fetch("SELECT session_id FROM operator_sessions ORDER BY 1")
        connects = await transaction.connection.fetch(
            "SELECT session_id, status FROM connect_sessions ORDER BY 1"
        )
    return "\n".join(str(row) for row in (*operators, *sessions, *connects))


async def test_no_form_does_anything_without_its_own_token(hosted: Hosted) -> None:
    """None, an empty one, another browser's, and the right one sent from another site: 403 and a page."""
    routes = {route.path: route.endpoint for route in _post_routes(hosted)}
    async with _visits(hosted) as visits:
        tokens = {form.fields.get("csrf_token", "") for _, page in visits for form in page.forms}
        before, seen = await _state(hosted), set()
        for person, page in visits:
            assert page.status == 200
            assert page.forms, page.url
            for form in page.forms:
                assert form.method == "POST"
                mine = form.fields["csrf_token"]
                assert len(mine) == 43
                seen.add(_kind(form))
                foreign = next(each for each in tokens if each != mine)
                rest = {name: value for name, value in form.fields.items() if name != "csrf_token"}
                address = hosted.url + form.action
                for fields, origin in (
                    (rest, hosted.url),
                    (rest | {"csrf_token": ""}, hosted.url),
                    (rest | {"csrf_token": foreign}, hosted.url),
                    (rest | {"csrf_token": mine}, "https://evil.example.com"),
                    (rest | {"csrf_token": mine}, hosted.url.replace("127.0.0.1", "localhost")),
                ):
                    answer = await person.open(address, form=fields, origin=origin)
                    assert answer.status == 403, (address, fields)
                    assert "form did not come from its own page" in answer.text
        assert await _state(hosted) == before
    expected = {_as_kind(path) for path in routes} - {"/sign-in/oidc"}
    assert seen == expected


def _post_routes(hosted: Hosted) -> list[Any]:
    """Every page that takes a form."""
    application: Any = build_application(hosted.rooms)
    while not hasattr(application, "router"):
        application = application._app
    return [
        route
        for route in application.router.routes
        if str(getattr(route, "name", "")).startswith("pages:") and "POST" in route.endpoint._handlers
    ]


def _as_kind(path: str) -> str:
    return re.sub(r"\{[a-z_]+\}", "{id}", path)


@pytest.mark.parametrize("site", ["cross-site", "same-site", "none"])
async def test_the_browsers_own_word_decides(hosted: Hosted, site: str) -> None:
    """``Sec-Fetch-Site`` of anything but the same origin refuses a form with the right token."""
    import aiohttp

    made_for = Secret("f" * 43)
    from authpipe.pages.browser_request import csrf_token

    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        headers = {"Cookie": f"__Host-authpipe_form={made_for.reveal()}", "Sec-Fetch-Site": site}
        fields = {"csrf_token": csrf_token(made_for.reveal()), "email": "x@example.com", "password": "x"}
        async with session.post(hosted.url + "/sign-in", headers=headers, data=fields) as answer:
            assert answer.status == 403
        headers["Sec-Fetch-Site"] = "same-origin"
        async with session.post(hosted.url + "/sign-in", headers=headers, data=fields) as answer:
            assert answer.status == 401
