"""Every wrong field is named with what would be accepted, and no value is ever repeated."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.problems import is_problem

if TYPE_CHECKING:
    from conftest import Api


async def test_every_wrong_field_is_told_at_once(api: Api) -> None:
    """Missing, unknown and of the wrong type, in one answer."""
    body = {"tenant_id": 7, "kind": "login", "return_url": None, "scopes": ["ok", 3], "colour": "red"}
    document = is_problem(await api.post("/v1/connect-sessions", body), 422, "invalid_input")
    told = {error["field"]: error["message"] for error in document["errors"]}
    assert told == {
        "provider": "is required",
        "tenant_id": "must be a string",
        "kind": "must be 'connection' or 'installation'",
        "return_url": "must be a string",
        "scopes[1]": "must be a string",
        "colour": "is not a known field",
    }
    assert document["detail"] == f"{document['field']} {told[document['field']]} (and 5 more)"


async def test_a_body_must_be_an_object(api: Api) -> None:
    """A list, a text, nothing."""
    for body in ([], "text", 7, None):
        document = is_problem(await api.post("/v1/connect-sessions", body), 422, "invalid_input")
        assert document["errors"][0]["field"] == "body"
    empty = await api.call("POST", "/v1/connect-sessions")
    assert is_problem(empty, 422, "invalid_input")["detail"] == "body is required"


async def test_no_value_is_repeated(api: Api) -> None:
    """Secrets of the wrong type, in the wrong place, too long: the answer has their names alone."""
    canary = "CANARY-7f3a"
    attempts = [
        ("/v1/provider-configs", {"provider": "discord", "client_secret": [canary]}),
        ("/v1/provider-configs", {"provider": "discord", "client_secret": {"value": canary}}),
        ("/v1/provider-configs", {"provider": "discord", "client_secret": canary * 2000}),
        ("/v1/provider-configs", {"provider": "discord", "secret": canary}),
        ("/v1/provider-configs", {"provider": canary}),
        ("/v1/provider-configs", {"provider": "discord", "scopes": canary}),
        ("/v1/provider-configs", {"provider": "discord", "scopes": [canary]}),
        ("/v1/provider-configs", {"provider": "discord", "attachment": canary}),
        ("/v1/provider-configs", {"provider": "discord", "enabled": canary}),
        ("/v1/provider-configs", {"provider": "discord", "base_url": f"ftp://{canary}"}),
        ("/v1/provider-configs", {"provider": "discord", "parameters": {"permissions": canary}}),
        ("/v1/credentials", {"provider": "clicksend", "tenant_id": canary + " x", "fields": canary}),
        ("/v1/credentials", {"provider": "clicksend", "tenant_id": "t", "fields": {"api_key": [canary]}}),
        ("/v1/credentials", {"installation_id": canary, "kind": canary, "secret": [canary]}),
        ("/v1/connect-sessions/00000000-0000-0000-0000-000000000000/complete", {"completion_code": [canary]}),
        (f"/v1/connect-sessions/{canary}/complete", {}),
        ("/v1/api-keys", {"name": [canary], "expires_in_s": canary}),
    ]
    for path, body in attempts:
        answer = await api.post(path, body)
        if path == "/v1/provider-configs" and body.get("provider") == canary:
            continue
        is_problem(answer, 422, "invalid_input")
        assert canary not in answer.text, body
    for query in ({"cursor": canary}, {"status": canary}, {"limit": canary}, {"installation_id": canary}):
        answer = await api.get("/v1/connections", params=query)
        is_problem(answer, 422, "invalid_input")
        assert canary not in answer.text


async def test_text_that_no_database_takes_is_refused_first(api: Api) -> None:
    """NUL and lone surrogates, in every kind of text field."""
    headers = {"Content-Type": "application/json"}
    for escape in (r"\u0000", r"\ud800"):
        for path, body in (
            ("/v1/api-keys", '{"name": "a%sb"}'),
            ("/v1/provider-configs", '{"provider": "discord", "client_id": "a%sb"}'),
            ("/v1/provider-configs", '{"provider": "discord", "client_secret": "a%sb"}'),
            ("/v1/provider-configs", '{"provider": "discord", "parameters": {"permissions": "a%sb"}}'),
            ("/v1/provider-configs", '{"provider": "discord", "parameters": {"a%sb": "1"}}'),
            ("/v1/provider-configs", '{"provider": "discord", "a%sb": "1"}'),
            ("/v1/credentials", '{"provider": "clicksend", "tenant_id": "t", "fields": {"a%sb": "1"}}'),
            ("/v1/credentials", '{"provider": "clicksend", "tenant_id": "a%sb", "fields": {}}'),
        ):
            answer = await api.call("POST", path, content=(body % escape).encode(), headers=headers)
            is_problem(answer, 422, "invalid_input")


async def test_what_is_sent_twice_over_is_bounded(api: Api) -> None:
    """A thousand wrong fields do not make a thousand lines."""
    document = is_problem(
        await api.post("/v1/api-keys", {f"field_{number}": 1 for number in range(1000)}), 422, "invalid_input"
    )
    assert len(document["errors"]) == 50
