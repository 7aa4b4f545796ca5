"""A real Chromium, where one is installed."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, BrowserContext, async_playwright

PROGRAM = Path(os.environ.get("AUTHPIPE_TEST_CHROMIUM") or "/usr/bin/chromium")
_QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--disable-sync",
    "--no-first-run",
]


@asynccontextmanager
async def launched() -> AsyncIterator[Browser]:
    """The browser program; skips the test where there is none."""
    if not PROGRAM.exists():
        pytest.skip(f"no browser at {PROGRAM}: set AUTHPIPE_TEST_CHROMIUM")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=PROGRAM, args=_QUIET)
        yield browser
        await browser.close()


async def profile(browser: Browser, **options: Any) -> BrowserContext:
    """One person's browser: cookies and windows of its own."""
    context = await browser.new_context(**options)
    context.set_default_timeout(10_000)
    return context
