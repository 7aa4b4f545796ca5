"""Provider configs: what may be set, what is refused and why, and that secrets never come back."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

from authpipe.sandbox import seeds
from support.problems import is_invalid, is_problem

if TYPE_CHECKING:
    from conftest import Api

SECRETS = (seeds.client_secret("discord"), seeds.DISCORD_BOT_TOKEN)


async def test_a_config_is_made_and_read(api: Api) -> None:
    """What was set comes back; of secrets only whether there are any; the redirect URI is its own."""
    made = await api.made(
        "/v1/provider-configs",
        api.config_body(
            "discord",
            scopes=["identify", "email"],
            installation_scopes=["bot"],
            parameters={"permissions": "2048"},
            attachment="user",
        ),
    )
    assert made["has_client_secret"]
    assert made["has_app_credential"]
    assert made["enabled"]
    assert made["redirect_uri"] == f"https://auth.example.com/oauth/callback/{made['id']}"
    assert (made["scopes"], made["installation_scopes"]) == (["identify", "email"], ["bot"])
    assert made["parameters"] == {"permissions": "2048"}
    assert (await api.get(f"/v1/provider-configs/{made['id']}")).json() == made
    assert (await api.get("/v1/provider-configs")).json()["data"] == [made]
    event = (await api.events("provider_config.created"))[0]
    assert event["object_id"] == made["id"]
    assert "client_secret" in event["data"]["set"]
    stored = await api.scene.stored_config(
        await api.rooms.connecting.provider_configs.get(api.environment_id, uuid.UUID(made["id"]))
    )
    assert stored.client_secret_ciphertext is not None
    assert seeds.client_secret("discord").encode() not in stored.client_secret_ciphertext
    told = "".join(answer.text for answer in api.answers)
    assert not any(secret in told for secret in SECRETS)


async def test_defaults_come_from_the_definition(api: Api) -> None:
    """A provider whose keys belong to the account gives connections to the tenant."""
    made = await api.made("/v1/provider-configs", api.config_body("clicksend"))
    assert made["attachment"] == "tenant"
    assert made["client_id"] is None


async def test_one_config_per_provider(api: Api, other: Api) -> None:
    """A second one is a conflict; another environment has its own."""
    await api.made("/v1/provider-configs", api.config_body("discord"))
    again = await api.post("/v1/provider-configs", api.config_body("discord"))
    is_problem(again, 409, "provider_config_exists")
    await other.made("/v1/provider-configs", api.config_body("discord"))


async def test_what_a_definition_does_not_know_is_refused(api: Api) -> None:
    """Each refusal names the field and what would be accepted."""
    post, path = api.post, "/v1/provider-configs"
    assert "did you mean discord" in is_invalid(await post(path, {"provider": "discrod"}), "provider")
    detail = is_invalid(await post(path, api.config_body("discord", scopes=["bot"])), "scopes[0]")
    assert "identify" in detail
    is_invalid(
        await post(path, api.config_body("discord", installation_scopes=["identify"])),
        "installation_scopes[0]",
    )
    is_invalid(await post(path, api.config_body("discord", scopes=["a b"])), "scopes[0]")
    detail = is_invalid(
        await post(path, api.config_body("discord", parameters={"colour": "red"})), "parameters.colour"
    )
    assert "permissions" in detail
    is_invalid(
        await post(path, api.config_body("discord", parameters={"permissions": "all"})),
        "parameters.permissions",
    )
    is_invalid(await post(path, api.config_body("clicksend", client_id="x")), "client_id")
    is_invalid(await post(path, api.config_body("clicksend", client_secret="CANARY-x")), "client_secret")
    is_invalid(await post(path, api.config_body("aircall", app_credential="CANARY-x")), "app_credential")
    is_invalid(await post(path, api.config_body("discord", client_secret="CANARY x")), "client_secret")
    assert "CANARY" not in "".join(answer.text for answer in api.answers)
    assert (await api.get(path)).json()["data"] == []


@pytest.mark.parametrize(
    "base_url",
    [
        "http://example.com",
        "https://10.0.0.1",
        "https://169.254.169.254/latest",
        "https://user:pw@example.com",
        "https://example.com/?a=b",
        "ftp://example.com",
        "https://",
        "nonsense",
        "http://0x7f000001",
    ],
)
async def test_a_base_url_must_lead_somewhere_public(api: Api, base_url: str) -> None:
    """Private and metadata addresses, plain HTTP and anything but scheme, host and path are refused."""
    body = api.config_body("clicksend") | {"base_url": base_url}
    is_invalid(await api.post("/v1/provider-configs", body), "base_url")


async def test_an_app_credential_the_provider_refuses_is_not_kept(api: Api) -> None:
    """It is tried first; a provider that is away is no reason to refuse it."""
    body = api.config_body("discord", app_credential="CANARY.wrong.token")
    detail = is_invalid(await api.post("/v1/provider-configs", body), "app_credential")
    assert "CANARY" not in detail
    assert (await api.get("/v1/provider-configs")).json()["data"] == []
    await api.made("/v1/provider-configs", body | {"base_url": "http://127.0.0.1:9/nobody"})


async def test_a_config_is_changed_field_by_field(api: Api) -> None:
    """What is left out stays, null empties, and the event names what changed."""
    made = await api.made("/v1/provider-configs", api.config_body("discord", scopes=["identify"]))
    path = f"/v1/provider-configs/{made['id']}"
    changed = (await api.call("PATCH", path, json={"scopes": ["identify", "guilds"]})).json()
    assert changed["scopes"] == ["identify", "guilds"]
    assert (changed["client_id"], changed["has_client_secret"]) == (made["client_id"], True)
    assert changed["version"] == made["version"] + 1
    emptied = (await api.call("PATCH", path, json={"scopes": None, "app_credential": None})).json()
    assert (emptied["scopes"], emptied["has_app_credential"]) == ([], False)
    events = await api.events("provider_config.updated")
    assert [event["data"]["changed"] for event in events] == [["app_credential", "scopes"], ["scopes"]]
    same = (await api.call("PATCH", path, json={"scopes": []})).json()
    assert same == emptied
    assert len(await api.events("provider_config.updated")) == 2


async def test_a_change_of_an_older_version_is_refused(api: Api) -> None:
    """Two operators cannot overwrite each other unseen."""
    made = await api.made("/v1/provider-configs", api.config_body("discord"))
    path = f"/v1/provider-configs/{made['id']}"
    first = await api.call("PATCH", path, json={"version": 1, "scopes": ["identify"]})
    assert first.status_code == 200
    second = await api.call("PATCH", path, json={"version": 1, "scopes": ["guilds"]})
    is_problem(second, 409, "version_conflict")


async def test_a_new_secret_closes_the_problem(api: Api) -> None:
    """And says so with an event; another change leaves the problem open."""
    config = await api.scene.config("discord")
    await api.scene.change_config(config, problem="invalid_client")
    path = f"/v1/provider-configs/{config.provider_config_id}"
    open_still = await api.call("PATCH", path, json={"scopes": ["identify"]})
    assert open_still.json()["problem"] == "invalid_client"
    closed = await api.call("PATCH", path, json={"client_secret": seeds.client_secret("discord")})
    assert closed.json()["problem"] is None
    assert [event["data"]["problem"] for event in await api.events("provider_config.recovered")] == [
        "invalid_client"
    ]


async def test_secrets_do_not_follow_to_another_address(api: Api) -> None:
    """A key that may change configs cannot have the stored secrets sent to a server of its choosing."""
    config = await api.scene.config("discord")
    path = f"/v1/provider-configs/{config.provider_config_id}"
    elsewhere = {"base_url": "http://127.0.0.1:9/elsewhere"}
    is_invalid(await api.call("PATCH", path, json=elsewhere), "client_secret")
    is_invalid(await api.call("PATCH", path, json=elsewhere | {"client_secret": "new"}), "app_credential")
    both = elsewhere | {"client_secret": "new", "app_credential": "new"}
    await api.scene.connected(config)
    is_problem(await api.call("PATCH", path, json=both), 409, "in_use")
    connections = (await api.get("/v1/connections")).json()["data"]
    await api.post(f"/v1/connections/{connections[0]['id']}/disconnect")
    moved = await api.call("PATCH", path, json=both)
    assert moved.json()["base_url"] == elsewhere["base_url"]


async def test_disabling_stops_everything_and_enabling_brings_it_back(api: Api) -> None:
    """Neither sessions nor credentials while it is disabled; twice is once."""
    config = await api.scene.config("discord")
    await api.scene.connected(config)
    path = f"/v1/provider-configs/{config.provider_config_id}"
    asked = {"provider": "discord", "tenant_id": "org_acme", "user_id": "user_123"}
    assert (await api.get("/v1/credentials", params=asked)).status_code == 200
    for _ in range(2):
        disabled = await api.post(f"{path}/disable")
        assert (disabled.status_code, disabled.json()["enabled"]) == (200, False)
    is_problem(await api.get("/v1/credentials", params=asked), 409, "provider_disabled")
    session = asked | {"kind": "connection", "return_url": "https://app.example.com/connected"}
    is_problem(await api.post("/v1/connect-sessions", session), 409, "provider_disabled")
    assert (await api.post(f"{path}/enable")).json()["enabled"] is True
    assert (await api.get("/v1/credentials", params=asked)).status_code == 200
    assert len(await api.events("provider_config.updated")) == 2


async def test_only_an_unused_config_is_deleted(api: Api) -> None:
    """204 and gone; 409 once anything was connected through it, even if that has ended."""
    made = await api.made("/v1/provider-configs", api.config_body("clicksend"))
    path = f"/v1/provider-configs/{made['id']}"
    gone = await api.call("DELETE", path)
    assert (gone.status_code, gone.content) == (204, b"")
    is_problem(await api.get(path), 404, "not_found")
    is_problem(await api.call("DELETE", path), 404, "not_found")
    assert [event["object_id"] for event in await api.events("provider_config.deleted")] == [made["id"]]
    config = await api.scene.config("discord")
    await api.scene.connection(config)
    used = await api.call("DELETE", f"/v1/provider-configs/{config.provider_config_id}")
    is_problem(used, 409, "in_use")


async def test_a_check_tells_how_the_app_credential_stands(api: Api) -> None:
    """Alive, or refused once the provider does; a config without one has nothing to check."""
    config = await api.scene.config("discord")
    path = f"/v1/provider-configs/{config.provider_config_id}"
    alive = (await api.post(f"{path}/check")).json()
    assert (alive["reading"], alive["reason"]) == ("alive", "ok")
    await api.call("PATCH", path, json={"app_credential": None})
    is_problem(await api.post(f"{path}/check"), 409, "nothing_to_check")
    away = await api.made(
        "/v1/provider-configs", api.config_body("aircall", base_url="http://127.0.0.1:9/nobody")
    )
    is_problem(await api.post(f"/v1/provider-configs/{away['id']}/check"), 409, "nothing_to_check")
