"""Pages fit a phone, load nothing foreign, and break none of their own rules."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser, Page, Request, expect

from support.chromium import profile
from support.hosted import Hosted

pytestmark = pytest.mark.browser

LONG_NAME = "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft"


async def _fits(page: Page) -> bool:
    return bool(
        await page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    )


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
        assert await _fits(page), page.url
        assert await _faint(page) == []
    await page.get_by_role("button", name="Connect ClickSend").click()
    await expect(page.get_by_role("alert")).to_be_visible()
    assert await _fits(page)
    assert await _faint(page) == []
    for address in (link, f"{hosted.url}/connect/unknown", f"{hosted.url}/connect/a/b/c"):
        await page.goto(address)
        await expect(page.get_by_role("heading", level=1)).to_be_visible()
        assert await _fits(page), address
        assert await _faint(page) == []
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


async def _faint(page: Page) -> list[str]:
    """Texts below the contrast of 4.5 to 1 that WCAG 2.2 (1.4.3) asks for."""
    found: list[str] = await page.evaluate(
        """() => {
          const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
          const light = (colour) => {
            const [r, g, b] = numbers(colour).slice(0, 3).map((part) => {
              const share = part / 255;
              return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
            });
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
          };
          const ground = (element) => {
            for (let at = element; at; at = at.parentElement) {
              const colour = getComputedStyle(at).backgroundColor;
              const parts = numbers(colour);
              if (parts.length === 3 || parts[3] === 1) return colour;
            }
            return "rgb(255, 255, 255)";
          };
          const faint = [];
          for (const element of document.querySelectorAll("main *")) {
            const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
            if (!own) continue;
            const [a, b] = [light(getComputedStyle(element).color), light(ground(element))];
            const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
            if (contrast < 4.5) faint.push(`${contrast.toFixed(2)} ${element.textContent.trim()}`);
          }
          return faint;
        }"""
    )
    return found
