"""People connect accounts by clicking, with and without scripts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.async_api import Browser, BrowserContext, Page, expect

from authpipe.connect.browser import COOKIE_PREFIX
from authpipe.domain.clock import ManualClock
from authpipe.domain.credential import CredentialKind
from authpipe.sandbox import seeds
from authpipe.sandbox.ledger import digest
from authpipe.sandbox.server import SandboxServer
from support.application_site import ApplicationSite
from support.chromium import profile
from support.hosted import Hosted, host
from support.running import free_port

if TYPE_CHECKING:
    from conftest import Dsns

pytestmark = pytest.mark.browser

WRONG_KEY = "wrong-key-000000000000000000000000000"
MISPLACED = "misplaced-secret-0000000"


async def _our_cookies(context: BrowserContext) -> list[dict[str, object]]:
    return [dict(cookie) for cookie in await context.cookies() if cookie["name"].startswith(COOKIE_PREFIX)]


async def _back(page: Page, site: ApplicationSite) -> dict[str, str]:
    """Wait until the browser is back at the application; returns what it brought along."""
    await page.wait_for_url(f"{site.url}/connected?*")
    return {name: values[0] for name, values in parse_qs(urlsplit(page.url).query).items()}


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without scripts"])
async def test_a_person_installs_and_connects_discord(
    hosted: Hosted, chromium: Browser, site: ApplicationSite, scripts: bool
) -> None:
    """First the bot in a server, then the person's own account; both credentials work afterwards."""
    config = await hosted.configure()
    window = await profile(chromium, java_script_enabled=scripts)
    page = await window.new_page()

    session, link = await hosted.mint(kind="installation")
    await page.goto(link)
    assert link.rpartition("/")[2] not in page.url, "the token stays in the address bar"
    (cookie,) = await _our_cookies(window)
    assert (cookie["secure"], cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (
        True,
        True,
        "Lax",
        "/",
    )
    await expect(page.get_by_role("heading", level=1)).to_have_text("Install in your Discord workspace")
    await page.get_by_role("button", name="Continue to Discord").click()
    await page.get_by_label("Server").select_option(label=seeds.DISCORD_GUILDS[1].name)
    await page.get_by_role("button", name="Authorize").click()
    brought = await _back(page, site)
    assert brought["tab"] == "integrations", "the application's own query is lost"
    assert await _our_cookies(window) == []
    completed = await hosted.complete(session.session_id, brought["completion_code"])
    assert completed.installation is not None
    assert completed.installation.external_id == seeds.DISCORD_GUILDS[1].id
    assert completed.installation.provider_config_id == config.provider_config_id
    assert (
        await hosted.credential(tenant_id="org_acme", kind=CredentialKind.BOT_TOKEN)
        == seeds.DISCORD_BOT_TOKEN
    )

    session, link = await hosted.mint()
    await page.goto(link)
    await page.get_by_role("button", name="Continue to Discord").click()
    await page.get_by_role("button", name="Authorize").click()
    brought = await _back(page, site)
    completed = await hosted.complete(session.session_id, brought["completion_code"])
    assert completed.connection is not None
    assert completed.connection.account_name == "ada"
    handed_out = await hosted.credential(tenant_id="org_acme", user_id="user_123")
    assert digest(handed_out) == hosted.tokens()[-1].sha256


async def test_a_key_is_tried_before_it_is_accepted(
    hosted: Hosted, window: BrowserContext, site: ApplicationSite
) -> None:
    """Mistakes are told beside the field, cost no new link, and nothing entered comes back in a page."""
    await hosted.configure("clicksend")
    session, link = await hosted.mint("clicksend")
    page = await window.new_page()
    shown: list[str] = []
    await page.goto(link)
    await expect(page.get_by_label("API key")).to_have_attribute("type", "password")
    await expect(page.get_by_label("API key")).to_have_attribute("autocomplete", "new-password")
    button = page.get_by_role("button", name="Connect ClickSend")

    await page.get_by_label("API username").fill(MISPLACED + ":")
    await page.get_by_label("API key").fill(WRONG_KEY)
    await button.click()
    await expect(page.get_by_label("API username")).to_have_attribute("aria-invalid", "true")
    await expect(page.get_by_label("API username")).to_have_accessible_description(
        "API username does not look right: Shown under API Credentials in the ClickSend dashboard."
    )
    await expect(page.get_by_label("API username")).to_be_focused()
    shown.append(await page.content())

    await page.get_by_label("API username").fill("ada@example.com")
    await page.get_by_label("API key").fill(WRONG_KEY)
    await button.click()
    await expect(page.get_by_role("alert")).to_contain_text("The provider refused the credential.")
    await expect(page.get_by_label("API username")).to_have_value("")
    shown.append(await page.content())
    assert [event.data["error"] for event in await hosted.events("connect_session.refused")] == [
        "credential_refused"
    ]

    await page.get_by_label("API username").fill("ada@example.com")
    await page.get_by_label("API key").fill(seeds.CLICKSEND_API_KEYS["ada@example.com"])
    await button.click()
    brought = await _back(page, site)
    completed = await hosted.complete(session.session_id, brought["completion_code"])
    assert completed.connection is not None
    assert completed.connection.account_id == "51001"
    assert not any(WRONG_KEY in text or MISPLACED in text for text in shown)


async def test_cancel_ends_the_session(hosted: Hosted, window: BrowserContext, site: ApplicationSite) -> None:
    """The application hears of it, and nothing goes on from there."""
    await hosted.configure()
    session, link = await hosted.mint()
    page = await window.new_page()
    await page.goto(link)
    there = page.url
    await page.get_by_role("button", name="Cancel").click()
    brought = await _back(page, site)
    assert brought == {
        "tab": "integrations",
        "connect_session_id": str(session.session_id),
        "error": "cancelled",
    }
    assert await _our_cookies(window) == []
    (event,) = await hosted.events("connect_session.failed")
    assert event.data["error"] == "cancelled"
    response = await page.goto(there)
    assert response is not None
    assert response.status == 410
    await expect(page.get_by_role("heading", level=1)).to_have_text("This is already finished")


async def test_refusing_at_the_provider_offers_the_way_back(
    hosted: Hosted, window: BrowserContext, site: ApplicationSite
) -> None:
    """The page says that nothing was connected, and its link tells the application why."""
    await hosted.configure()
    _, link = await hosted.mint()
    page = await window.new_page()
    await page.goto(link)
    await page.get_by_role("button", name="Continue to Discord").click()
    await page.get_by_role("button", name="Cancel").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("You did not allow access")
    await expect(page.locator("main")).to_contain_text("Nothing was connected")
    await page.get_by_role("link", name="Back to localhost").click()
    assert (await _back(page, site))["error"] == "access_denied"


@pytest.mark.parametrize("provider", ["discord", "clicksend"])
async def test_an_application_may_lead_people_on_to_another_host(
    hosted: Hosted, window: BrowserContext, site: ApplicationSite, provider: str
) -> None:
    """Chromium holds every redirect after a form against the page's form-action; none of ours ends there."""
    await hosted.configure(provider)
    page = await window.new_page()
    _, link = await hosted.mint(provider, return_url=f"{site.url}/moved")
    await page.goto(link)
    if provider == "discord":
        await page.get_by_role("button", name="Cancel").click()
    else:
        await page.get_by_label("API username").fill("ada@example.com")
        await page.get_by_label("API key").fill(seeds.CLICKSEND_API_KEYS["ada@example.com"])
        await page.get_by_role("button", name="Connect ClickSend").click()
    await page.wait_for_url("http://127.0.0.1:*/connected?*")
    assert site.visits[-1].keys() >= {"connect_session_id"}


async def test_opening_the_link_again_leads_on(hosted: Hosted, window: BrowserContext) -> None:
    """In the same browser; the page has a link to where the person was."""
    await hosted.configure()
    _, link = await hosted.mint()
    page = await window.new_page()
    await page.goto(link)
    there = page.url
    await page.goto(link)
    await expect(page.get_by_role("heading", level=1)).to_have_text("You have already opened this link")
    await page.get_by_role("link", name="Continue").click()
    assert page.url == there
    await expect(page.get_by_role("button", name="Continue to Discord")).to_be_visible()


async def test_the_keyboard_is_enough(hosted: Hosted, window: BrowserContext) -> None:
    """The first stop is the button that goes on, the second the one that does not."""
    await hosted.configure()
    _, link = await hosted.mint()
    page = await window.new_page()
    await page.goto(link)
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("button", name="Continue to Discord")).to_be_focused()
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("button", name="Cancel")).to_be_focused()
    await page.keyboard.press("Shift+Tab")
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/discord/oauth2/authorize?*")


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
async def test_secure_cookies_work_on_this_machine(
    dsns: Dsns,
    tmp_path: Path,
    clock: ManualClock,
    sandbox: SandboxServer,
    window: BrowserContext,
    name: str,
) -> None:
    """Development has no https, and both names of the machine get the same cookie as production does."""
    port = free_port()
    public = f"http://{name}:{port}"
    async with host(dsns.owner, tmp_path, clock, sandbox, port=port, public_url=public) as hosted:
        await hosted.configure()
        _, link = await hosted.mint()
        page = await window.new_page()
        await page.goto(link)
        await expect(page.get_by_role("button", name="Continue to Discord")).to_be_visible()
        (cookie,) = await _our_cookies(window)
        assert cookie["domain"] == name
