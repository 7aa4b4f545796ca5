"""Connect-session hijack, driven with two browsers: whoever began must be the one who finishes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import pytest
from playwright.async_api import BrowserContext, Page, expect

from authpipe.domain.clock import ManualClock
from authpipe.domain.connect_session import SessionStatus
from authpipe.domain.errors import ConnectError, NotConnected
from authpipe.sandbox import seeds
from authpipe.sandbox.ledger import digest
from authpipe.sandbox.server import SandboxServer
from support.application_site import ApplicationSite
from support.chromium import launched, profile
from support.hosted import Hosted, host

if TYPE_CHECKING:
    from conftest import Dsns

pytestmark = pytest.mark.browser

ATTACKER, VICTIM = "user_mallory", "user_victor"


@pytest.fixture
async def site() -> AsyncIterator[ApplicationSite]:
    async with ApplicationSite() as site:
        yield site


@pytest.fixture
async def hosted(
    dsns: Dsns, tmp_path: Path, clock: ManualClock, sandbox: SandboxServer, site: ApplicationSite
) -> AsyncIterator[Hosted]:
    async with host(dsns.owner, tmp_path, clock, sandbox) as hosted:
        hosted.return_url = site.return_url
        await hosted.configure()
        yield hosted


@pytest.fixture
async def browsers() -> AsyncIterator[tuple[BrowserContext, BrowserContext]]:
    """Two people's browsers; at the provider the first is signed in as ada, the second as grace."""
    async with launched() as chromium:
        yield await profile(chromium), await profile(chromium)


async def _nobody_can_read(hosted: Hosted) -> bool:
    """No credential call yields anything, whoever it is for."""
    for request in (
        {"tenant_id": "org_acme", "user_id": ATTACKER},
        {"tenant_id": "org_acme", "user_id": VICTIM},
        {"tenant_id": "org_acme"},
        {"tenant_id": "org_victim", "user_id": VICTIM},
        {"tenant_id": "org_victim"},
    ):
        with pytest.raises(NotConnected):
            await hosted.credential(**request)
    async with hosted.rooms.database.environment(hosted.scene.environment_id) as transaction:
        return not await transaction.connections.page(
            hosted.scene.environment_id, after=None, limit=10
        ) and not await transaction.installations.page(hosted.scene.environment_id, after=None, limit=10)


async def _candidate_exists(hosted: Hosted, session_id: UUID) -> bool:
    async with hosted.rooms.database.tenant(hosted.scene.environment_id, "org_acme") as transaction:
        found = await transaction.candidates.of_session(hosted.scene.environment_id, "org_acme", session_id)
    return found is not None


async def _heading(page: Page) -> str:
    return await page.get_by_role("heading", level=1).inner_text()


async def _authorize(page: Page, *, person: str) -> None:
    """Consent at the provider as this person, from the hosted page or the consent page."""
    if "/oauth2/authorize" not in page.url:
        await page.get_by_role("button", name="Continue to Discord").click()
        await page.wait_for_url("**/oauth2/authorize?*")
    if person != "ada":
        await page.goto(f"{page.url}&sandbox_user={person}")
    await page.get_by_role("button", name="Authorize").click()


async def test_a_link_that_was_opened_is_worth_nothing_to_another_browser(
    hosted: Hosted, browsers: tuple[BrowserContext, BrowserContext], site: ApplicationSite
) -> None:
    """B gets pages that say so and nothing else; every try is an event; A goes on undisturbed."""
    first, second = browsers
    session, link = await hosted.mint()
    a, b = await first.new_page(), await second.new_page()
    await a.goto(link)
    mine = a.url

    response = await b.goto(link)
    assert response is not None
    assert response.status == 410
    assert await _heading(b) == "This link was already used"
    response = await b.goto(mine)
    assert response is not None
    assert response.status == 403
    assert await _heading(b) == "This belongs to another browser"
    assert await second.cookies() == []
    for action in ("start", "key", "cancel"):
        answer = await b.request.post(f"{mine}/{action}", form={"csrf_token": "x"})
        assert answer.status == 403
    refused = await hosted.events("connect_session.refused")
    assert [event.data["error"] for event in refused] == ["link_used", *["browser_mismatch"] * 4]
    assert {event.object_id for event in refused} == {str(session.session_id)}
    assert {event.origin.source_address for event in refused} == {"127.0.0.1"}
    assert all(event.origin.request_id for event in refused)
    assert await _nobody_can_read(hosted)

    await _authorize(a, person="ada")
    await a.wait_for_url(f"{site.url}/connected?*")
    completed = await hosted.complete(session.session_id, site.visits[-1]["completion_code"])
    assert completed.connection is not None


async def test_a_provider_link_taken_from_another_browser_leads_nowhere(
    hosted: Hosted, browsers: tuple[BrowserContext, BrowserContext]
) -> None:
    """A sends B the provider's own address with A's state: B consents, and the code is not even traded in."""
    first, second = browsers
    session, link = await hosted.mint(user_id=ATTACKER)
    a, b = await first.new_page(), await second.new_page()
    await a.goto(link)
    await a.get_by_role("button", name="Continue to Discord").click()
    await a.wait_for_url("**/oauth2/authorize?*")

    await b.goto(a.url)
    await _authorize(b, person="grace")
    await expect(b.get_by_role("heading", level=1)).to_have_text("This belongs to another browser")
    assert await b.locator("a").count() == 0, "a stranger is offered A's way back"

    (failed,) = await hosted.events("connect_session.failed")
    assert (failed.object_id, failed.data["error"]) == (str(session.session_id), "browser_mismatch")
    assert (await hosted.session(session.session_id)).status is SessionStatus.FAILED
    assert not await _candidate_exists(hosted, session.session_id)
    assert [token.used for token in hosted.tokens(kind="code")] == [False]
    assert hosted.tokens() == []
    assert await _nobody_can_read(hosted)

    # A's own consent, with the state B used up, is over as well.
    await a.get_by_role("button", name="Authorize").click()
    await expect(a.get_by_role("heading", level=1)).to_have_text("This answer is not good any more")
    assert hosted.tokens() == []


async def test_what_a_victim_allowed_is_given_back(
    hosted: Hosted, browsers: tuple[BrowserContext, BrowserContext], site: ApplicationSite
) -> None:
    """The victim opens the attacker's unopened link and consents; its application says who came back."""
    _, victim = browsers
    session, link = await hosted.mint(user_id=ATTACKER)
    page = await victim.new_page()
    await page.goto(link)
    await expect(page.locator("main")).to_contain_text("Only go on if you began this yourself")
    await expect(page.locator("main")).to_contain_text(ATTACKER)
    await _authorize(page, person="grace")
    await page.wait_for_url(f"{site.url}/connected?*")
    code = parse_qs(urlsplit(page.url).query)["completion_code"][0]

    assert await _candidate_exists(hosted, session.session_id)
    assert await _nobody_can_read(hosted), "a candidate can be read"
    with pytest.raises(ConnectError) as guessed:
        await hosted.complete(session.session_id, "a" * 43, user_id=ATTACKER)
    assert guessed.value.code == "completion_code_invalid"
    live = [token for token in hosted.tokens() if not token.authorization.revoked]
    assert [token.authorization.user for token in live] == ["grace"]

    with pytest.raises(ConnectError) as mismatch:
        await hosted.complete(session.session_id, code, user_id=VICTIM)
    assert mismatch.value.code == "completion_mismatch"

    shown = await (await page.request.get(f"{hosted.sandbox.url}/_control/discord/tokens")).json()
    assert shown["authorizations"]
    assert all(authorization["revoked"] for authorization in shown["authorizations"])
    assert all(token["revoked"] for token in shown["tokens"] if token["kind"] != "code")
    assert not await _candidate_exists(hosted, session.session_id)
    (failed,) = await hosted.events("connect_session.failed")
    assert failed.data["error"] == "completion_mismatch"
    (destroyed,) = await hosted.events("candidate.destroyed")
    assert destroyed.data == {"reason": "completion_mismatch", "upstream": "revoked"}
    with pytest.raises(ConnectError) as late:
        await hosted.complete(session.session_id, code, user_id=ATTACKER)
    assert late.value.code == "session_failed"
    assert await _nobody_can_read(hosted)


@pytest.mark.parametrize("tenant_id", ["org_acme", "org_victim"])
async def test_the_tenant_must_be_the_one_who_began_too(
    hosted: Hosted,
    browsers: tuple[BrowserContext, BrowserContext],
    site: ApplicationSite,
    tenant_id: str,
) -> None:
    """The same user id in another tenant is another user; in the session's own tenant the code works."""
    session, link = await hosted.mint(kind="installation", user_id=VICTIM)
    page = await browsers[0].new_page()
    await page.goto(link)
    await _authorize(page, person="ada")
    await page.wait_for_url(f"{site.url}/connected?*")
    code = site.visits[-1]["completion_code"]
    if tenant_id == "org_acme":
        completed = await hosted.complete(session.session_id, code, tenant_id=tenant_id, user_id=VICTIM)
        assert completed.installation is not None
        assert digest(await hosted.credential(tenant_id="org_acme")) == digest(seeds.DISCORD_BOT_TOKEN)
    else:
        with pytest.raises(ConnectError) as mismatch:
            await hosted.complete(session.session_id, code, tenant_id=tenant_id, user_id=VICTIM)
        assert mismatch.value.code == "completion_mismatch"
        assert await _nobody_can_read(hosted)
