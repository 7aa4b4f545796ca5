"""Popups tell the page that opened them how it went: one origin, and no other."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest
from playwright.async_api import Browser, BrowserContext, Page, expect

from support.application_site import ApplicationSite
from support.chromium import profile
from support.hosted import Hosted

pytestmark = pytest.mark.browser


async def _opens(window: BrowserContext, origin: str, link: str) -> tuple[Page, Page]:
    """A page at ``origin``, and the popup it opened."""
    page = await window.new_page()
    await page.goto(f"{origin}/?link={quote(link, safe='')}")
    async with page.expect_popup() as opening:
        await page.get_by_role("button", name="Connect").click()
    return page, await opening.value


async def _heard(page: Page) -> list[dict[str, Any]]:
    text = await page.locator("#heard").text_content()
    return [json.loads(line) for line in (text or "").splitlines()]


async def test_the_application_hears_of_success(
    hosted: Hosted, window: BrowserContext, site: ApplicationSite
) -> None:
    """From the popup's own origin, with the code its backend needs; the popup closes."""
    await hosted.configure()
    session, link = await hosted.mint(popup=True)
    page, popup = await _opens(window, site.url, link)
    await popup.get_by_role("button", name="Continue to Discord").click()
    async with popup.expect_event("close"):
        await popup.get_by_role("button", name="Authorize").click()
    (heard,) = await _heard(page)
    code = heard["data"].pop("completion_code")
    assert heard == {
        "origin": hosted.url,
        "data": {"type": "authpipe.connect", "connect_session_id": str(session.session_id)},
    }
    assert (await hosted.complete(session.session_id, code)).connection is not None
    assert site.visits == []


async def test_a_page_of_another_origin_hears_nothing(hosted: Hosted, window: BrowserContext) -> None:
    """It may open somebody's link in a popup, and the message still goes to the application alone."""
    await hosted.configure()
    session, link = await hosted.mint(popup=True)
    async with ApplicationSite() as stranger:
        page, popup = await _opens(window, stranger.url, link)
        await popup.get_by_role("button", name="Continue to Discord").click()
        async with popup.expect_event("close"):
            await popup.get_by_role("button", name="Authorize").click()
        assert await _heard(page) == []
        # Messages arrive in order, so one of the page's own would stand behind any that was on its way.
        await page.evaluate("postMessage('own', '*')")
        await expect(page.locator("#heard")).to_contain_text("own")
        assert [heard["data"] for heard in await _heard(page)] == ["own"]
    assert (await hosted.session(session.session_id)).status.value == "candidate"


@pytest.mark.parametrize(("where", "error"), [("ours", "cancelled"), ("theirs", "access_denied")])
async def test_the_application_hears_of_a_refusal(
    hosted: Hosted, window: BrowserContext, site: ApplicationSite, where: str, error: str
) -> None:
    """The person changed their mind, here or at the provider: the popup closes with the reason."""
    await hosted.configure()
    session, link = await hosted.mint(popup=True)
    page, popup = await _opens(window, site.url, link)
    if where == "theirs":
        await popup.get_by_role("button", name="Continue to Discord").click()
        await popup.wait_for_url("**/discord/oauth2/authorize?*")
    async with popup.expect_event("close"):
        await popup.get_by_role("button", name="Cancel").click()
    assert await _heard(page) == [
        {
            "origin": hosted.url,
            "data": {
                "type": "authpipe.connect",
                "connect_session_id": str(session.session_id),
                "error": error,
            },
        }
    ]


async def test_a_failure_is_told_and_stays_readable(
    hosted: Hosted, window: BrowserContext, site: ApplicationSite
) -> None:
    """The application hears the code; the popup stays open with what happened."""
    await hosted.configure()
    _, link = await hosted.mint(popup=True)
    page, popup = await _opens(window, site.url, link)
    await popup.get_by_role("button", name="Continue to Discord").click()
    await popup.wait_for_url("**/discord/oauth2/authorize?*")
    hosted.sandbox.state.applications["discord"]["1100000000000000001"].client_secret = "another"
    await popup.get_by_role("button", name="Authorize").click()
    await expect(popup.get_by_role("heading", level=1)).to_have_text("The provider refused the connection")
    await expect(page.locator("#heard")).to_contain_text('"error":"code_refused"')
    assert not popup.is_closed()


async def test_without_scripts_a_link_leads_back(
    hosted: Hosted, chromium: Browser, site: ApplicationSite
) -> None:
    """As if the session had been made for a redirect."""
    await hosted.configure()
    session, link = await hosted.mint(popup=True)
    window = await profile(chromium, java_script_enabled=False)
    page = await window.new_page()
    await page.goto(link)
    await page.get_by_role("button", name="Continue to Discord").click()
    await page.get_by_role("button", name="Authorize").click()
    await page.get_by_role("link", name="Back to localhost").click()
    await page.wait_for_url(f"{site.url}/connected?*")
    assert site.visits[-1]["connect_session_id"] == str(session.session_id)
    await hosted.complete(session.session_id, site.visits[-1]["completion_code"])


async def test_a_window_that_lost_its_opener_goes_by_address(
    hosted: Hosted, window: BrowserContext, site: ApplicationSite
) -> None:
    """Some providers' pages cut windows apart; the code then comes as with a redirect."""
    await hosted.configure()
    session, link = await hosted.mint(popup=True)
    page = await window.new_page()
    await page.goto(link)
    await page.get_by_role("button", name="Continue to Discord").click()
    await page.get_by_role("button", name="Authorize").click()
    await page.wait_for_url(f"{site.url}/connected?*")
    await hosted.complete(session.session_id, site.visits[-1]["completion_code"])
