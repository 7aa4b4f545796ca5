"""Pages fit a phone, load nothing foreign, and break none of their own rules."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser, Request, expect

from support.chromium import profile
from support.contrast import faint, fits
from support.hosted import Hosted

pytestmark = pytest.mark.browser

LONG_NAME = "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft"


@pytest.mark.parametrize("colours", ["light", "dark"])
async def test_every_page_fits_a_phone(hosted: Hosted, chromium: Browser, colours: str) -> None:
    """At 390 pixels nothing is cut or scrolls sideways, however long the names are, and text has contrast."""
    await hosted.name_tenant(LONG_NAME)
    await hosted.configure("discord")
    await hosted.configure("clicksend")
    window = await profile(
        chromium, viewport={"width": 390, "height": 844}, color_scheme=colours, has_touch=True, is_mobile=True
    )
    page = await window.new_page()
    shown = []
    for provider, wish in (
        ("discord", {"kind": "installation", "label": "L" * 60}),
        ("discord", {"user_id": "u" * 120}),
        ("clicksend", {}),
    ):
        _, link = await hosted.mint(provider, **wish)
        await page.goto(link)
        shown.append(page.url)
        assert await fits(page), page.url
        assert await faint(page) == []
    await page.get_by_role("button", name="Connect ClickSend").click()
    await expect(page.get_by_role("alert")).to_be_visible()
    assert await fits(page)
    assert await faint(page) == []
    for address in (link, f"{hosted.url}/connect/unknown", f"{hosted.url}/connect/a/b/c"):
        await page.goto(address)
        await expect(page.get_by_role("heading", level=1)).to_be_visible()
        assert await fits(page), address
        assert await faint(page) == []
    assert len(set(shown)) == 3


async def test_pages_load_their_own_files_alone(hosted: Hosted, chromium: Browser) -> None:
    """No foreign host is asked, nothing is blocked by the page's own policy, nothing is missing."""
    await hosted.configure("clicksend")
    _, link = await hosted.mint("clicksend", popup=True)
    window = await profile(chromium)
    page = await window.new_page()
    asked: list[Request] = []
    complaints: list[str] = []
    page.on("request", lambda request: asked.append(request))  # noqa: PLW0108  # Playwright marks it
    page.on("console", lambda message: complaints.append(message.text))
    page.on("requestfailed", lambda request: complaints.append(request.url))
    await page.goto(link, wait_until="networkidle")
    await page.goto(link, wait_until="networkidle")
    assert {urlsplit(request.url).netloc for request in asked} == {urlsplit(hosted.url).netloc}
    assert complaints == []
    assert re.search(r"/pages/connect\.[0-9a-f]{16}\.css", " ".join(request.url for request in asked))
