"""The page of a session: what it says, and what its forms refuse."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from authpipe.domain.connect_session import SessionStatus
from authpipe.domain.event import ActorKind
from authpipe.sandbox import seeds
from support.hosted import Hosted

if TYPE_CHECKING:
    from integration.pages.conftest import Client

HOSTILE = "\"><script>alert('x')</script><b a='"


def _token(text: str) -> str:
    found = re.search(r'name="csrf_token" value="([\w-]{43})"', text)
    assert found is not None
    return found[1]


async def test_the_page_says_what_is_about_to_happen(hosted: Hosted, client: Client) -> None:
    """Application, tenant, user, provider, each scope in words, and where it leads back to."""
    await hosted.name_tenant("Acorn Books Ltd")
    _, link = await hosted.mint(
        kind="installation", scopes=("bot", "webhook.incoming"), return_url="https://app.acorn.example/x"
    )
    there, cookie = await client.opened(link)
    text = (await client("GET", there, headers=cookie)).text
    for words in (
        '<html lang="en">',
        "Acorn CRM",
        "Acorn Books Ltd",
        "user_123",
        "Install in your Discord workspace",
        "app.acorn.example",
        "Continue to Discord",
        "Cancel",
        "10 more minutes",
    ):
        assert words in text
    for scope in hosted.rooms.catalog.get("discord").scopes:
        if scope.name in ("bot", "webhook.incoming"):
            assert scope.meaning.replace("'", "&#39;") in text
            assert f"<code>{scope.name}</code>" in text
    hosted.clock.advance(timedelta(minutes=9))
    assert "1 more minute," in (await client("GET", there, headers=cookie)).text


async def test_names_are_text_and_never_markup(hosted: Hosted, client: Client) -> None:
    """Whatever a tenant, user, label or return address is called."""
    await hosted.name_tenant(HOSTILE)
    _, link = await hosted.mint("clicksend", label=HOSTILE, user_id='"><script>')
    there, cookie = await client.opened(link)
    text = (await client("GET", there, headers=cookie)).text
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "<b a=" not in text


@pytest.mark.parametrize("path", ["not-a-uuid", "01900000-0000-7000-8000-000000000000", "%00"])
async def test_a_session_nobody_made_has_no_page(hosted: Hosted, client: Client, path: str) -> None:
    """It is told apart from a session of another browser, as ids are no secrets."""
    answer = await client("GET", f"/connect/session/{path}")
    assert answer.status == 404
    assert "<h1>This page is not valid</h1>" in answer.text


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "none"}, 403),
        ({"Origin": "https://attacker.example"}, 403),
        ({"Origin": "http://[broken"}, 403),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "null"}, 303),
        ({"Sec-Fetch-Site": "same-origin"}, 303),
        ({}, 303),
    ],
)
async def test_a_form_must_come_from_its_own_page(
    hosted: Hosted, client: Client, headers: dict[str, str], status: int
) -> None:
    """Cookie and token alone do not do when the browser says that another site sent it."""
    session, link = await hosted.mint()
    there, cookie = await client.opened(link)
    token = _token((await client("GET", there, headers=cookie)).text)
    answer = await client("POST", f"{there}/start", headers=cookie | headers, data={"csrf_token": token})
    assert answer.status == status
    status_then = (await hosted.session(session.session_id)).status
    if status == 403:
        assert "<h1>This form did not come from its own page</h1>" in answer.text
        (event,) = await hosted.events("connect_session.refused")
        assert event.data["error"] == "form_refused"
        assert status_then is SessionStatus.OPENED
    else:
        assert status_then is SessionStatus.AUTHORIZING
        (event,) = await hosted.events("connect_session.authorizing")
        assert event.origin.actor_kind is ActorKind.BROWSER
        assert event.origin.source_address == "127.0.0.1"


async def test_a_token_is_of_one_session(hosted: Hosted, client: Client) -> None:
    """Another session's token is as good as none."""
    there, cookie = await client.opened((await hosted.mint())[1])
    elsewhere, other = await client.opened((await hosted.mint())[1])
    foreign = _token((await client("GET", elsewhere, headers=other)).text)
    assert foreign != _token((await client("GET", there, headers=cookie)).text)
    answer = await client("POST", f"{there}/start", headers=cookie, data={"csrf_token": foreign})
    assert answer.status == 403


@pytest.mark.parametrize(
    ("body", "kind", "status", "title"),
    [
        (b"x" * 70_000, "application/x-www-form-urlencoded", 413, "What was sent is too long"),
        (b'{"csrf_token": "x"}', "application/json", 400, "The form cannot be read"),
        (b"csrf_token=a&csrf_token=b", "application/x-www-form-urlencoded", 400, "The form cannot be read"),
        (b"csrf_token=%FF", "application/x-www-form-urlencoded", 400, "The form cannot be read"),
        (b"a=\xff", "application/x-www-form-urlencoded", 400, "The form cannot be read"),
        (b"&".join(b"f%d=1" % n for n in range(99)), "application/x-www-form-urlencoded", 400, "The form"),
        (b"", "", 400, "The form cannot be read"),
    ],
)
async def test_a_form_that_cannot_be_read(
    hosted: Hosted, client: Client, body: bytes, kind: str, status: int, title: str
) -> None:
    """Nothing happens, and nothing of it is shown."""
    there, cookie = await client.opened((await hosted.mint("clicksend"))[1])
    answer = await client("POST", f"{there}/key", headers=cookie | {"Content-Type": kind}, data=body)
    assert answer.status == status
    assert f"<h1>{title}" in answer.text


@pytest.mark.parametrize("entered", ["wrong-key-1234567890", "x" * 9000, "two\nlines", ""])
async def test_a_key_that_does_not_work_is_not_shown_again(
    hosted: Hosted, client: Client, entered: str
) -> None:
    """Neither field comes back: people paste keys into the wrong box."""
    session, link = await hosted.mint("clicksend")
    there, cookie = await client.opened(link)
    token = _token((await client("GET", there, headers=cookie)).text)
    form = {"csrf_token": token, "username": "pasted-secret-42", "api_key": entered}
    answer = await client("POST", f"{there}/key", headers=cookie, data=form)
    assert answer.status == 422
    assert 'role="alert"' in answer.text
    assert "pasted-secret-42" not in answer.text
    assert not entered or entered not in answer.text
    assert 'value="' not in answer.text.replace(f'value="{token}"', "")
    assert (await hosted.session(session.session_id)).status is SessionStatus.OPENED


async def test_a_session_is_over_after_ten_wrong_keys(hosted: Hosted, client: Client) -> None:
    """It is no place to try other people's keys; the eleventh is not even sent to the provider."""
    session, link = await hosted.mint("clicksend")
    there, cookie = await client.opened(link)
    token = _token((await client("GET", there, headers=cookie)).text)
    for number in range(10):
        form = {"csrf_token": token, "username": "ada@example.com", "api_key": f"wrong-key-{number:020}"}
        assert (await client("POST", f"{there}/key", headers=cookie, data=form)).status == 422
    username, right = next(iter(seeds.CLICKSEND_API_KEYS.items()))
    form = {"csrf_token": token, "username": username, "api_key": right}
    answer = await client("POST", f"{there}/key", headers=cookie, data=form)
    assert answer.status == 403
    assert "Too many keys" in answer.text
    ended = await hosted.session(session.session_id)
    assert (ended.status, ended.error_code) == (SessionStatus.FAILED, "too_many_attempts")


@pytest.mark.parametrize("fault", [{"kind": "status", "status": 503}, {"kind": "drop_before"}])
async def test_a_provider_that_is_away_can_be_tried_again(
    hosted: Hosted, client: Client, fault: dict[str, object]
) -> None:
    """The form says so and stays, it is recorded, and the next try works."""
    _, link = await hosted.mint("clicksend")
    there, cookie = await client.opened(link)
    token = _token((await client("GET", there, headers=cookie)).text)
    username, key = next(iter(seeds.CLICKSEND_API_KEYS.items()))
    form = {"csrf_token": token, "username": username, "api_key": key}
    body = fault | {"provider": "clicksend"}
    assert (await client("POST", f"{hosted.sandbox.url}/_control/faults", json=body)).status == 201
    answer = await client("POST", f"{there}/key", headers=cookie, data=form)
    assert answer.status == 422
    assert "cannot be reached at the moment" in answer.text
    (event,) = await hosted.events("connect_session.refused")
    assert event.data["error"] == "provider_unavailable"
    await client("DELETE", f"{hosted.sandbox.url}/_control/faults")
    assert (await client("POST", f"{there}/key", headers=cookie, data=form)).status == 303


@pytest.mark.parametrize(("provider", "action"), [("discord", "key"), ("clicksend", "start")])
async def test_each_provider_has_its_own_way(
    hosted: Hosted, client: Client, provider: str, action: str
) -> None:
    """A key cannot be entered where there is consent to give, and the other way round."""
    there, cookie = await client.opened((await hosted.mint(provider))[1])
    token = _token((await client("GET", there, headers=cookie)).text)
    answer = await client("POST", f"{there}/{action}", headers=cookie, data={"csrf_token": token})
    assert answer.status == 400
    assert "<h1>This is not how the provider is connected</h1>" in answer.text


async def test_a_session_that_ended_says_so_in_every_browser(hosted: Hosted, client: Client) -> None:
    """Its cookie is gone by then, so the page must not blame the browser."""
    session, link = await hosted.mint()
    there, cookie = await client.opened(link)
    token = _token((await client("GET", there, headers=cookie)).text)
    answer = await client("POST", f"{there}/cancel", headers=cookie, data={"csrf_token": token})
    assert answer.status == 303
    assert "Max-Age=0" in answer.headers["Set-Cookie"]
    for headers in (cookie, {}):
        answer = await client("GET", there, headers=headers)
        assert answer.status == 410
        assert "<h1>This is already finished</h1>" in answer.text
    assert (await hosted.session(session.session_id)).error_code == "cancelled"


async def test_an_incomplete_registration_ends_the_session(hosted: Hosted, client: Client) -> None:
    """The person is told it is not their fault, and the application hears of it."""
    _, link = await hosted.mint()
    there, cookie = await client.opened(link)
    token = _token((await client("GET", there, headers=cookie)).text)
    async with hosted.rooms.database.environment(hosted.scene.environment_id) as transaction:
        config = await transaction.provider_configs.by_provider(hosted.scene.environment_id, "discord")
    assert config is not None
    await hosted.scene.change_config(config, client_id=None)
    answer = await client("POST", f"{there}/start", headers=cookie, data={"csrf_token": token})
    assert answer.status == 502
    assert "error=provider_config_incomplete" in answer.text
    (event,) = await hosted.events("connect_session.failed")
    assert event.data["error"] == "provider_config_incomplete"
