"""Aircall, ClickSend, Dialpad and Drift, each by its documented peculiarities."""

from __future__ import annotations

from typing import Any

import pytest

from authpipe.sandbox import seeds

AIRCALL = ("/aircall/oauth/authorize", "/aircall/v1/oauth/token")
DIALPAD = ("/dialpad/oauth2/authorize", "/dialpad/oauth2/token")
DRIFT = ("/drift/authorize", "/drift/oauth2/token")


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def test_aircall_gives_one_permanent_token(visitor: Any) -> None:
    """No expires_in, no refresh_token; it works years later and for its own company."""
    await visitor.register("aircall")
    code = await visitor.code("aircall", AIRCALL[0], scope="public_api", sandbox_user="grace")
    status, tokens = await visitor.exchange("aircall", AIRCALL[1], code)
    assert (status, set(tokens), tokens["token_type"]) == (200, {"access_token", "token_type"}, "Bearer")
    await visitor.control("POST", "/clock", {"advance_s": 3 * 365 * 86400})
    headers = bearer(tokens["access_token"])
    status, body, response = await visitor.call("GET", "/aircall/v1/ping", headers=headers)
    assert (status, body) == (200, {"ping": "pong"})
    assert "X-AircallApi-Remaining" in response.headers
    company = (await visitor.call("GET", "/aircall/v1/company", headers=headers))[1]["company"]
    assert company["name"] == "Compiler Crew Inc"


async def test_aircall_takes_json_but_no_basic_client_authentication(visitor: Any) -> None:
    """The client's credentials belong into the body."""
    await visitor.register("aircall")
    code = await visitor.code("aircall", AIRCALL[0], scope="public_api")
    body = {"grant_type": "authorization_code", "code": code, "redirect_uri": visitor.redirect_uri}
    client_id, secret = seeds.client_id("aircall"), seeds.client_secret("aircall")
    auth = (client_id, secret)
    assert (await visitor.call("POST", AIRCALL[1], json=body, auth=auth))[0] == 401
    body |= {"client_id": client_id, "client_secret": secret}
    assert (await visitor.call("POST", AIRCALL[1], json=body))[0] == 200


async def test_aircall_consent_is_for_admins(visitor: Any) -> None:
    """An agent sees no consent page and cannot post the form either."""
    await visitor.register("aircall")
    query = visitor.authorize_parameters("aircall", scope="public_api", sandbox_user="alan")
    assert (await visitor.call("GET", AIRCALL[0], params=query))[0] == 403
    form = await visitor.open_consent("aircall", AIRCALL[0], scope="public_api")
    assert (await visitor.submit(form, user="alan"))[0] == 403


async def test_aircall_tells_no_credential_from_a_dead_one(visitor: Any) -> None:
    """401 without, 403 with a wrong or revoked one."""
    await visitor.register("aircall")
    status, body, _ = await visitor.call("GET", "/aircall/v1/ping")
    assert (status, body) == (401, {"message": "Unauthorized"})
    status, body, _ = await visitor.call("GET", "/aircall/v1/ping", headers=bearer("wrong"))
    assert (status, body) == (403, {"message": "Forbidden"})
    code = await visitor.code("aircall", AIRCALL[0], scope="public_api")
    _, tokens = await visitor.exchange("aircall", AIRCALL[1], code)
    await visitor.control("POST", "/aircall/revoke", {"user": "ada"})
    headers = bearer(tokens["access_token"])
    assert (await visitor.call("GET", "/aircall/v1/company", headers=headers))[0] == 403


async def test_aircall_basic_pair_and_integration_switch(visitor: Any) -> None:
    """api_id:api_token reads company 1; its integration can be switched off and on."""
    auth = (seeds.AIRCALL_API_ID, seeds.AIRCALL_API_TOKEN)
    assert (await visitor.call("GET", "/aircall/v1/ping", auth=auth))[0] == 200
    wrong = (seeds.AIRCALL_API_ID, "wrong")
    assert (await visitor.call("GET", "/aircall/v1/ping", auth=wrong))[0] == 403
    _, body, _ = await visitor.call("POST", "/aircall/v1/integrations/disable", auth=auth)
    assert (body["integration"]["company_id"], body["integration"]["status"]) == (1, "inactive")
    await visitor.call("POST", "/aircall/v1/integrations/enable", auth=auth)
    _, body, _ = await visitor.call("GET", "/aircall/v1/integrations/me", auth=auth)
    assert body["integration"]["active"] is True


def clicksend(key: str = seeds.CLICKSEND_API_KEYS["ada@example.com"]) -> tuple[str, str]:
    return ("ada@example.com", key)


async def test_clicksend_account_by_username_and_key(visitor: Any) -> None:
    """The status is repeated in the body and the balance is a string."""
    status, body, _ = await visitor.call("GET", "/clicksend/v3/account", auth=clicksend())
    assert (status, body["http_code"], body["response_code"]) == (200, 200, "SUCCESS")
    assert (body["data"]["user_id"], body["data"]["balance"]) == (51001, "2.00")


async def test_clicksend_refuses_missing_and_wrong_keys(visitor: Any) -> None:
    """401 with the vendor's body."""
    for auth in (None, clicksend("wrong"), ("nobody", "x")):
        status, body, _ = await visitor.call("GET", "/clicksend/v3/account", auth=auth)
        assert (status, body["http_code"], body["response_code"]) == (401, 401, "UNAUTHORIZED")


async def test_clicksend_keys_are_regenerated_deleted_and_suspended(visitor: Any) -> None:
    """What the owner does in the dashboard."""
    answer = await visitor.control(
        "POST", "/clicksend/keys", {"action": "regenerate", "token_marker": "CANARY7"}
    )
    assert answer["api_key"].startswith("CANARY7")
    assert (await visitor.call("GET", "/clicksend/v3/account", auth=clicksend()))[0] == 401
    fresh = clicksend(answer["api_key"])
    assert (await visitor.call("GET", "/clicksend/v3/account", auth=fresh))[0] == 200
    await visitor.control("POST", "/clicksend/keys", {"action": "suspend"})
    status, body, _ = await visitor.call("GET", "/clicksend/v3/account", auth=fresh)
    assert (status, body["response_code"]) == (403, "FORBIDDEN")
    await visitor.control("POST", "/clicksend/keys", {"action": "resume"})
    await visitor.control("POST", "/clicksend/keys", {"action": "delete"})
    assert (await visitor.call("GET", "/clicksend/v3/account", auth=fresh))[0] == 401


async def dialpad_tokens(
    visitor: Any, scope: str | None = "offline_access", **parameters: str
) -> dict[str, Any]:
    await visitor.register("dialpad")
    code = await visitor.code("dialpad", DIALPAD[0], scope=scope, **parameters)
    status, tokens = await visitor.exchange("dialpad", DIALPAD[1], code)
    assert status == 200, tokens
    return dict(tokens)


async def test_dialpad_gives_a_refresh_token_only_for_offline_access(visitor: Any) -> None:
    """Basic access needs no scope and ends with its hour."""
    assert set(await dialpad_tokens(visitor, None)) == {"access_token", "token_type", "expires_in"}
    tokens = await dialpad_tokens(visitor)
    assert set(tokens) == {"access_token", "token_type", "expires_in", "refresh_token"}
    assert (tokens["token_type"], tokens["expires_in"]) == ("bearer", 3600)


async def test_dialpad_refresh_rotates(visitor: Any) -> None:
    """A new refresh token each time; the used one is invalid_grant."""
    tokens = await dialpad_tokens(visitor)
    grant = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
    status, fresh = await visitor.token("dialpad", DIALPAD[1], **grant)
    assert (status, fresh["refresh_token"] != tokens["refresh_token"]) == (200, True)
    status, body = await visitor.token("dialpad", DIALPAD[1], **grant)
    assert (status, body["error"]) == (400, "invalid_grant")


@pytest.mark.parametrize("method", ["S256", "plain"])
async def test_dialpad_takes_both_pkce_methods(visitor: Any, method: str) -> None:
    """And refuses the wrong verifier under either."""
    await visitor.register("dialpad")
    challenge = visitor.challenge if method == "S256" else visitor.verifier
    pkce = {"code_challenge": challenge, "code_challenge_method": method}
    code = await visitor.code("dialpad", DIALPAD[0], **pkce)
    assert (await visitor.exchange("dialpad", DIALPAD[1], code, code_verifier="w" * 43))[0] == 400
    assert (await visitor.exchange("dialpad", DIALPAD[1], code, code_verifier=visitor.verifier))[0] == 200


async def test_dialpad_deauthorize_ends_the_authorization(visitor: Any) -> None:
    """204, then every token is dead and a second call is 401."""
    tokens = await dialpad_tokens(visitor)
    headers = bearer(tokens["access_token"])
    assert (await visitor.call("POST", "/dialpad/oauth2/deauthorize", headers=headers))[0] == 204
    assert (await visitor.call("POST", "/dialpad/oauth2/deauthorize", headers=headers))[0] == 401
    assert (await visitor.call("GET", "/dialpad/api/v2/users/me", headers=headers))[0] == 401
    status, _ = await visitor.token(
        "dialpad", DIALPAD[1], grant_type="refresh_token", refresh_token=tokens["refresh_token"]
    )
    assert status == 400


async def test_dialpad_company_needs_an_admin(visitor: Any) -> None:
    """403 for a plain user whose token is fine."""
    ada = bearer((await dialpad_tokens(visitor))["access_token"])
    grace = bearer((await dialpad_tokens(visitor, sandbox_user="grace"))["access_token"])
    assert (await visitor.call("GET", "/dialpad/api/v2/company", headers=ada))[0] == 200
    assert (await visitor.call("GET", "/dialpad/api/v2/company", headers=grace))[0] == 403
    me = (await visitor.call("GET", "/dialpad/api/v2/users/me", headers=grace))[1]
    assert (me["id"], me["emails"]) == (5000000000000002, ["grace@example.com"])


async def drift_tokens(visitor: Any, **parameters: str) -> dict[str, Any]:
    code = await visitor.code("drift", DRIFT[0], **parameters)
    status, tokens = await visitor.token("drift", DRIFT[1], grant_type="authorization_code", code=code)
    assert status == 200, tokens
    return dict(tokens)


async def test_drift_exchange_and_rotating_refresh(visitor: Any) -> None:
    """Two hours, the org in the answer, no redirect_uri in the exchange."""
    await visitor.register("drift")
    tokens = await drift_tokens(visitor, sandbox_user="grace")
    assert set(tokens) == {"access_token", "refresh_token", "expires_in", "orgId"}
    assert (tokens["expires_in"], tokens["orgId"]) == (7200, 7102)
    grant = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
    assert (await visitor.token("drift", DRIFT[1], **grant))[0] == 200
    assert (await visitor.token("drift", DRIFT[1], **grant))[0] == 400


async def test_drift_token_info_and_users(visitor: Any) -> None:
    """created_at in milliseconds, the org behind the token, users only with user_read."""
    await visitor.register("drift")
    tokens = await drift_tokens(visitor)
    status, info, _ = await visitor.call(
        "POST", "/drift/app/token_info", json={"access_token": tokens["access_token"]}
    )
    assert (status, info["authenticated_userid"]) == (200, "orgId:7101")
    assert info["credential_id"] == seeds.client_id("drift")
    assert info["created_at"] > 10**12
    assert (await visitor.call("POST", "/drift/app/token_info", json={"access_token": "x"}))[0] == 401
    headers = bearer(tokens["access_token"])
    assert (await visitor.call("GET", "/drift/users/list", headers=headers))[1]["data"][0]["orgId"] == 7101
    await visitor.register("drift", scopes=["contact_read"])
    headers = bearer((await drift_tokens(visitor))["access_token"])
    assert (await visitor.call("GET", "/drift/users/list", headers=headers))[0] == 403


async def test_drift_uninstall_kills_the_token_and_keeps_the_secret_out_of_the_journal(visitor: Any) -> None:
    """The secret travels in the URL, so the journal drops the query."""
    await visitor.register("drift")
    headers = bearer((await drift_tokens(visitor))["access_token"])
    query = {"clientId": seeds.client_id("drift"), "clientSecret": "wrong"}
    assert (await visitor.call("POST", "/drift/app/uninstall", params=query, headers=headers))[0] == 401
    query["clientSecret"] = seeds.client_secret("drift")
    status, body, _ = await visitor.call("POST", "/drift/app/uninstall", params=query, headers=headers)
    assert (status, body) == (200, {"result": "OK", "ok": True})
    assert (await visitor.call("GET", "/drift/users/list", headers=headers))[0] == 401
    assert seeds.client_secret("drift") not in str(await visitor.control("GET", "/requests"))


async def test_drift_callback_quirk(visitor: Any) -> None:
    """Switched on, the second parameter hangs on a question mark."""
    await visitor.register(
        "drift", callback_joined_with_question_mark=True, redirect_uris=["http://127.0.0.1:8000/back"]
    )
    form = await visitor.open_consent(
        "drift", DRIFT[0], redirect_uri="http://127.0.0.1:8000/back", state="s1"
    )
    _, _, location = await visitor.submit(form)
    assert location.startswith("http://127.0.0.1:8000/back?code=")
    assert location.endswith("?state=s1")
    assert "&" not in location


@pytest.mark.parametrize(
    ("provider", "path", "scope"),
    [("aircall", AIRCALL[0], "public_api"), ("dialpad", DIALPAD[0], None), ("drift", DRIFT[0], None)],
)
async def test_small_providers_check_the_request_too(
    visitor: Any, provider: str, path: str, scope: str
) -> None:
    """Unknown client and unregistered redirect URI are pages; Cancel is a callback."""
    await visitor.register(provider)
    for wrong in ({"client_id": "x"}, {"redirect_uri": "http://evil.example/"}, {"response_type": "token"}):
        query = visitor.authorize_parameters(provider, **{"scope": scope, **wrong})
        status, _, response = await visitor.call("GET", path, params=query)
        assert (status, "Location" in response.headers) == (400, False)
    form = await visitor.open_consent(provider, path, scope=scope)
    _, _, location = await visitor.submit(form, "cancel")
    assert visitor.callback(location)["error"] == "access_denied"


@pytest.mark.parametrize(
    ("provider", "paths", "scope"), [("aircall", AIRCALL, "public_api"), ("drift", DRIFT, None)]
)
async def test_providers_without_pkce_take_no_notice_of_it(
    visitor: Any, provider: str, paths: tuple[str, str], scope: str | None
) -> None:
    """Neither the challenge nor a verifier that does not fit it matters."""
    await visitor.register(provider)
    pkce = {"code_challenge": visitor.challenge, "code_challenge_method": "S256"}
    code = await visitor.code(provider, paths[0], scope=scope, **pkce)
    assert (await visitor.exchange(provider, paths[1], code, code_verifier="w" * 43))[0] == 200
