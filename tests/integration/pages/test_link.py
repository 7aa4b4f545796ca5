"""A link is consumed by a person's visit and by nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from authpipe.connect.browser import cookie_name
from authpipe.domain.connect_session import SessionStatus
from support.hosted import Hosted

if TYPE_CHECKING:
    from integration.pages.conftest import Client


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("HEAD", {}, 200),
        ("GET", {"Sec-Purpose": "prefetch"}, 503),
        ("GET", {"Sec-Purpose": "prefetch;prerender"}, 503),
        ("GET", {"Purpose": "prefetch"}, 503),
        ("GET", {"X-Moz": "prefetch"}, 503),
        ("GET", {"Sec-Fetch-Dest": "image"}, 403),
        ("GET", {"Sec-Fetch-Dest": "iframe"}, 403),
        ("POST", {}, 405),
        ("OPTIONS", {}, 405),
    ],
)
async def test_what_is_no_visit_uses_nothing_up(
    hosted: Hosted, client: Client, method: str, headers: dict[str, str], status: int
) -> None:
    """Prefetching, looking at a link, embedding it: no cookie, no event, and the link works afterwards."""
    session, link = await hosted.mint()
    answer = await client(method, link, headers=headers)
    assert answer.status == status
    assert "Set-Cookie" not in answer.headers
    assert (await hosted.session(session.session_id)).status is SessionStatus.PENDING
    assert await hosted.events("connect_session.refused") == []
    assert (await client("GET", link, headers={"Sec-Fetch-Dest": "document"})).status == 303


async def test_opening_binds_the_browser(hosted: Hosted, client: Client) -> None:
    """The cookie has every safeguard a cookie can have, and lives no longer than the session."""
    session, link = await hosted.mint()
    answer = await client("GET", link)
    assert answer.headers["Location"] == f"/connect/session/{session.session_id}"
    value, *attributes = answer.headers["Set-Cookie"].split("; ")
    name, _, secret = value.partition("=")
    assert name == cookie_name(session.session_id)
    assert name.startswith("__Host-")
    assert len(secret) == 43
    assert sorted(attribute.lower() for attribute in attributes) == [
        "httponly",
        "max-age=600",
        "path=/",
        "samesite=lax",
        "secure",
    ]
    (event,) = await hosted.events("connect_session.opened")
    assert event.origin.request_id == answer.headers["X-Request-Id"]
    assert event.origin.source_address == "127.0.0.1"


@pytest.mark.parametrize("token", ["x", "%00", "%ED%A0%80", "%F0%9F%92%A9", "a" * 5000])
async def test_odd_links_are_not_valid(hosted: Hosted, client: Client, token: str) -> None:
    """Whatever stands in the address, the answer is a page."""
    answer = await client("GET", f"/connect/{token}")
    assert answer.status == 404
    assert "<h1>This link is not valid</h1>" in answer.text
