"""Where the pages send a browser, and how."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

import pytest

from authpipe.sandbox import seeds
from support.hosted import Hosted

if TYPE_CHECKING:
    from integration.pages.conftest import Client

_STRANGE = "https://attacker.example/stolen"
_NAMES = ("return_url", "redirect_uri", "redirect", "next", "url", "continue", "target", "origin")


def _token(text: str) -> str:
    return text.partition('name="csrf_token" value="')[2].partition('"')[0]


async def test_what_was_entered_is_not_sent_on(hosted: Hosted, client: Client) -> None:
    """303 turns the POST with the key into a GET without it; a 307 would hand the key to the application."""
    session, link = await hosted.mint("clicksend")
    there, cookie = await client.opened(link)
    username, key = next(iter(seeds.CLICKSEND_API_KEYS.items()))
    token = _token((await client("GET", there, headers=cookie)).text)
    form = {"csrf_token": token, "username": username, "api_key": key}
    answer = await client("POST", f"{there}/key", headers=cookie, data=form)
    assert answer.status == 303
    assert answer.headers["Location"].startswith(f"{session.return_url}?")
    assert key not in answer.headers["Location"] + answer.text


@pytest.mark.parametrize("name", _NAMES)
async def test_no_address_a_browser_names_is_led_to(hosted: Hosted, client: Client, name: str) -> None:
    """Neither in the query nor in a form: where a session leads back to was fixed when it was made."""
    session, link = await hosted.mint()
    strange = f"?{name}={quote(_STRANGE, safe='')}"
    opened = await client("GET", link + strange)
    cookie = {"Cookie": opened.headers["Set-Cookie"].partition(";")[0]}
    there = opened.headers["Location"]
    shown = await client("GET", there + strange, headers=cookie)
    form = {"csrf_token": _token(shown.text), name: _STRANGE}
    answers = [
        opened,
        shown,
        await client("POST", f"{there}/start{strange}", headers=cookie, data=form),
        await client("GET", f"/oauth/callback/{session.provider_config_id}{strange}", headers=cookie),
        await client("POST", f"{there}/cancel{strange}", headers=cookie, data=form),
        await client("GET", f"/{_STRANGE}"),
        await client("GET", f"//attacker.example{strange}"),
    ]
    assert [answer.status for answer in answers] == [303, 200, 303, 400, 303, 404, 404]
    for answer in answers:
        assert "attacker.example" not in answer.text
        assert urlsplit(answer.headers.get("Location", "")).hostname != "attacker.example"
    assert answers[4].headers["Location"].startswith(f"{session.return_url}?")
