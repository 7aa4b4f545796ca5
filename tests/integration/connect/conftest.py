"""The connect engine behind its real pages, and a way through it in one call."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from authpipe.connect.complete import Completed
from authpipe.domain.clock import ManualClock
from authpipe.sandbox.server import SandboxServer
from support.hosted import Hosted, host
from support.person import Page

if TYPE_CHECKING:
    from conftest import Dsns

#: Comes back from the provider: the session's page, its id and the completion code.
Back = Callable[..., Awaitable[tuple[Any, Page]]]
Connect = Callable[..., Awaitable[Completed]]


@pytest.fixture
async def hosted(
    dsns: Dsns, tmp_path: Path, clock: ManualClock, sandbox: SandboxServer
) -> AsyncIterator[Hosted]:
    async with host(dsns.owner, tmp_path, clock, sandbox) as hosted:
        for provider in ("discord", "clicksend", "dialpad", "aircall", "drift"):
            await hosted.configure(provider)
        yield hosted


@pytest.fixture
def go_and_come_back(hosted: Hosted) -> Back:
    """Mint, open, click, consent as ``who``, and return with a completion code."""

    async def go(
        provider: str = "discord",
        *,
        who: str = "ada",
        guild_id: str | None = None,
        key: dict[str, str] | None = None,
        **wish: Any,
    ) -> tuple[Any, Page]:
        session, link = await hosted.mint(provider, **wish)
        async with hosted.person() as person:
            page = await person.open(link)
            page = await person.submit(page, **(key or {}))
            if page.status == 200 and key is None:
                # The sandbox shows whoever is named as the person who is signed in there.
                page = await person.open(f"{page.url}&sandbox_user={who}")
                guild = {} if guild_id is None else {"guild_id": guild_id}
                page = await person.submit(page, decision="authorize", **guild)
        return session, page

    return go


@pytest.fixture
def connect(hosted: Hosted, go_and_come_back: Back) -> Connect:
    """The same, completed by the application for the user who began."""

    async def whole(provider: str = "discord", **wish: Any) -> Completed:
        session, page = await go_and_come_back(provider, **wish)
        return await hosted.complete(
            session.session_id,
            page.query["completion_code"],
            tenant_id=wish.get("tenant_id", "org_acme"),
            user_id=wish.get("user_id", "user_123"),
        )

    return whole
