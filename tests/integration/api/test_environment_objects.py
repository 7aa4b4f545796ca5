"""What belongs to an environment: its keys, its tenants, its events, itself; and the catalog of providers."""

from __future__ import annotations

import uuid
from datetime import timedelta
from ipaddress import ip_network
from typing import TYPE_CHECKING

import httpx2

from authpipe.access.key_text import new_key
from authpipe.api.application import build
from authpipe.server.proxies import ProxyAddresses
from authpipe.server.services import api_services
from support.problems import is_invalid, is_problem

if TYPE_CHECKING:
    from conftest import Api


async def test_a_key_is_shown_once_and_can_be_ended(api: Api) -> None:
    """Its text is in the answer that makes it and works; afterwards only the prefix is told."""
    made = await api.made("/v1/api-keys", {"name": "backend", "expires_in_s": 3600})
    text = made.pop("key")
    assert text.startswith(made["prefix"] + "_")
    assert made["expires_at"] == "2026-05-17T13:00:00Z"
    assert (await api.get("/v1/tenants", key=text)).status_code == 200
    listed = (await api.get("/v1/api-keys")).json()["data"]
    assert [key["name"] for key in listed] == ["test", "backend"]
    assert "key" not in listed[1]
    assert text not in str(listed)
    for _ in range(2):
        revoked = (await api.post(f"/v1/api-keys/{made['id']}/revoke")).json()
        assert revoked["revoked_at"] == "2026-05-17T12:00:00Z"
    is_problem(await api.get("/v1/tenants", key=text), 401, "unauthenticated")
    assert len(await api.events("api_key.revoked")) == 1
    is_problem(await api.post(f"/v1/api-keys/{uuid.uuid4()}/revoke"), 404, "not_found")


async def test_a_key_is_of_the_role_that_was_asked_for(api: Api) -> None:
    """And of the tenant; one that asks for nothing is a server's, for the whole environment."""
    plain = await api.made("/v1/api-keys", {"name": "plain"})
    assert (plain["role"], plain["tenant_id"], plain["replaced_by"]) == ("server", None, None)
    made = await api.made("/v1/api-keys", {"name": "a", "role": "viewer", "tenant_id": "org_acme"})
    assert (made["role"], made["tenant_id"]) == ("viewer", "org_acme")
    listed = (await api.get("/v1/api-keys")).json()["data"]
    assert [(key["role"], key["tenant_id"]) for key in listed] == [
        ("admin", None),
        ("server", None),
        ("viewer", "org_acme"),
    ]


async def test_a_key_is_replaced_with_an_overlap(api: Api) -> None:
    """Both are good until it is over; a second successor there is not."""
    made = await api.made("/v1/api-keys", {"name": "backend", "role": "viewer", "expires_in_s": 10 * 86_400})
    headers = {"Idempotency-Key": "rotate-1"}
    path = f"/v1/api-keys/{made['id']}/rotate"
    new = await api.made(path, {"overlap_s": 60}, headers=headers)
    assert (new["name"], new["role"], new["expires_at"]) == ("backend", "viewer", "2026-05-27T12:00:00Z")
    assert (await api.made(path, {"overlap_s": 60}, headers=headers))["key"] == new["key"]
    old = next(key for key in (await api.get("/v1/api-keys")).json()["data"] if key["id"] == made["id"])
    assert (old["replaced_by"], old["expires_at"]) == (new["id"], "2026-05-17T12:01:00Z")
    for key in (made["key"], new["key"]):
        assert (await api.get("/v1/tenants", key=key)).status_code == 200
    is_problem(await api.post(path), 409, "api_key_replaced")
    api.clock.advance(timedelta(seconds=60))
    is_problem(await api.get("/v1/tenants", key=made["key"]), 401, "unauthenticated")
    assert (await api.get("/v1/tenants", key=new["key"])).status_code == 200
    is_problem(await api.post(path), 409, "api_key_ended")
    is_problem(await api.post(f"/v1/api-keys/{uuid.uuid4()}/rotate"), 404, "not_found")
    is_invalid(await api.post(f"/v1/api-keys/{new['id']}/rotate", {"overlap_s": -1}), "overlap_s")
    is_invalid(await api.post(f"/v1/api-keys/{new['id']}/rotate", {"overlap_s": 31 * 86_400}), "overlap_s")
    assert (await api.post(f"/v1/api-keys/{new['id']}/rotate")).status_code == 201


async def test_unknown_keys_are_answered_with_429_after_a_while(api: Api) -> None:
    """With the seconds to wait, and without touching those whose key is good."""
    assert (await api.get("/v1/tenants")).status_code == 200
    answers = [await api.get("/v1/tenants", key=new_key().reveal()) for _ in range(25)]
    assert [answer.status_code for answer in answers] == [401] * 20 + [429] * 5
    problem = is_problem(answers[-1], 429, "rate_limited")
    assert answers[-1].headers["retry-after"] == "1"
    assert 0 < problem["retry_after_s"] <= 1
    assert (await api.get("/v1/tenants")).status_code == 200
    metrics = (await api.call("GET", "/metrics", key=None)).text
    assert 'authpipe_refused_requests_total{reason="limited"} 5.0' in metrics
    assert 'authpipe_refused_requests_total{reason="unknown"} 20.0' in metrics


async def test_the_use_of_a_key_is_noted(api: Api) -> None:
    """To the minute, and for the key that was used."""
    await api.get("/v1/tenants")
    await api.rooms.authenticator.close()
    assert (await api.get("/v1/api-keys")).json()["data"][0]["last_used_at"] == "2026-05-17T12:00:00Z"


async def test_a_bad_key_wish_is_refused(api: Api) -> None:
    """Names for people, seconds within ten years."""
    for body, field in (
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": " x "}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"name": "x", "role": "owner"}, "role"),
        ({"name": "x", "tenant_id": ""}, "tenant_id"),
        ({"name": "x", "expires_in_s": 0}, "expires_in_s"),
        ({"name": "x", "expires_in_s": 10**10}, "expires_in_s"),
        ({"name": "x", "expires_in_s": "60"}, "expires_in_s"),
        ({"name": "x", "environment_id": str(uuid.uuid4())}, "environment_id"),
    ):
        is_invalid(await api.post("/v1/api-keys", body), field)


async def test_a_key_knows_its_own_environment_alone(api: Api, other: Api) -> None:
    """It is the only one listed, and the only one that can be read or changed."""
    listed = (await api.get("/v1/environments")).json()["data"]
    assert [each["id"] for each in listed] == [str(api.environment_id)]
    path = f"/v1/environments/{api.environment_id}"
    assert (await api.get(path)).json() == listed[0]
    is_problem(await other.get(path), 404, "not_found")
    is_problem(await other.call("PATCH", path, json={"origins": []}), 404, "not_found")
    is_problem(await api.get(f"/v1/environments/{uuid.uuid4()}"), 404, "not_found")


async def test_allow_lists_are_replaced_whole(api: Api) -> None:
    """One list leaves the other; an entry that would be dangerous is named by its place."""
    path = f"/v1/environments/{api.environment_id}"
    urls = ["https://app.example.com/a", "https://app.example.com/b/*"]
    changed = (await api.call("PATCH", path, json={"return_urls": urls})).json()
    assert (changed["return_urls"], changed["origins"]) == (urls, ["https://app.example.com"])
    answer = await api.call(
        "PATCH", path, json={"return_urls": ["https://ok.example.com/", "http://x.example.com/"]}
    )
    assert "https://" in is_invalid(answer, "return_urls[1]")
    is_invalid(await api.call("PATCH", path, json={"origins": ["https://a.example.com/path"]}), "origins[0]")
    is_invalid(await api.call("PATCH", path, json={"name": "other"}), "name")
    assert (await api.get(path)).json() == changed
    assert len(await api.events("environment.updated")) == 1


async def test_tenants_are_named(api: Api) -> None:
    """Made by naming them, whatever their ids look like; listed in the order of their ids."""
    for tenant_id in ("org_b", "org%2Fwith%2Fslash", "org:1@x"):
        answer = await api.call("PUT", f"/v1/tenants/{tenant_id}", json={"name": "A name"})
        assert answer.status_code == 200, answer.text
    assert (await api.get("/v1/tenants/org%2Fwith%2Fslash")).json()["id"] == "org/with/slash"
    renamed = (await api.call("PUT", "/v1/tenants/org_b", json={"name": "B Ltd"})).json()
    assert (await api.get("/v1/tenants/org_b")).json() == renamed
    await api.call("PUT", "/v1/tenants/org_b", json={"name": "B Ltd"})
    assert len(await api.events("tenant.updated")) == 1
    assert len(await api.events("tenant.created")) == 3
    ids, cursor = [], None
    while True:
        page = (
            await api.get("/v1/tenants", params={"limit": 2} | ({"cursor": cursor} if cursor else {}))
        ).json()
        ids += [tenant["id"] for tenant in page["data"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert ids == sorted(["org/with/slash", "org:1@x", "org_acme", "org_b"])
    is_problem(await api.get("/v1/tenants/nobody"), 404, "not_found")
    is_invalid(await api.call("PUT", "/v1/tenants/a%20b", json={"name": None}), "tenant_id")
    is_invalid(await api.call("PUT", "/v1/tenants/%2A", json={"name": None}), "tenant_id")
    is_invalid(await api.call("PUT", "/v1/tenants/org_b", json={}), "name")
    is_invalid(await api.get("/v1/tenants", params={"cursor": "YWZ0ZXI6AA"}), "cursor")


async def test_events_are_read_newest_first(api: Api, other: Api) -> None:
    """By page, by type, by tenant and by object; another environment's are not there."""
    for name in ("one", "two", "three"):
        await api.call("PUT", "/v1/tenants/org_new", json={"name": name})
    await other.call("PUT", "/v1/tenants/org_new", json={"name": "other"})
    names = [event["data"]["name"] for event in await api.events() if event["tenant_id"] == "org_new"]
    assert names == ["three", "two", "one"]
    first = (await api.get("/v1/events", params={"tenant_id": "org_new", "limit": 2})).json()
    await api.call("PUT", "/v1/tenants/org_new", json={"name": "four"})
    query = {"tenant_id": "org_new", "limit": 2, "cursor": first["next_cursor"]}
    second = (await api.get("/v1/events", params=query)).json()
    assert [event["data"]["name"] for event in second["data"]] == ["one"]
    assert second["next_cursor"] is None
    by_object = (
        await api.get("/v1/events", params={"object_id": "org_new", "type": "tenant.created"})
    ).json()
    event = by_object["data"][0]
    assert (await api.get(f"/v1/events/{event['id']}")).json() == event
    assert event["actor"]["kind"] == "api_key"
    is_problem(await other.get(f"/v1/events/{event['id']}"), 404, "not_found")
    is_invalid(await api.get("/v1/events", params={"type": "tenant.exploded"}), "type")


async def test_providers_are_found(api: Api) -> None:
    """By words and category, page by page, with the names of their auth models."""
    everything = (await api.get("/v1/providers")).json()["data"]
    assert [each["id"] for each in everything] == ["aircall", "clicksend", "dialpad", "discord", "drift"]
    by_id = {each["id"]: each for each in everything}
    assert by_id["discord"]["auth_model_label"] == "Installation + User OAuth"
    assert by_id["discord"]["kinds"] == ["connection", "installation"]
    found = (await api.get("/v1/providers", params={"q": "disc"})).json()["data"]
    assert [each["id"] for each in found] == ["discord"]
    assert (await api.get("/v1/providers", params={"q": "nothing at all"})).json()["data"] == []
    first = (await api.get("/v1/providers", params={"limit": 3})).json()
    second = (await api.get("/v1/providers", params={"limit": 3, "cursor": first["next_cursor"]})).json()
    assert first["data"] + second["data"] == everything
    assert second["next_cursor"] is None
    categories = (await api.get("/v1/providers/categories")).json()["data"]
    assert sum(each["providers"] for each in categories) == 5
    in_one = (await api.get("/v1/providers", params={"category": categories[0]["id"]})).json()["data"]
    assert len(in_one) == categories[0]["providers"]
    is_invalid(await api.get("/v1/providers", params={"cursor": "YWZ0ZXI6bm9ib2R5"}), "cursor")


async def test_a_provider_tells_everything_a_developer_needs(api: Api) -> None:
    """Scopes with their meaning, set-up steps, key fields, parameters; an unknown one has close names."""
    discord = (await api.get("/v1/providers/discord")).json()
    scopes = {scope["name"]: scope for scope in discord["scopes"]}
    assert len(scopes) == 13
    assert scopes["bot"]["required"]
    assert all(scope["meaning"] for scope in scopes.values())
    assert discord["setup"]
    assert discord["app_credential"]["label"] == "Bot token"
    assert {each["name"] for each in discord["installation"]["parameters"]} >= {"permissions"}
    clicksend = (await api.get("/v1/providers/clicksend")).json()
    assert [each["secret"] for each in clicksend["connection"]["key_fields"]] == [False, True]
    assert (clicksend["needs_client"], clicksend["default_attachment"]) == (False, "tenant")
    document = is_problem(await api.get("/v1/providers/discrod"), 404, "not_found")
    assert "did you mean discord" in document["detail"]


async def test_the_limit_is_the_callers_and_not_the_proxys(api: Api) -> None:
    """Behind a trusted proxy each address it tells of has its own; what others told it does not count."""
    application = ProxyAddresses(build(api_services(api.rooms)), [ip_network("127.0.0.0/8")])
    transport = httpx2.ASGITransport(app=application, client=("127.0.0.1", 5))
    async with httpx2.AsyncClient(transport=transport, base_url="http://proxy.example") as proxy:

        async def status(forwarded: str) -> int:
            headers = {"Authorization": f"Bearer {new_key().reveal()}", "X-Forwarded-For": forwarded}
            return (await proxy.get("/v1/tenants", headers=headers)).status_code

        for number in range(20):
            assert await status(f"198.51.100.{number}, 203.0.113.7") == 401
        assert await status("198.51.100.200, 203.0.113.7") == 429
        assert await status("203.0.113.8") == 401
