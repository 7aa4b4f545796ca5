"""Every page, redirect and refusal carries the headers that keep it apart from the rest of the web."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import pytest

from authpipe.domain.clock import ManualClock
from authpipe.sandbox.server import SandboxServer
from support.hosted import Hosted, host

if TYPE_CHECKING:
    from conftest import Dsns
    from integration.pages.conftest import Client

POLICY = {
    "default-src": "'none'",
    "style-src": "'self'",
    "img-src": "'self'",
    "frame-ancestors": "'none'",
    "base-uri": "'none'",
}


def _policy(text: str) -> dict[str, str]:
    return dict(part.strip().partition(" ")[::2] for part in text.split(";"))  # type: ignore[misc]


async def test_every_answer_is_sealed_off(hosted: Hosted, client: Client) -> None:
    """Pages, redirects, refusals and errors alike."""
    _, link = await hosted.mint()
    opened = await client("GET", link)
    cookie = {"Cookie": opened.headers["Set-Cookie"].partition(";")[0]}
    there = opened.headers["Location"]
    answers = [
        opened,
        await client("HEAD", link),
        await client("GET", there, headers=cookie),
        await client("GET", there),
        await client("GET", link, headers=cookie),
        await client("GET", "/connect/a/b"),
        await client("DELETE", there),
        await client("POST", f"{there}/start", headers=cookie),
        await client("GET", "/oauth/callback/x"),
    ]
    assert [answer.status for answer in answers] == [303, 200, 200, 403, 200, 404, 405, 400, 404]
    for answer in answers:
        policy = _policy(answer.headers["Content-Security-Policy"])
        form_action = policy.pop("form-action")
        assert policy == POLICY
        assert form_action.split()[0] == "'self'"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert "camera=()" in answer.headers["Permissions-Policy"]
        assert len(answer.headers.getall("X-Request-Id")) == 1
        assert "Strict-Transport-Security" not in answer.headers
        assert "<script" not in answer.text
        assert " style=" not in answer.text
        assert "<style" not in answer.text
    assert {answer.headers.get("Cross-Origin-Opener-Policy") for answer in answers} == {
        "same-origin",
        "unsafe-none",
    }
    # Only the page of a link that was opened before does not know yet how its session returns.
    assert [answer.headers["Cross-Origin-Opener-Policy"] for answer in answers].index("unsafe-none") == 4


async def test_a_popup_keeps_its_opener_all_the_way(hosted: Hosted, client: Client) -> None:
    """Each step of it, redirects too: one other policy would cut the windows apart for good."""
    _, link = await hosted.mint(popup=True)
    opened = await client("GET", link)
    cookie = {"Cookie": opened.headers["Set-Cookie"].partition(";")[0]}
    shown = await client("GET", opened.headers["Location"], headers=cookie)
    token = shown.text.partition('name="csrf_token" value="')[2].partition('"')[0]
    started = await client(
        "POST", opened.headers["Location"] + "/start", headers=cookie, data={"csrf_token": token}
    )
    assert started.status == 303
    cancelled = await client(
        "POST", opened.headers["Location"] + "/cancel", headers=cookie, data={"csrf_token": token}
    )
    assert [
        answer.headers["Cross-Origin-Opener-Policy"] for answer in (opened, shown, started, cancelled)
    ] == ["unsafe-none"] * 4
    assert _policy(cancelled.headers["Content-Security-Policy"])["script-src"] == "'self'"
    assert 'data-error="cancelled"' in cancelled.text


async def test_forms_may_lead_to_https_and_to_what_development_uses(hosted: Hosted, client: Client) -> None:
    """The sandbox and a local application are reached by http; with neither, https is all there is."""
    there, cookie = await client.opened((await hosted.mint())[1])
    policy = _policy((await client("GET", there, headers=cookie)).headers["Content-Security-Policy"])
    assert policy["form-action"] == "'self' http: https:"
    there, cookie = await client.opened(
        (await hosted.mint("clicksend", return_url="https://app.example.com/back"))[1]
    )
    policy = _policy((await client("GET", there, headers=cookie)).headers["Content-Security-Policy"])
    assert policy["form-action"] == "'self' https:"


async def test_https_is_remembered(
    dsns: Dsns, tmp_path: Path, clock: ManualClock, sandbox: SandboxServer
) -> None:
    """Where the public address is https, browsers are told to use nothing else."""
    public = "https://connect.example.com"
    async with (
        host(dsns.owner, tmp_path, clock, sandbox, public_url=public) as hosted,
        aiohttp.ClientSession(hosted.rooms.settings.local_url) as session,
        session.get("/connect/x") as answer,
    ):
        assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"


@pytest.mark.parametrize("name", ["connect.css", "popup.js", "mark.svg"])
async def test_files_are_kept_for_ever_under_a_name_of_their_content(
    hosted: Hosted, client: Client, name: str
) -> None:
    """Another name, or a wrong hash, is nothing."""
    from authpipe.pages.assets import Assets

    address = Assets().addresses[name]
    answer = await client("GET", address)
    assert answer.status == 200
    assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Type"].split(";")[0] in ("text/css", "text/javascript", "image/svg+xml")
    for wrong in (f"/pages/{name}", "/pages/..%2Fservices.py", "/pages/a/b", address + "x"):
        assert (await client("GET", wrong)).status == 404
