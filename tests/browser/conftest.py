"""A real Chromium, and an application's web site on another site than Authpipe."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.async_api import Browser, BrowserContext, async_playwright

from authpipe.domain.clock import ManualClock
from authpipe.sandbox.server import SandboxServer
from support.application_site import ApplicationSite
from support.hosted import Hosted, host

if TYPE_CHECKING:
    from conftest import Dsns

CHROMIUM = Path(os.environ.get("AUTHPIPE_TEST_CHROMIUM") or "/usr/bin/chromium")
_QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--disable-sync",
    "--no-first-run",
]


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
        yield hosted


@pytest.fixture
async def chromium() -> AsyncIterator[Browser]:
    if not CHROMIUM.exists():
        pytest.skip(f"no browser at {CHROMIUM}: set AUTHPIPE_TEST_CHROMIUM")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=_QUIET)
        yield browser
        await browser.close()


@pytest.fixture
async def window(chromium: Browser) -> AsyncIterator[BrowserContext]:
    """One person's browser, with a profile of its own."""
    context = await chromium.new_context()
    context.set_default_timeout(10_000)
    yield context
    await context.close()
