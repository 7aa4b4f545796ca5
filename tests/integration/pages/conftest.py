"""The pages over HTTP, and a client that does as it is told and nothing more."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from multidict import CIMultiDictProxy
from yarl import URL

from authpipe.domain.clock import ManualClock
from authpipe.sandbox.server import SandboxServer
from support.hosted import Hosted, host

if TYPE_CHECKING:
    from conftest import Dsns


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: CIMultiDictProxy[str]
    text: str


class Client:
    """Keeps no cookies and follows nothing."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def __call__(self, method: str, path: str, **options: Any) -> Answer:
        """One request, to a path of the server or a whole address."""
        address = path if path.startswith("http") else self._url + path
        async with self._session.request(
            method, URL(address, encoded=True), allow_redirects=False, **options
        ) as response:
            return Answer(response.status, response.headers, await response.text())

    async def opened(self, link: str) -> tuple[str, dict[str, str]]:
        """Open a link: the address of the session's page, and the header with its cookie."""
        answer = await self("GET", link)
        assert answer.status == 303, answer.text
        return answer.headers["Location"], {"Cookie": answer.headers["Set-Cookie"].partition(";")[0]}


@pytest.fixture
async def hosted(
    dsns: Dsns, tmp_path: Path, clock: ManualClock, sandbox: SandboxServer
) -> AsyncIterator[Hosted]:
    async with host(dsns.owner, tmp_path, clock, sandbox) as hosted:
        await hosted.configure("discord")
        await hosted.configure("clicksend")
        yield hosted


@pytest.fixture
async def client(hosted: Hosted) -> AsyncIterator[Client]:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield Client(session, hosted.url)
