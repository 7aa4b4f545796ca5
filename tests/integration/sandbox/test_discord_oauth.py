"""Discord's authorization page, token endpoint and revocation, over HTTP."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from authpipe.sandbox import seeds

AUTHORIZE = "/discord/oauth2/authorize"
TOKEN = "/discord/api/oauth2/token"


@pytest.fixture(autouse=True)
async def registered(visitor: Any) -> None:
    await visitor.register("discord")


async def test_consent_returns_code_and_state_to_the_registered_uri(visitor: Any) -> None:
    """Clicking Authorize redirects with code and the exact state, keeping the URI's own query."""
    form = await visitor.open_consent("discord", AUTHORIZE, scope="identify guilds")
    status, _, location = await visitor.submit(form)
    assert status == 302
    parameters = visitor.callback(location)
    assert parameters["state"] == "st&te"
    assert parameters["keep"] == "1"
    assert set(parameters) == {"keep", "code", "state"}


async def test_token_response_has_exactly_the_documented_fields(visitor: Any) -> None:
    """A code grant answers the five documented fields, for seven days."""
    tokens = await visitor.discord_tokens("identify guilds")
    assert set(tokens) == {"access_token", "token_type", "expires_in", "refresh_token", "scope"}
    assert (tokens["token_type"], tokens["expires_in"]) == ("Bearer", 604800)
    assert tokens["scope"] == "identify guilds"
    assert len(tokens["access_token"]) == 30


async def test_cancel_reports_access_denied_with_state(visitor: Any) -> None:
    """Cancel redirects with error, description and state, and grants nothing."""
    form = await visitor.open_consent("discord", AUTHORIZE, scope="identify")
    status, _, location = await visitor.submit(form, "cancel")
    parameters = visitor.callback(location)
    assert status == 302
    assert (parameters["error"], parameters["state"]) == ("access_denied", "st&te")
    assert parameters["error_description"]
    assert (await visitor.control("GET", "/discord/tokens"))["tokens"] == []


async def test_a_form_cannot_be_answered_twice(visitor: Any) -> None:
    """The page's handle is single use."""
    form = await visitor.open_consent("discord", AUTHORIZE, scope="identify")
    assert (await visitor.submit(form))[0] == 302
    assert (await visitor.submit(form))[0] == 400


@pytest.mark.parametrize(
    "parameters",
    [
        {"client_id": "1"},
        {"client_id": None},
        {"redirect_uri": "http://127.0.0.1:8000/oauth/callback/one"},
        {"redirect_uri": "http://127.0.0.1:8000/oauth/callback/one?keep=1&x=2"},
        {"redirect_uri": None},
        {"scope": "identify everything"},
        {"scope": ""},
        {"scope": "applications.commands.update"},
        {"response_type": "token"},
        {"response_type": None},
        {"code_challenge": "c" * 43},
        {"code_challenge": "c" * 43, "code_challenge_method": "plain"},
        {"code_challenge": "short", "code_challenge_method": "S256"},
        {"code_challenge_method": "S256"},
        {"integration_type": "1"},
        {"permissions": "-1"},
        {"prompt": "login"},
        {"sandbox_user": "nobody"},
    ],
)
async def test_a_bad_request_is_an_error_page_and_no_redirect(
    visitor: Any, parameters: dict[str, str]
) -> None:
    """Whatever is wrong is shown to the person, who is not sent anywhere."""
    query = visitor.authorize_parameters("discord", **{"scope": "identify", **parameters})
    status, page, response = await visitor.call("GET", AUTHORIZE, params=query)
    assert status == 400
    assert "Location" not in response.headers
    assert "Error" in visitor.text_of(page)


async def test_request_parameters_are_escaped_in_the_page(visitor: Any) -> None:
    """Nothing a link carries becomes markup."""
    query = visitor.authorize_parameters("discord", scope="<script>alert(1)</script>")
    _, page, response = await visitor.call("GET", AUTHORIZE, params=query)
    assert "<script" not in page
    assert "frame-ancestors 'none'" in response.headers["Content-Security-Policy"]


async def test_a_code_works_once(visitor: Any) -> None:
    """A code presented again is invalid_grant."""
    code = await visitor.code("discord", AUTHORIZE, scope="identify")
    assert (await visitor.exchange("discord", TOKEN, code))[0] == 200
    status, body = await visitor.exchange("discord", TOKEN, code)
    assert (status, body["error"]) == (400, "invalid_grant")


async def test_a_code_is_bound_to_its_redirect_uri(visitor: Any) -> None:
    """Another redirect_uri, or none, is invalid_grant and leaves the code good."""
    code = await visitor.code("discord", AUTHORIZE, scope="identify")
    status, body = await visitor.exchange("discord", TOKEN, code, redirect_uri="http://127.0.0.1/other")
    assert (status, body["error"]) == (400, "invalid_grant")
    assert (await visitor.exchange("discord", TOKEN, code))[0] == 200


async def test_a_code_dies_after_ten_minutes(visitor: Any) -> None:
    """The simulator's clock, moved by the control API, ends it."""
    code = await visitor.code("discord", AUTHORIZE, scope="identify")
    await visitor.control("POST", "/clock", {"advance_s": 601})
    status, body = await visitor.exchange("discord", TOKEN, code)
    assert (status, body["error"]) == (400, "invalid_grant")


@pytest.mark.parametrize(
    ("verifier", "expected"),
    [
        ("v" * 43, (200, None)),
        ("w" * 43, (400, "invalid_grant")),
        ("v" * 42, (400, "invalid_request")),
        (None, (400, "invalid_grant")),
    ],
)
async def test_pkce_wants_the_verifier_of_the_challenge(
    visitor: Any, verifier: str | None, expected: tuple[int, str | None]
) -> None:
    """S256 with a verifier of at least 43 characters; anything else is refused."""
    code = await visitor.code(
        "discord", AUTHORIZE, scope="identify", code_challenge=visitor.challenge, code_challenge_method="S256"
    )
    form = {} if verifier is None else {"code_verifier": verifier}
    status, body = await visitor.exchange("discord", TOKEN, code, **form)
    assert (status, body.get("error")) == expected


async def test_a_verifier_without_a_challenge_is_refused(visitor: Any) -> None:
    """A stripped challenge does not go unnoticed."""
    code = await visitor.code("discord", AUTHORIZE, scope="identify")
    status, body = await visitor.exchange("discord", TOKEN, code, code_verifier=visitor.verifier)
    assert (status, body["error"]) == (400, "invalid_grant")


async def test_refresh_rotates_and_a_used_refresh_token_is_dead(visitor: Any) -> None:
    """The answer to the used token is the one Discord documents, word for word."""
    tokens = await visitor.discord_tokens()
    status, fresh = await visitor.refresh(tokens["refresh_token"])
    assert status == 200
    assert fresh["refresh_token"] != tokens["refresh_token"]
    assert fresh["access_token"] != tokens["access_token"]
    assert fresh["scope"] == "identify"
    assert await visitor.refresh(tokens["refresh_token"]) == (
        400,
        {"error": "invalid_grant", "error_description": 'Invalid "refresh_token" in request'},
    )
    assert (await visitor.refresh(fresh["refresh_token"]))[0] == 200


async def test_client_authentication_in_header_or_body(visitor: Any) -> None:
    """Basic works like the body; a wrong secret is 401 invalid_client, whatever the grant."""
    tokens = await visitor.discord_tokens()
    form = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
    client_id, secret = seeds.client_id("discord"), seeds.client_secret("discord")
    bad = (client_id, "wrong")
    status, body, _ = await visitor.call("POST", TOKEN, data=form, auth=bad)
    assert (status, body["error"]) == (401, "invalid_client")
    status, body, _ = await visitor.call("POST", TOKEN, data=form, auth=(client_id, secret))
    assert status == 200


async def test_json_is_refused_at_the_token_endpoint(visitor: Any) -> None:
    """Form encoding only."""
    form = {
        "client_id": seeds.client_id("discord"),
        "client_secret": seeds.client_secret("discord"),
        "grant_type": "client_credentials",
        "scope": "identify",
    }
    assert (await visitor.call("POST", TOKEN, json=form))[0] == 400
    assert (await visitor.call("POST", TOKEN, data=form))[0] == 200


async def test_client_credentials_act_for_the_owner_without_refresh_token(visitor: Any) -> None:
    """The token reads the application owner's profile."""
    status, tokens = await visitor.token(
        "discord", TOKEN, grant_type="client_credentials", scope="identify applications.commands.update"
    )
    assert status == 200
    assert "refresh_token" not in tokens
    assert (await visitor.discord("/users/@me", tokens["access_token"]))[1]["username"] == "ada"


async def test_revoking_one_token_kills_every_token_of_user_and_application(visitor: Any) -> None:
    """Two connections of the same account die together; another user's lives on."""
    first = await visitor.discord_tokens("identify")
    second = await visitor.discord_tokens("identify guilds")
    other = await visitor.discord_tokens("identify", sandbox_user="grace")
    status, body = await visitor.token(
        "discord", "/discord/api/oauth2/token/revoke", token=first["refresh_token"]
    )
    assert (status, body) == (200, {})
    for tokens in (first, second):
        assert (await visitor.discord("/users/@me", tokens["access_token"]))[0] == 401
        assert (await visitor.refresh(tokens["refresh_token"]))[0] == 400
    assert (await visitor.discord("/users/@me", other["access_token"]))[0] == 200


async def test_a_new_consent_after_revocation_works(visitor: Any) -> None:
    """Reconnecting gives tokens that are not touched by the old revocation."""
    tokens = await visitor.discord_tokens()
    assert await visitor.control("POST", "/discord/revoke", {"user": "ada"}) == {"revoked": 1}
    assert (await visitor.discord("/oauth2/@me", tokens["access_token"]))[0] == 401
    tokens = await visitor.discord_tokens()
    assert (await visitor.discord("/oauth2/@me", tokens["access_token"]))[0] == 200


async def test_access_tokens_expire_by_the_application_lifetime(visitor: Any) -> None:
    """token_lifetime_s sets expires_in and the end itself; the refresh token survives it."""
    await visitor.register("discord", token_lifetime_s=60)
    tokens = await visitor.discord_tokens()
    assert tokens["expires_in"] == 60
    await visitor.control("POST", "/clock", {"advance_s": 61})
    assert (await visitor.discord("/oauth2/@me", tokens["access_token"]))[0] == 401
    assert (await visitor.refresh(tokens["refresh_token"]))[0] == 200


async def test_prompt_none_skips_the_page_only_for_scopes_granted_before(visitor: Any) -> None:
    """Before the consent, for more scopes, and for another user, the page comes."""
    query = visitor.authorize_parameters("discord", scope="identify", prompt="none")
    assert (await visitor.call("GET", AUTHORIZE, params=query))[0] == 200
    await visitor.discord_tokens("identify")
    assert (await visitor.call("GET", AUTHORIZE, params=query))[0] == 302
    wider = {**query, "scope": "identify email"}
    assert (await visitor.call("GET", AUTHORIZE, params=wider))[0] == 200
    other = {**query, "sandbox_user": "grace"}
    assert (await visitor.call("GET", AUTHORIZE, params=other))[0] == 200


async def test_prompt_none_never_skips_a_bot_or_webhook(visitor: Any) -> None:
    """Installing again shows the page again."""
    await visitor.discord_tokens("bot identify webhook.incoming")
    for scope in ("bot", "webhook.incoming"):
        query = visitor.authorize_parameters("discord", scope=scope, prompt="none")
        assert (await visitor.call("GET", AUTHORIZE, params=query))[0] == 200


async def test_the_cookie_remembers_who_is_signed_in(visitor: Any) -> None:
    """Having switched to grace once, the next page is hers."""
    await visitor.open_consent("discord", AUTHORIZE, scope="identify", sandbox_user="grace")
    form = await visitor.open_consent("discord", AUTHORIZE, scope="identify")
    assert dict(form.fields)["user"] == "grace"


async def test_a_marker_stands_in_everything_issued(visitor: Any) -> None:
    """Canary searches find codes, tokens and webhook tokens by it."""
    await visitor.register("discord", token_marker="CANARY7")
    code = await visitor.code("discord", AUTHORIZE, scope="webhook.incoming")
    _, tokens = await visitor.exchange("discord", TOKEN, code)
    for secret in (code, tokens["access_token"], tokens["refresh_token"], tokens["webhook"]["token"]):
        assert secret.startswith("CANARY7")


async def test_errors_of_the_token_endpoint_are_oauth_errors(visitor: Any) -> None:
    """Unknown grants and scopes, repeated parameters."""
    status, body = await visitor.token("discord", TOKEN, grant_type="password")
    assert (status, body["error"]) == (400, "unsupported_grant_type")
    status, body = await visitor.token("discord", TOKEN, grant_type="client_credentials", scope="bot")
    assert (status, body["error"]) == (400, "invalid_scope")
    doubled = aiohttp.FormData([("grant_type", "refresh_token"), ("grant_type", "client_credentials")])
    status, body, _ = await visitor.call("POST", TOKEN, data=doubled)
    assert (status, body["error"]) == (400, "invalid_request")
