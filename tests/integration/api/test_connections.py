"""Connections and installations: found, changed, refreshed and ended over HTTP."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from authpipe.domain.connection import ConnectionStatus, InstallationStatus
from authpipe.domain.credential import CredentialKind
from authpipe.sandbox import seeds
from support.problems import is_problem

if TYPE_CHECKING:
    from conftest import Api


async def _pages(api: Api, path: str, **query: Any) -> list[list[str]]:
    pages, cursor = [], None
    while True:
        answer = await api.get(path, params=query | ({"cursor": cursor} if cursor else {}))
        assert answer.status_code == 200, answer.text
        pages.append([each["id"] for each in answer.json()["data"]])
        cursor = answer.json()["next_cursor"]
        if cursor is None:
            return pages


async def test_pages_hold_everything_once_whatever_happens_between(api: Api) -> None:
    """Additions and disconnections between two pages move nothing."""
    config = await api.scene.config("discord")
    made = [
        str((await api.scene.connection(config, user_id=f"user_{number}")).connection_id)
        for number in range(7)
    ]
    first = (await api.get("/v1/connections", params={"limit": 3})).json()
    assert [each["id"] for each in first["data"]] == made[:3]
    await api.post(f"/v1/connections/{made[1]}/disconnect")
    await api.post(f"/v1/connections/{made[4]}/disconnect")
    late = str((await api.scene.connection(config, user_id="late")).connection_id)
    rest, cursor = [], first["next_cursor"]
    while cursor:
        page = (await api.get("/v1/connections", params={"limit": 3, "cursor": cursor})).json()
        rest += [each["id"] for each in page["data"]]
        cursor = page["next_cursor"]
    assert [*made[:3], *rest] == [*made, late]
    assert [len(page) for page in await _pages(api, "/v1/connections", limit=4)] == [4, 4]
    assert [len(page) for page in await _pages(api, "/v1/connections")] == [8]


async def test_filters_all_apply(api: Api) -> None:
    """By tenant, user, provider, status and installation, alone and together."""
    await api.scene.tenant("org_b")
    discord, dialpad = await api.scene.config("discord"), await api.scene.config("dialpad")
    installation = await api.scene.installation(discord)
    one = await api.scene.connection(discord, installation_id=installation.installation_id)
    two = await api.scene.connection(dialpad, status=ConnectionStatus.NEEDS_REAUTH, status_reason="revoked")
    three = await api.scene.connection(discord, tenant_id="org_b", user_id="user_9")
    ids = {connection.connection_id: str(connection.connection_id) for connection in (one, two, three)}

    async def found(**query: Any) -> set[str]:
        return {each for page in await _pages(api, "/v1/connections", **query) for each in page}

    one_id, two_id, three_id = ids.values()
    assert await found(tenant_id="org_acme") == {one_id, two_id}
    assert await found(user_id="user_9") == {three_id}
    assert await found(provider="discord") == {one_id, three_id}
    assert await found(status="needs_reauth") == {two_id}
    assert await found(installation_id=str(installation.installation_id)) == {one_id}
    assert await found(tenant_id="org_acme", provider="discord") == {one_id}
    assert await found(tenant_id="org_acme", user_id="user_9") == set()
    listed = await _pages(api, "/v1/installations", provider="discord", status="active", tenant_id="org_acme")
    assert listed == [[str(installation.installation_id)]]
    assert await _pages(api, "/v1/installations", status="deleted") == [[]]


async def test_bad_filters_are_named(api: Api) -> None:
    """A cursor no answer held, a limit out of range, an unknown status, a filter there is not."""
    for query, field in (
        ({"cursor": "nonsense"}, "cursor"),
        ({"cursor": "YWZ0ZXI6bm8tdXVpZA"}, "cursor"),
        ({"limit": "0"}, "limit"),
        ({"limit": "201"}, "limit"),
        ({"limit": "many"}, "limit"),
        ({"status": "broken"}, "status"),
        ({"tenant_id": "a b"}, "tenant_id"),
        ({"tenant_id": "*"}, "tenant_id"),
        ({"provider": "dis\x00cord"}, "provider"),
        ({"colour": "red"}, "colour"),
    ):
        document = is_problem(await api.get("/v1/connections", params=query), 422, "invalid_input")
        assert document["field"] == field
        if field != "cursor":
            assert document["errors"][0]["field"] == field
    is_problem(await api.get("/v1/connections/not-an-id"), 422, "invalid_input")


async def test_a_connection_shows_its_credentials_without_secrets(api: Api) -> None:
    """When it expires, what kind it is, when it was refreshed."""
    config = await api.scene.config("discord")
    stored = await api.scene.connected(config)
    detail = (await api.get(f"/v1/connections/{stored.owner_id}")).json()
    assert detail["credential_expires_at"] == "2026-05-17T13:00:00Z"
    facts = detail["credentials"][0]
    assert (facts["kind"], facts["version"]) == ("oauth_token", 1)
    assert facts["credential_id"] == str(stored.credential.credential_id)
    assert stored.issued.access_token not in str(detail)


async def test_labels_and_the_primary_mark_are_changed(api: Api) -> None:
    """One primary among a user's connections; a label only once; what changes nothing leaves no event."""
    config = await api.scene.config("discord")
    one = await api.scene.connection(config, label="one", is_primary=True)
    two = await api.scene.connection(config, label="two")
    path = f"/v1/connections/{two.connection_id}"
    changed = (await api.call("PATCH", path, json={"label": "zwei", "is_primary": True})).json()
    assert (changed["label"], changed["is_primary"]) == ("zwei", True)
    assert (await api.get(f"/v1/connections/{one.connection_id}")).json()["is_primary"] is False
    is_problem(await api.call("PATCH", path, json={"label": "one"}), 409, "label_taken")
    assert (await api.call("PATCH", path, json={"label": None})).json()["label"] is None
    assert (await api.call("PATCH", path, json={})).status_code == 200
    told = await api.events("connection.updated")
    assert [event["object_id"] for event in told].count(str(two.connection_id)) == 2
    [lost] = [event for event in told if event["object_id"] == str(one.connection_id)]
    assert lost["data"]["is_primary"] is False, "the mark that was taken away is told as well"
    for body, field in (
        ({"label": ""}, "label"),
        ({"label": "a\nb"}, "label"),
        ({"is_primary": "yes"}, "is_primary"),
        ({"is_primary": None}, "is_primary"),
        ({"status": "active"}, "status"),
    ):
        assert is_problem(await api.call("PATCH", path, json=body), 422, "invalid_input")["field"] == field
    await api.post(f"{path}/disconnect")
    is_problem(await api.call("PATCH", path, json={"label": "x"}), 409, "connection_ended")


async def test_installations_are_changed_and_ended(api: Api) -> None:
    """Their own primary mark; disconnecting removes the app at the provider and the credentials here."""
    config = await api.scene.config("discord")
    one = await api.scene.installation(config, is_primary=True)
    two = await api.scene.installation(
        config, external_id=seeds.DISCORD_GUILDS[1].id, external_name="Compiler Crew"
    )
    await api.scene.bot(config, two)
    path = f"/v1/installations/{two.installation_id}"
    changed = (await api.call("PATCH", path, json={"label": "crew", "is_primary": True})).json()
    assert (changed["label"], changed["is_primary"]) == ("crew", True)
    assert (await api.get(f"/v1/installations/{one.installation_id}")).json()["is_primary"] is False
    is_problem(await api.post(f"{path}/refresh"), 409, "not_refreshable")
    for _ in range(2):
        ended = (await api.post(f"{path}/disconnect")).json()
        assert (ended["status"], ended["credentials"]) == (InstallationStatus.DELETED, [])
    assert len(await api.events("installation.deleted")) == 1
    is_problem(await api.call("PATCH", path, json={"label": "x"}), 409, "installation_ended")
    is_problem(await api.post(f"{path}/refresh"), 409, "installation_ended")


async def test_a_credential_is_refreshed_now(api: Api) -> None:
    """One call to the provider, a new expiry in the answer, the new secret afterwards."""
    config = await api.scene.config("discord")
    stored = await api.scene.connected(config)
    refreshed = (await api.post(f"/v1/connections/{stored.owner_id}/refresh")).json()
    assert refreshed["credentials"][0]["version"] == 2
    assert refreshed["credential_expires_at"] > "2026-05-17T13:00:00Z"
    assert len(api.scene.refreshes()) == 1
    asked = {"provider": "discord", "tenant_id": "org_acme", "user_id": "user_123"}
    got = (await api.get("/v1/credentials", params=asked)).json()
    assert got["version"] == 2
    assert api.scene.works(got["credential"])
    assert got["credential"] != stored.issued.access_token


async def test_what_cannot_be_refreshed_says_so(api: Api) -> None:
    """Nothing to refresh is a conflict, a refused refresh token means reauthorizing, with the ids for it."""
    config = await api.scene.config("discord")
    bare = await api.scene.connection(config, user_id="bare")
    is_problem(await api.post(f"/v1/connections/{bare.connection_id}/refresh"), 409, "not_refreshable")
    stored = await api.scene.connected(config)
    api.sandbox.state.ledgers["discord"].revoke()
    for _ in range(2):
        document = is_problem(
            await api.post(f"/v1/connections/{stored.owner_id}/refresh"), 409, "reauthorization_required"
        )
        assert (document["reason"], document["connection_id"]) == ("revoked", str(stored.owner_id))
    assert len(api.scene.refreshes()) == 1
    asked = {"provider": "discord", "tenant_id": "org_acme", "user_id": "user_123"}
    is_problem(await api.get("/v1/credentials", params=asked), 409, "reauthorization_required")


async def test_a_provider_that_is_away_is_told_as_such(api: Api) -> None:
    """503 with the seconds to wait, in the document and the header; the connection is not condemned."""
    config = await api.scene.config("discord", base_url="http://127.0.0.1:9/nobody")
    stored = await api.scene.connected(config)
    answer = await api.post(f"/v1/connections/{stored.owner_id}/refresh")
    document = is_problem(answer, 503, "provider_unavailable")
    assert int(answer.headers["retry-after"]) >= document["retry_after_s"] > 0
    assert (await api.get(f"/v1/connections/{stored.owner_id}")).json()["status"] == "active"


async def test_disconnecting_revokes_and_destroys(api: Api) -> None:
    """The provider no longer takes the token, nothing is handed out, the record stays."""
    config = await api.scene.config("discord")
    stored = await api.scene.connected(config)
    for _ in range(2):
        ended = (await api.post(f"/v1/connections/{stored.owner_id}/disconnect")).json()
        assert (ended["status"], ended["status_reason"]) == ("revoked", "disconnected")
        assert (ended["credentials"], ended["credential_expires_at"]) == ([], None)
    assert not api.scene.works(stored.issued.access_token)
    asked = {"provider": "discord", "tenant_id": "org_acme", "user_id": "user_123"}
    is_problem(await api.get("/v1/credentials", params=asked), 404, "not_connected")
    assert len(await api.events("connection.disconnected")) == 1
    is_problem(await api.post(f"/v1/connections/{stored.owner_id}/refresh"), 409, "connection_ended")


async def test_the_credential_read_answers_as_the_sdk_expects(api: Api) -> None:
    """Every field of the contract, the header to use, and nothing cached on the way."""
    config = await api.scene.config("discord")
    installation = await api.scene.installation(config)
    await api.scene.bot(config, installation)
    stored = await api.scene.connected(config)
    asked = {"provider": "discord", "tenant_id": "org_acme"}
    answer = await api.get("/v1/credentials", params=asked | {"user_id": "user_123"})
    assert answer.headers["cache-control"] == "no-store"
    got = answer.json()
    assert got.pop("refetch_at") < got["expires_at"]
    assert got == {
        "object": "credential",
        "credential_id": str(stored.credential.credential_id),
        "kind": "oauth_token",
        "provider": "discord",
        "tenant_id": "org_acme",
        "user_id": "user_123",
        "connection_id": str(stored.owner_id),
        "installation_id": None,
        "label": None,
        "credential": stored.issued.access_token,
        "headers": {"Authorization": f"Bearer {stored.issued.access_token}"},
        "expires_at": "2026-05-17T13:00:00Z",
        "scopes": ["identify"],
        "metadata": {},
        "version": 1,
    }
    bot = (await api.get("/v1/credentials", params=asked | {"credential_for": "installation"})).json()
    assert bot["headers"] == {"Authorization": f"Bot {seeds.DISCORD_BOT_TOKEN}"}
    assert (bot["kind"], bot["expires_at"], bot["refetch_at"]) == (CredentialKind.BOT_TOKEN, None, None)
    assert bot["metadata"]["guild_id"] == seeds.DISCORD_GUILDS[0].id
    assert (await api.get("/v1/credentials", params=asked)).json()["kind"] == "bot_token"


async def test_the_credential_read_names_what_is_wrong(api: Api) -> None:
    """Missing, unknown, doubled and malformed parameters; candidates where several match."""
    config = await api.scene.config("discord")
    asked = {"provider": "discord", "tenant_id": "org_acme"}
    for query, field in (
        ("tenant_id=org_acme", "provider"),
        ("provider=discord", "tenant_id"),
        ("provider=discord&tenant_id=org%20acme", "tenant_id"),
        ("provider=discord&tenant_id=%00", "tenant_id"),
        ("provider=discord&tenant_id=a&label=%00", "label"),
        ("provider=discord&tenant_id=a&tenant_id=b", "tenant_id"),
        ("provider=discord&tenant_id=a&colour=red", "colour"),
        ("provider=discord&tenant_id=a&credential_for=all", "credential_for"),
        ("provider=discord&tenant_id=a&kind=cookie", "kind"),
        ("provider=discord&tenant_id=a&installation_id=1", "installation_id"),
        ("provider=discord&tenant_id=a&credential_for=user", "user_id"),
    ):
        document = is_problem(await api.get(f"/v1/credentials?{query}"), 422, "invalid_input")
        assert document["field"] == field
    is_problem(await api.get("/v1/credentials", params=asked | {"provider": "\x00"}), 404, "not_found")
    is_problem(await api.get("/v1/credentials", params=asked), 404, "not_connected")
    for label in ("one", "two"):
        await api.scene.token(config, await api.scene.connection(config, label=label))
    document = is_problem(
        await api.get("/v1/credentials", params=asked | {"user_id": "user_123"}), 409, "ambiguous_connection"
    )
    assert {each["label"] for each in document["candidates"]} == {"one", "two"}
    chosen = await api.get("/v1/credentials", params=asked | {"user_id": "user_123", "label": "two"})
    assert chosen.json()["label"] == "two"


async def test_of_two_who_want_the_same_one_gets_it(api: Api) -> None:
    """The same label, and the primary mark, in the same moment: a conflict for the other, never a failure."""
    config = await api.scene.config("discord")
    for number in range(3):
        made = [
            await api.scene.connection(config, user_id=f"user_{number}", label=f"label {side}")
            for side in ("a", "b")
        ]
        answers = await asyncio.gather(
            *(
                api.call(
                    "PATCH",
                    f"/v1/connections/{connection.connection_id}",
                    json={"label": "same", "is_primary": True},
                )
                for connection in made
            )
        )
        assert sorted(answer.status_code for answer in answers) == [200, 409]
        refused = next(answer for answer in answers if answer.status_code == 409)
        assert refused.json()["code"] in ("label_taken", "conflict")
        listed = (await api.get("/v1/connections", params={"user_id": f"user_{number}"})).json()["data"]
        assert [each["is_primary"] for each in listed].count(True) == 1
