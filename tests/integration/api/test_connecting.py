"""Connect sessions over HTTP: made, finished in a browser, confirmed by the application."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from authpipe.domain.credential import CredentialKind
from authpipe.sandbox import seeds
from support.problems import is_problem

if TYPE_CHECKING:
    from conftest import Api

USERNAME = seeds.CLICKSEND_PEOPLE[0].username
KEY = seeds.CLICKSEND_API_KEYS[USERNAME]


def wish(provider: str, **fields: Any) -> dict[str, Any]:
    """The body of a session."""
    return {
        "provider": provider,
        "tenant_id": "org_acme",
        "user_id": "user_123",
        "kind": "connection",
        "return_url": "https://app.example.com/connected",
    } | fields


async def test_a_connection_is_made_and_confirmed(api: Api) -> None:
    """From the session to the credential; the link is told once, the completion code works once."""
    await api.made("/v1/provider-configs", api.config_body("clicksend"))
    session = await api.made("/v1/connect-sessions", wish("clicksend", label="work"))
    assert session["url"].startswith("https://auth.example.com/connect/")
    assert (session["status"], session["connection"]) == ("pending", None)
    read = (await api.get(f"/v1/connect-sessions/{session['id']}")).json()
    assert read == session | {"url": None}
    code = await api.by_key_form(session["url"], session["id"], {"username": USERNAME, "api_key": KEY})
    path = f"/v1/connect-sessions/{session['id']}/complete"
    body = {"completion_code": code, "tenant_id": "org_acme", "user_id": "user_123"}
    is_problem(await api.post(path, body | {"completion_code": "wrong"}), 403, "completion_code_invalid")
    completed = (await api.post(path, body)).json()
    assert completed["status"] == "completed"
    connection = completed["connection"]
    assert (connection["provider"], connection["label"]) == ("clicksend", "work")
    is_problem(await api.post(path, body), 409, "session_completed")
    assert (await api.get(f"/v1/connect-sessions/{session['id']}")).json()["connection"] == connection
    got = (await api.get("/v1/credentials", params={"provider": "clicksend", "tenant_id": "org_acme"})).json()
    assert (got["credential"], got["connection_id"]) == (KEY, connection["id"])
    told = [answer for answer in api.answers if KEY in answer.text]
    assert [answer.request.url.path for answer in told] == ["/v1/credentials"]


async def test_another_user_cannot_finish(api: Api) -> None:
    """403, nothing connected, and the session is over for the right one as well."""
    await api.made("/v1/provider-configs", api.config_body("clicksend"))
    session = await api.made("/v1/connect-sessions", wish("clicksend"))
    code = await api.by_key_form(session["url"], session["id"], {"username": USERNAME, "api_key": KEY})
    path = f"/v1/connect-sessions/{session['id']}/complete"
    body = {"completion_code": code, "tenant_id": "org_acme", "user_id": "mallory"}
    is_problem(await api.post(path, body), 403, "completion_mismatch")
    is_problem(await api.post(path, body | {"user_id": "user_123"}), 409, "session_failed")
    assert (await api.get("/v1/connections")).json()["data"] == []
    assert (await api.get(f"/v1/connect-sessions/{session['id']}")).json()["error"] == "completion_mismatch"


async def test_a_session_that_nobody_opened_cannot_be_completed(api: Api) -> None:
    """It says that the browser is not back yet."""
    await api.made("/v1/provider-configs", api.config_body("clicksend"))
    session = await api.made("/v1/connect-sessions", wish("clicksend"))
    answer = await api.post(
        f"/v1/connect-sessions/{session['id']}/complete",
        {"completion_code": "x", "tenant_id": "org_acme", "user_id": "user_123"},
    )
    is_problem(answer, 409, "session_not_ready")


async def test_the_way_back_must_be_allowed(api: Api) -> None:
    """A return URL or popup origin that is not listed is refused with the remedy."""
    await api.made("/v1/provider-configs", api.config_body("discord"))
    for url in ("https://evil.example.com/", "https://app.example.com/other", "javascript:alert(1)"):
        document = is_problem(
            await api.post("/v1/connect-sessions", wish("discord", return_url=url)), 422, "invalid_input"
        )
        assert document["field"] == "return_url"
        assert "return_urls" in document["detail"]
    assert (await api.post("/v1/connect-sessions", wish("discord", return_mode="popup"))).status_code == 201
    path = f"/v1/environments/{api.environment_id}"
    assert (await api.call("PATCH", path, json={"origins": []})).status_code == 200
    document = is_problem(
        await api.post("/v1/connect-sessions", wish("discord", return_mode="popup")), 422, "invalid_input"
    )
    assert "origins" in document["detail"]


async def test_what_cannot_be_connected_is_refused(api: Api) -> None:
    """Each refusal has a code of its own, or names the field."""
    post, path = api.post, "/v1/connect-sessions"
    is_problem(await post(path, wish("discord")), 404, "not_found")
    is_problem(await post(path, wish("nothing")), 404, "not_found")
    await api.made("/v1/provider-configs", api.config_body("discord"))
    await api.made("/v1/provider-configs", api.config_body("dialpad", client_id=None, client_secret=None))
    is_problem(await post(path, wish("dialpad")), 409, "provider_config_incomplete")
    is_problem(await post(path, wish("dialpad", kind="installation")), 409, "unsupported_kind")
    for fields, field in (
        ({"user_id": None}, "user_id"),
        ({"scopes": ["bot"]}, "scopes[0]"),
        ({"kind": "installation", "connection_id": str(uuid.uuid4())}, "connection_id"),
    ):
        document = is_problem(await post(path, wish("discord", **fields)), 422, "invalid_input")
        assert document["field"] == field
    is_problem(await post(path, wish("discord", installation_id=str(uuid.uuid4()))), 404, "not_found")
    is_problem(await post(path, wish("discord", connection_id=str(uuid.uuid4()))), 404, "not_found")


async def test_a_repair_keeps_the_id(api: Api) -> None:
    """Through /reconnect or connection_id, the session knows what it repairs; an ended one cannot be."""
    config = await api.scene.config("discord")
    connection = await api.scene.connection(config, label="work")
    installation = await api.scene.installation(config)
    back = {"return_url": "https://app.example.com/connected"}
    session = await api.made(f"/v1/connections/{connection.connection_id}/reconnect", back)
    assert session["reconnect_id"] == str(connection.connection_id)
    assert (session["kind"], session["user_id"], session["label"]) == ("connection", "user_123", "work")
    assert session["url"]
    again = await api.made(
        "/v1/connect-sessions", wish("discord", connection_id=str(connection.connection_id))
    )
    assert again["reconnect_id"] == str(connection.connection_id)
    session = await api.made(
        f"/v1/installations/{installation.installation_id}/reconnect", back | {"user_id": "admin_1"}
    )
    assert (session["kind"], session["user_id"]) == ("installation", "admin_1")
    assert session["reconnect_id"] == str(installation.installation_id)
    again = await api.made(
        "/v1/connect-sessions",
        wish("discord", kind="installation", installation_id=str(installation.installation_id)),
    )
    assert again["reconnect_id"] == str(installation.installation_id)
    refused = await api.post(
        f"/v1/connections/{connection.connection_id}/reconnect", {"return_url": "https://evil.example.com/"}
    )
    is_problem(refused, 422, "invalid_input")
    await api.post(f"/v1/connections/{connection.connection_id}/disconnect")
    ended = await api.post(f"/v1/connections/{connection.connection_id}/reconnect", back)
    is_problem(ended, 409, "connection_ended")


async def test_a_key_is_stored_without_a_browser(api: Api) -> None:
    """It is tried first; a second one replaces it and keeps the connection's id."""
    await api.made("/v1/provider-configs", api.config_body("clicksend"))
    body = {
        "provider": "clicksend",
        "tenant_id": "org_acme",
        "fields": {"username": USERNAME, "api_key": KEY},
    }
    stored = await api.made("/v1/credentials", body)
    assert (stored["kind"], stored["installation"]) == ("basic", None)
    assert (await api.made("/v1/credentials", body))["connection"]["id"] == stored["connection"]["id"]
    got = (await api.get("/v1/credentials", params={"provider": "clicksend", "tenant_id": "org_acme"})).json()
    assert (got["credential"], got["connection_id"]) == (KEY, stored["connection"]["id"])
    for fields, field in (
        ({"username": USERNAME, "api_key": "CANARY-wrong"}, "fields"),
        ({"username": USERNAME}, "fields.api_key"),
        ({"username": USERNAME, "api_key": KEY, "colour": "CANARY"}, "fields.colour"),
    ):
        document = is_problem(
            await api.post("/v1/credentials", body | {"fields": fields}), 422, "invalid_input"
        )
        assert document["field"] == field
        assert "CANARY" not in str(document)
    await api.made("/v1/provider-configs", api.config_body("discord"))
    refused = await api.post("/v1/credentials", body | {"provider": "discord", "fields": {"api_key": "x"}})
    assert is_problem(refused, 422, "invalid_input")["field"] == "provider"


async def test_a_webhook_secret_is_kept_beside_an_installation(api: Api) -> None:
    """In place of an earlier one; it is asked for by its kind."""
    config = await api.scene.config("discord")
    installation = await api.scene.installation(config)
    await api.scene.bot(config, installation)
    for address in ("https://hooks.example.com/CANARY-1", "https://hooks.example.com/CANARY-2"):
        stored = await api.made(
            "/v1/credentials",
            {
                "installation_id": str(installation.installation_id),
                "kind": "webhook_secret",
                "secret": address,
            },
        )
        assert stored["kind"] == CredentialKind.WEBHOOK_SECRET
        assert stored["installation"]["id"] == str(installation.installation_id)
        assert "CANARY" not in str(stored)
    asked = {"provider": "discord", "tenant_id": "org_acme", "credential_for": "installation"}
    got = (await api.get("/v1/credentials", params=asked | {"kind": "webhook_secret"})).json()
    assert (got["credential"], got["headers"]) == ("https://hooks.example.com/CANARY-2", {})
    bot = (await api.get("/v1/credentials", params=asked)).json()
    assert bot["kind"] == "bot_token"
    detail = (await api.get(f"/v1/installations/{installation.installation_id}")).json()
    assert [each["kind"] for each in detail["credentials"]] == ["bot_token", "webhook_secret"]
    nobody = {"installation_id": str(uuid.uuid4()), "kind": "webhook_secret", "secret": "CANARY"}
    is_problem(await api.post("/v1/credentials", nobody), 404, "not_found")
