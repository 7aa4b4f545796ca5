"""A real Chromium, and an application's web site on another site than Authpipe."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.async_api import Browser, BrowserContext

from authpipe.domain.clock import ManualClock
from authpipe.sandbox.server import SandboxServer
from support.application_site import ApplicationSite
from support.chromium import launched, profile
from support.hosted import Hosted, host

if TYPE_CHECKING:
    from conftest import Dsns


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
    async with launched() as browser:
        yield browser


@pytest.fixture
async def window(chromium: Browser) -> BrowserContext:
    return await profile(chromium)
