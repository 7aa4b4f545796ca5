"""What a caller causes is on record with the caller, also where somebody else carries it out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from authpipe.sandbox import seeds
from support.problems import is_problem

if TYPE_CHECKING:
    from conftest import Api

USERNAME = seeds.CLICKSEND_PEOPLE[0].username
KEY = seeds.CLICKSEND_API_KEYS[USERNAME]


async def test_whoever_wanted_a_refresh_is_on_record(api: Api) -> None:
    """The refresh itself is a worker's; the wish is the key's, with request and address."""
    stored = await api.scene.connected(await api.scene.config())
    path = f"/v1/connections/{stored.owner_id}/refresh"
    assert (await api.post(path, headers={"X-Request-Id": "req-refresh"})).status_code == 200
    (event,) = await api.events("credential.refresh_requested")
    assert event["actor"]["kind"] == "api_key"
    assert (event["request_id"], event["source_address"]) == ("req-refresh", "127.0.0.1")
    assert event["object_id"] == str(stored.credential.credential_id)
    (done,) = await api.events("credential.refreshed")
    assert done["actor"]["kind"] == "worker"


async def test_a_guessed_completion_code_is_on_record(api: Api) -> None:
    """Each try, with the key it was made with; the session goes on."""
    await api.made("/v1/provider-configs", api.config_body("clicksend"))
    wish = {
        "provider": "clicksend",
        "tenant_id": "org_acme",
        "user_id": "user_123",
        "kind": "connection",
        "return_url": "https://app.example.com/connected",
    }
    session = await api.made("/v1/connect-sessions", wish)
    code = await api.by_key_form(session["url"], session["id"], {"username": USERNAME, "api_key": KEY})
    path = f"/v1/connect-sessions/{session['id']}/complete"
    body = {"completion_code": code, "tenant_id": "org_acme", "user_id": "user_123"}
    wrong = body | {"completion_code": "guessed"}
    is_problem(await api.post(path, wrong), 403, "completion_code_invalid")
    (event,) = await api.events("connect_session.refused")
    assert (event["data"]["error"], event["outcome"]) == ("completion_code_invalid", "failure")
    assert event["actor"]["kind"] == "api_key"
    assert "guessed" not in str(event)
    assert (await api.post(path, body)).status_code == 200
