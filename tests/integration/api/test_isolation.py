"""A key of one environment reaches nothing of another, by whatever id and method."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from support.problems import is_problem

if TYPE_CHECKING:
    from conftest import Api


async def test_ids_of_another_environment_are_not_found(api: Api, other: Api) -> None:
    """Every route that takes an id answers 404 with them, and changes nothing."""
    config = await api.scene.config("discord")
    stored = await api.scene.connected(config)
    installation = await api.scene.installation(config)
    back = {"return_url": "https://app.example.com/connected"}
    session = await api.made(
        "/v1/connect-sessions",
        back | {"provider": "discord", "tenant_id": "org_acme", "user_id": "u", "kind": "connection"},
    )
    keys = (await api.get("/v1/api-keys")).json()["data"]
    event = (await api.events())[0]
    await other.made("/v1/provider-configs", other.config_body("discord"))
    objects: list[tuple[str, object, list[tuple[str, str, Any]]]] = [
        (
            "provider-configs",
            config.provider_config_id,
            [
                ("GET", "", None),
                ("PATCH", "", {"scopes": []}),
                ("DELETE", "", None),
                ("POST", "/enable", None),
                ("POST", "/disable", None),
                ("POST", "/check", None),
            ],
        ),
        (
            "connect-sessions",
            session["id"],
            [
                ("GET", "", None),
                ("POST", "/complete", {"completion_code": "x", "tenant_id": "org_acme", "user_id": "u"}),
            ],
        ),
        ("api-keys", keys[0]["id"], [("POST", "/revoke", None)]),
        ("events", event["id"], [("GET", "", None)]),
        ("environments", api.environment_id, [("GET", "", None), ("PATCH", "", {"origins": []})]),
        ("tenants", "org_acme", [("GET", "", None)]),
    ] + [
        (
            collection,
            identifier,
            [
                ("GET", "", None),
                ("PATCH", "", {"label": "x"}),
                ("POST", "/refresh", None),
                ("POST", "/reconnect", back),
                ("POST", "/disconnect", None),
            ],
        )
        for collection, identifier in (
            ("connections", stored.owner_id),
            ("installations", installation.installation_id),
        )
    ]
    document = (await api.get("/openapi.json")).json()
    with_ids = {
        (method.upper(), path)
        for path, operations in document["paths"].items()
        for method in operations
        if "{" in path and not path.startswith(("/v1/providers/", "/v1/tenants/"))
    }
    tried = 0
    for collection, identifier, calls in objects:
        for method, action, body in calls:
            arguments = {} if body is None else {"json": body}
            answer = await other.call(method, f"/v1/{collection}/{identifier}{action}", **arguments)
            is_problem(answer, 404, "not_found")
            tried += collection != "tenants"
    assert tried == len(with_ids)
    answer = await other.post(
        "/v1/credentials",
        {"installation_id": str(installation.installation_id), "kind": "webhook_secret", "secret": "x"},
    )
    is_problem(answer, 404, "not_found")
    for path in ("connections", "installations", "tenants"):
        assert (await other.get(f"/v1/{path}")).json()["data"] == []
    asked = {"provider": "discord", "tenant_id": "org_acme", "user_id": "user_123"}
    is_problem(await other.get("/v1/credentials", params=asked), 404, "not_connected")
    assert (await api.get("/v1/credentials", params=asked)).status_code == 200
    assert (await api.get("/v1/tenants")).status_code == 200
