"""Operators' pages in a real browser: on a phone, in both colours, with their own files alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.async_api import Browser, Page, expect

from authpipe.domain.access import OperatorRole
from authpipe.domain.clock import ManualClock
from authpipe.domain.secret import Secret
from authpipe.sandbox.server import SandboxServer
from support.chromium import profile
from support.contrast import faint, fits
from support.hosted import Hosted, host
from support.openid import CLIENT_ID, CLIENT_SECRET, openid
from support.operators import COMMAND_LINE, PASSWORD, add, sign_in
from support.running import free_port

if TYPE_CHECKING:
    from conftest import Dsns

pytestmark = pytest.mark.browser

LONG = "donaudampfschifffahrtselektrizitaetenhauptbetriebswerk@bauunterbeamtengesellschaft.example.com"


async def _sign_in(page: Page, hosted: Hosted) -> None:
    await page.goto(hosted.url + "/sign-in")
    await page.get_by_label("Email").fill("ada@example.com")
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in", exact=True).click()
    await page.wait_for_url("**/account")


@pytest.mark.parametrize("colours", ["light", "dark"])
async def test_every_page_fits_a_phone(hosted: Hosted, chromium: Browser, colours: str) -> None:
    """Nothing is cut or scrolls sideways, however long names are; text has contrast; no rule is broken."""
    signing_in = hosted.rooms.signing_in
    await add(signing_in, name="Ada " * 20)
    long = await add(signing_in, LONG, role=OperatorRole.VIEWER)
    await add(signing_in, "off@example.com", role=OperatorRole.VIEWER)
    off = (await signing_in.operators.list())[-1]
    await signing_in.operators.disable(off.operator_id, origin=COMMAND_LINE)
    for number in range(5):
        with pytest.raises(Exception, match="Email and password"):
            await sign_in(signing_in, LONG, "wrong", address=f"192.0.2.{number}")
    await sign_in(signing_in)
    window = await profile(
        chromium, viewport={"width": 390, "height": 844}, color_scheme=colours, has_touch=True, is_mobile=True
    )
    page = await window.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))

    async def looks_right() -> None:
        assert await fits(page), page.url
        assert await faint(page) == [], page.url

    await page.goto(hosted.url + "/sign-in")
    await looks_right()
    await _sign_in(page, hosted)
    for path in ("/account", "/operators", f"/operators/{long.operator_id}", f"/operators/{off.operator_id}"):
        await page.goto(hosted.url + path)
        await looks_right()
    await page.goto(f"{hosted.url}/operators/{long.operator_id}")
    await page.get_by_role("button", name="Make a link").click()
    await looks_right()
    await page.goto(await page.locator("code.link").inner_text())
    await looks_right()
    assert complaints == []
    await page.get_by_label("Password").fill("short")
    await page.get_by_role("button", name="Save and sign in").click()
    await expect(page.get_by_role("alert")).to_be_visible()
    await looks_right()
    await page.goto(hosted.url + "/operators/x")
    await looks_right()


@pytest.fixture
def clock() -> ManualClock:
    """The OpenID provider has the machine's own clock."""
    return ManualClock(datetime.now(UTC))


@pytest.fixture
async def with_openid(
    dsns: Dsns, tmp_path: Path, clock: ManualClock, sandbox: SandboxServer
) -> AsyncIterator[Hosted]:
    port = free_port()
    # Another site, as it is in the world: cookies have to come back from it.
    issuer = f"http://localhost:{free_port()}"
    async with openid(tmp_path, f"http://127.0.0.1:{port}/sign-in/callback", issuer=issuer) as provider:
        provider.account("ada", email="ada@example.com", email_verified=True)
        async with host(
            dsns.owner,
            tmp_path,
            clock,
            sandbox,
            port=port,
            oidc_issuer=provider.issuer,
            oidc_client_id=CLIENT_ID,
            oidc_client_secret=Secret(CLIENT_SECRET),
            oidc_name="Acme SSO",
        ) as hosted:
            yield hosted


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])
async def test_a_person_comes_in_from_the_openid_provider(
    with_openid: Hosted, chromium: Browser, scripts: bool
) -> None:
    """One button here, the provider's own pages, and back; the policy of our pages lets it happen."""
    await add(with_openid.rooms.signing_in, password=None)
    window = await profile(chromium, java_script_enabled=scripts)
    page = await window.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    await page.goto(with_openid.url + "/sign-in")
    await page.get_by_role("button", name="Continue with Acme SSO").click()
    await page.locator('input[name="login"]').fill("ada")
    await page.locator('input[name="password"]').fill("any")
    await page.get_by_role("button", name="Sign-in").click()
    await page.get_by_role("button", name="Continue").click()
    await page.wait_for_url(with_openid.url + "/account")
    await expect(page.get_by_text("UTC, with Acme SSO")).to_be_visible()
    await page.get_by_role("button", name="Sign out").click()
    await page.wait_for_url(with_openid.url + "/sign-in")
    assert [each for each in complaints if "Content Security Policy" in each and "authpipe" in each] == []
