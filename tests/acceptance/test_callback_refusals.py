"""Everything that can be wrong with a callback: each has a clear page, its own status, and an event."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest

from authpipe.connect.browser import cookie_name
from authpipe.domain.clock import ManualClock
from authpipe.domain.connect_session import ConnectSession, SessionStatus
from authpipe.domain.event import Outcome
from authpipe.domain.provider_config import ProviderConfig
from authpipe.sandbox import seeds
from authpipe.sandbox.server import SandboxServer
from support.hosted import Hosted, host
from support.person import Page, Person

if TYPE_CHECKING:
    from conftest import Dsns

START_AGAIN = "Go back to the application and start again."


@pytest.fixture
async def hosted(
    dsns: Dsns, tmp_path: Path, clock: ManualClock, sandbox: SandboxServer
) -> AsyncIterator[Hosted]:
    async with host(dsns.owner, tmp_path, clock, sandbox) as hosted:
        yield hosted


@pytest.fixture
async def discord(hosted: Hosted) -> ProviderConfig:
    return await hosted.configure()


@pytest.fixture
async def person(hosted: Hosted) -> AsyncIterator[Person]:
    async with hosted.person() as person:
        yield person


async def _at_provider(hosted: Hosted, person: Person, **wish: object) -> tuple[ConnectSession, Page]:
    """A session whose browser stands on the provider's consent page."""
    session, link = await hosted.mint(**wish)  # type: ignore[arg-type]
    page = await person.submit(await person.open(link))
    assert "/oauth2/authorize" in page.url, page.text
    return session, page


async def _callback(hosted: Hosted, person: Person, consent: Page, **fields: str) -> str:
    """The address the provider sends the browser to, not yet visited."""
    person._stop_at = f"{hosted.url}/oauth/callback/"
    try:
        return (await person.submit(consent, **({"decision": "authorize"} | fields))).url
    finally:
        person._stop_at = hosted.return_url


def _changed(url: str, **parameters: str | None) -> str:
    """The address with other parameters; None removes one."""
    parts = urlsplit(url)
    query = {name: value for name, value in (dict(parse_qsl(parts.query)) | parameters).items() if value}
    return parts._replace(query=urlencode(query)).geturl()


def _says(page: Page, status: int, title: str, *texts: str) -> None:
    """The page has this status and heading, and holds these texts; nothing secret is on it."""
    assert page.status == status, page.text
    assert f"<h1>{title}</h1>" in page.text
    for text in texts:
        assert text in page.text.replace("&#39;", "'"), page.text


async def _is_recorded(hosted: Hosted, type_: str, error: str, object_id: object) -> None:
    """Exactly one event tells of it, with where it came from."""
    (event,) = [event for event in await hosted.events(type_) if event.data.get("error") == error]
    assert event.object_id == str(object_id)
    assert event.outcome is Outcome.FAILURE
    assert event.origin.actor_kind.value == "browser"
    assert event.origin.source_address == "127.0.0.1"
    assert event.origin.request_id


async def _nothing_came_of(hosted: Hosted, session: ConnectSession) -> None:
    """No candidate, no token that lives on, and a session that is over."""
    assert (await hosted.session(session.session_id)).status in (SessionStatus.FAILED, SessionStatus.EXPIRED)
    async with hosted.rooms.database.tenant(session.environment_id, session.tenant_id) as transaction:
        assert (
            await transaction.candidates.of_session(
                session.environment_id, session.tenant_id, session.session_id
            )
            is None
        )
    assert [token for token in hosted.tokens() if not token.authorization.revoked] == []


@pytest.mark.parametrize("with_cookie", [False, True], ids=["cookie gone", "cookie kept"])
async def test_a_state_is_good_once(
    hosted: Hosted, discord: ProviderConfig, person: Person, with_cookie: bool
) -> None:
    """The same callback again, by the same browser, trades nothing in and changes nothing."""
    session, consent = await _at_provider(hosted, person)
    callback = await _callback(hosted, person, consent)
    kept = {cookie.key: cookie.value for cookie in person._session.cookie_jar}
    back = await person.open(callback)
    assert back.query["connect_session_id"] == str(session.session_id)
    if with_cookie:
        person._session.cookie_jar.update_cookies(kept)
    exchanges = len(hosted.tokens())
    _says(await person.open(callback), 400, "This answer is not good any more", START_AGAIN)
    await _is_recorded(hosted, "connect_session.refused", "state_unknown", discord.provider_config_id)
    assert len(hosted.tokens()) == exchanges
    completed = await hosted.complete(session.session_id, back.query["completion_code"])
    assert completed.connection is not None


async def test_a_callback_that_comes_twice_at_once_is_taken_once(
    hosted: Hosted, discord: ProviderConfig, person: Person
) -> None:
    """A double click or a retrying proxy: one answer leads on, and the code is traded in once."""
    _, consent = await _at_provider(hosted, person)
    callback = await _callback(hosted, person, consent)
    pages = await asyncio.gather(*(person.open(callback) for _ in range(6)))
    assert sorted(page.status for page in pages) == [302, *[400] * 5]
    exchanges = [entry for entry in hosted.sandbox.state.journal._entries if entry.grant_type]
    assert [entry.status for entry in exchanges] == [200]


async def test_a_state_belongs_to_one_provider_config(
    hosted: Hosted, discord: ProviderConfig, person: Person
) -> None:
    """Mix-up: the code never reaches the other provider's token endpoint, and the session is over."""
    dialpad = await hosted.configure("dialpad")
    session, consent = await _at_provider(hosted, person)
    callback = await _callback(hosted, person, consent)
    moved = callback.replace(str(discord.provider_config_id), str(dialpad.provider_config_id))
    _says(await person.open(moved), 400, "The answer came to the wrong address", START_AGAIN)
    await _is_recorded(hosted, "connect_session.failed", "provider_mismatch", session.session_id)
    await _nothing_came_of(hosted, session)
    assert not [entry for entry in hosted.sandbox.state.journal._entries if "token" in entry.path]
    _says(await person.open(callback), 400, "This answer is not good any more")


async def test_an_answer_may_come_too_late(hosted: Hosted, discord: ProviderConfig, person: Person) -> None:
    """Ten minutes and no more, with a way back that tells the application."""
    session, consent = await _at_provider(hosted, person)
    callback = await _callback(hosted, person, consent)
    hosted.clock.advance(timedelta(minutes=10))
    page = await person.open(callback)
    _says(page, 410, "This took too long", START_AGAIN)
    assert (
        f"{hosted.return_url}?connect_session_id={session.session_id}&amp;error=session_expired" in page.text
    )
    await _is_recorded(hosted, "connect_session.expired", "session_expired", session.session_id)
    await _nothing_came_of(hosted, session)


async def test_an_answer_may_come_after_the_session_was_cleared_away(
    hosted: Hosted, discord: ProviderConfig, person: Person
) -> None:
    """The reaper was there first."""
    session, consent = await _at_provider(hosted, person)
    callback = await _callback(hosted, person, consent)
    hosted.clock.advance(timedelta(minutes=10))
    await hosted.rooms.connecting.reaper.round()
    _says(await person.open(callback), 400, "This answer is not good any more")
    await _is_recorded(hosted, "connect_session.refused", "state_unknown", discord.provider_config_id)
    await _nothing_came_of(hosted, session)


@pytest.mark.parametrize("reaped", [False, True])
async def test_a_link_and_its_page_expire(
    hosted: Hosted, discord: ProviderConfig, person: Person, reaped: bool
) -> None:
    """An unopened link says so and is recorded; an open page says so, too."""
    session, link = await hosted.mint()
    opened, other = await hosted.mint()
    there = await person.open(other)
    hosted.clock.advance(timedelta(minutes=10))
    if reaped:
        await hosted.rooms.connecting.reaper.round()
    _says(await person.open(link), 410, "This took too long", "This link has expired")
    await _is_recorded(hosted, "connect_session.refused", "session_expired", session.session_id)
    _says(await person.open(there.url), 410, "This took too long")
    _says(await person.submit(there), 410, "This took too long")
    assert (await hosted.session(opened.session_id)).status is not SessionStatus.AUTHORIZING


async def test_the_provider_refuses_another_redirect_uri(
    hosted: Hosted, discord: ProviderConfig, person: Person
) -> None:
    """One that is not registered ends on the provider's own page."""
    _, consent = await _at_provider(hosted, person)
    page = await person.open(_changed(consent.url, redirect_uri="http://127.0.0.1:9/stolen"))
    assert page.status == 400
    assert "redirect" in page.text.lower()


async def test_a_code_for_another_redirect_uri_is_refused(
    hosted: Hosted, discord: ProviderConfig, person: Person
) -> None:
    """A registered one this time: the exchange names the session's own, so the code does not match it."""
    application = hosted.sandbox.state.applications["discord"][seeds.client_id("discord")]
    application.redirect_uris.append("http://127.0.0.1:9/another")
    session, consent = await _at_provider(hosted, person)
    consent = await person.open(_changed(consent.url, redirect_uri="http://127.0.0.1:9/another"))
    person._stop_at = "http://127.0.0.1:9/another"
    stolen = await person.submit(consent, decision="authorize")
    person._stop_at = hosted.return_url
    callback = f"{hosted.url}/oauth/callback/{discord.provider_config_id}?{urlsplit(stolen.url).query}"
    page = await person.open(callback)
    _says(page, 502, "The provider refused the connection", "invalid_grant", START_AGAIN)
    assert "error=code_refused" in page.text
    await _is_recorded(hosted, "connect_session.failed", "code_refused", session.session_id)
    await _nothing_came_of(hosted, session)


async def test_a_browser_without_the_cookie_is_refused(
    hosted: Hosted, discord: ProviderConfig, person: Person
) -> None:
    """It gets no way back, the code is not traded in, and the session is over for the one who began."""
    session, consent = await _at_provider(hosted, person)
    callback = await _callback(hosted, person, consent)
    async with hosted.person() as stranger:
        page = await stranger.open(callback)
    _says(page, 403, "This belongs to another browser", START_AGAIN)
    assert hosted.return_url not in page.text
    await _is_recorded(hosted, "connect_session.failed", "browser_mismatch", session.session_id)
    await _nothing_came_of(hosted, session)
    assert [token.used for token in hosted.tokens(kind="code")] == [False]
    _says(await person.open(callback), 400, "This answer is not good any more")


async def test_another_session_s_cookie_is_not_enough(
    hosted: Hosted, discord: ProviderConfig, person: Person
) -> None:
    """A browser with a session of its own is still not the one that began this one."""
    session, consent = await _at_provider(hosted, person)
    callback = await _callback(hosted, person, consent)
    async with hosted.person() as stranger:
        await _at_provider(hosted, stranger)
        _says(await stranger.open(callback), 403, "This belongs to another browser")
    await _is_recorded(hosted, "connect_session.failed", "browser_mismatch", session.session_id)


@pytest.mark.parametrize(
    ("error", "status", "title", "code"),
    [
        ("access_denied", 403, "You did not allow access", "access_denied"),
        ("invalid_scope", 403, "The provider did not allow it", "authorization_refused"),
        ("<script>alert(1)</script>", 403, "The provider did not allow it", "authorization_refused"),
    ],
)
async def test_the_provider_says_no(
    hosted: Hosted,
    discord: ProviderConfig,
    person: Person,
    error: str,
    status: int,
    title: str,
    code: str,
) -> None:
    """The page says that nothing was connected and leads back with the reason."""
    session, consent = await _at_provider(hosted, person)
    callback = await _callback(hosted, person, consent, decision="cancel")
    page = await person.open(_changed(callback, error=error, error_description="no"))
    _says(page, status, title, "Nothing was connected")
    assert "<script" not in page.text
    assert f"connect_session_id={session.session_id}&amp;error={code}" in page.text
    await _is_recorded(hosted, "connect_session.failed", code, session.session_id)
    await _nothing_came_of(hosted, session)
    assert cookie_name(session.session_id) not in {c.key for c in person._session.cookie_jar}


async def test_a_second_click_on_the_link(hosted: Hosted, discord: ProviderConfig, person: Person) -> None:
    """The same browser may go on; another may not; a link nobody made is none."""
    session, link = await hosted.mint()
    there = (await person.open(link)).url
    again = await person.open(link)
    _says(again, 200, "You have already opened this link")
    assert urlsplit(there).path in again.text
    async with hosted.person() as stranger:
        _says(await stranger.open(link), 410, "This link was already used", "start again")
        _says(await stranger.open(f"{hosted.url}/connect/{'x' * 43}"), 404, "This link is not valid")
    refused = await hosted.events("connect_session.refused")
    assert [(event.object_id, event.data["error"]) for event in refused] == [
        (str(session.session_id), "link_used")
    ] * 2


async def test_a_guild_in_the_address_is_not_believed(
    hosted: Hosted, discord: ProviderConfig, person: Person
) -> None:
    """The server the bot is in is the one the provider's own answer names."""
    chosen, forged = seeds.DISCORD_GUILDS[0].id, seeds.DISCORD_GUILDS[2].id
    session, consent = await _at_provider(hosted, person, kind="installation")
    callback = await _callback(hosted, person, consent, guild_id=chosen)
    assert f"guild_id={chosen}" in callback
    back = await person.open(_changed(callback, guild_id=forged, permissions="8"))
    completed = await hosted.complete(session.session_id, back.query["completion_code"])
    assert completed.installation is not None
    assert completed.installation.external_id == chosen
    assert forged not in str(completed.installation.metadata)


@pytest.mark.parametrize("twice", ["code", "state", "error"])
async def test_a_parameter_may_stand_once(
    hosted: Hosted, discord: ProviderConfig, person: Person, twice: str
) -> None:
    """RFC 6749 section 3.1; the session is not touched, and its true callback still works."""
    _, consent = await _at_provider(hosted, person)
    callback = await _callback(hosted, person, consent)
    _says(
        await person.open(f"{callback}&{twice}=a&{twice}=b"),
        400,
        "The provider's answer is malformed".replace("'", "&#39;"),
        START_AGAIN,
    )
    await _is_recorded(hosted, "connect_session.refused", "callback_malformed", discord.provider_config_id)
    assert "completion_code" in (await person.open(callback)).query


@pytest.mark.parametrize(
    ("query", "title", "code"),
    [
        ("", "The provider&#39;s answer is incomplete", "state_missing"),
        ("?code=abc", "The provider&#39;s answer is incomplete", "state_missing"),
        ("?code=abc&state=", "The provider&#39;s answer is incomplete", "state_missing"),
        ("?code=abc&state=never-made", "This answer is not good any more", "state_unknown"),
        ("?code=abc&state=%FF%00", "The provider&#39;s answer is malformed", "callback_malformed"),
        (f"?code={'a' * 10_000}&state=x", "The provider&#39;s answer is malformed", "callback_malformed"),
    ],
)
async def test_an_answer_to_nothing(
    hosted: Hosted, discord: ProviderConfig, person: Person, query: str, title: str, code: str
) -> None:
    """Forged, cut or garbled: it is recorded at the provider config it came to."""
    page = await person.open(f"{hosted.url}/oauth/callback/{discord.provider_config_id}{query}")
    _says(page, 400, title, START_AGAIN)
    await _is_recorded(hosted, "connect_session.refused", code, discord.provider_config_id)


@pytest.mark.parametrize(
    "config_id", ["01a20e8a-4329-79e9-a290-eefac5fe0446", "discord", "%00", "1'%20OR%201"]
)
async def test_an_address_that_belongs_to_no_provider(hosted: Hosted, person: Person, config_id: str) -> None:
    """There is no environment whose event it could be."""
    page = await person.open(f"{hosted.url}/oauth/callback/{config_id}?code=a&state=b")
    _says(page, 404, "This address belongs to no provider", START_AGAIN)
    assert [event.type for event in await hosted.events("connect_session.refused")] == []


@pytest.mark.parametrize("token", [None, "", "A" * 43, "\N{SNOWMAN}"], ids=["none", "empty", "wrong", "odd"])
async def test_a_form_needs_its_token(
    hosted: Hosted, discord: ProviderConfig, person: Person, token: str | None
) -> None:
    """Without the session's own CSRF token a click does nothing, though the cookie is there."""
    session, link = await hosted.mint()
    page = await person.open(link)
    form = {} if token is None else {"csrf_token": token}
    for action in ("start", "key", "cancel"):
        answer = await person.open(f"{page.url}/{action}", form=form)
        _says(answer, 403, "This form did not come from its own page", "Nothing was done")
    refused = await hosted.events("connect_session.refused")
    assert [(event.object_id, event.data["error"]) for event in refused] == [
        (str(session.session_id), "form_refused")
    ] * 3
    assert (await hosted.session(session.session_id)).status is SessionStatus.OPENED
    assert "/oauth2/authorize" in (await person.submit(page)).url


async def test_a_second_start_ends_the_first_state(
    hosted: Hosted, discord: ProviderConfig, person: Person
) -> None:
    """One attempt at a time: the tab that began later is the one that counts."""
    _, link = await hosted.mint()
    page = await person.open(link)
    first = await _callback(hosted, person, await person.submit(page))
    second = await _callback(hosted, person, await person.submit(page))
    _says(await person.open(first), 400, "This answer is not good any more")
    assert "completion_code" in (await person.open(second)).query
