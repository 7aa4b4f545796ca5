"""Every operation of the OpenAPI document, tried with every key that must not get through.

The requests are made from the document, about objects that exist, so a new route is tried without being
named here; one whose rule is not declared, or whose requests cannot be made, fails.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import asyncpg
import httpx2
import pytest

from authpipe.access.key_text import new_key
from authpipe.api.rules import Reach
from authpipe.credentials.grants import Grant
from authpipe.domain.access import ApiKeyRole
from authpipe.domain.credential import CredentialKind
from authpipe.domain.secret import Secret
from authpipe.sandbox import seeds
from support.operations import EXTENSION, Attempt, Filling, attempts, operations
from support.problems import is_problem

if TYPE_CHECKING:
    from conftest import Api, Dsns

TENANT, OTHER_TENANT = "org_acme", "org_other"
RETURN_URL = "https://app.example.com/connected"
USERNAME = seeds.CLICKSEND_PEOPLE[0].username
#: What everybody may be shown, whoever's environment it is about.
CATALOG = frozenset({"list_providers", "list_provider_categories", "get_provider"})
#: Answers each of many by itself.
BATCH = "get_credentials"
#: Written whatever is asked: evidence, and the notes of when a key was used.
NOT_COMPARED = frozenset({"events", "unchained_events", "audit_chain", "audit_heads"})


@dataclass
class Victim:
    """An environment with one of everything, the requests about it, and what nobody else may be told."""

    api: Api
    filling: Filling
    secrets: set[str]
    document: dict[str, Any]
    superuser: asyncpg.Connection[Any]

    def attempts(self) -> list[Attempt]:
        return list(attempts(self.document, self.filling))

    async def send(self, attempt: Attempt, key: str | None) -> httpx2.Response:
        if attempt.endless:
            answer = await self.api.begun(attempt.path, key=key)
        else:
            answer = await self.api.call(
                attempt.method, attempt.path, key=key, params=attempt.params, **attempt.arguments
            )
        assert answer.status_code < 500, (str(attempt), answer.text)
        return answer

    def told(self, attempt: Attempt, answer: httpx2.Response) -> set[str]:
        """What the answer tells of the victim that the request had not said itself."""
        sent = attempt.sent()
        return {secret for secret in self.secrets if secret in answer.text and secret not in sent}

    async def rows(self, *, but_for: str | None = None) -> dict[str, list[str]]:
        """Everything stored for the environment, but for the notes of use and what is of one tenant."""
        tables = await self.superuser.fetch(
            "SELECT table_name FROM information_schema.columns"
            " WHERE table_schema = 'public' AND column_name = 'environment_id' ORDER BY 1"
        )
        return {
            table: sorted(
                row[0]
                for row in await self.superuser.fetch(
                    f"SELECT (to_jsonb(t) - 'last_used_at')::text FROM {table} t"
                    " WHERE environment_id = $1 AND to_jsonb(t) ->> 'tenant_id' IS DISTINCT FROM $2",
                    self.api.environment_id,
                    but_for or "",
                )
            )
            for (table,) in tables
            if table not in NOT_COMPARED
        }


def _wanted(about: dict[str, str]) -> dict[str, str]:
    return {name: about[name] for name in ("provider", "tenant_id", "user_id")}


@pytest.fixture
async def victim(api: Api, dsns: Dsns) -> AsyncIterator[Victim]:
    scene = api.scene
    config = await scene.config("discord", installation_scopes=("bot", "hidden.scope"))
    clicksend = await scene.config("clicksend", client_id=None, client_secret_ciphertext=None)
    installation = await scene.installation(config, external_name="Hidden Club", label="hidden-label")
    bot = await scene.bot(config, installation)
    await scene.secret(
        config,
        installation,
        Grant(kind=CredentialKind.WEBHOOK_SECRET, secret=Secret("whsec-hidden-address"), facts={}),
    )
    connection = await scene.connection(
        config, installation_id=installation.installation_id, account_name="hidden-person"
    )
    stored = await scene.token(config, connection)
    assert (await api.call("PUT", f"/v1/tenants/{TENANT}", json={"name": "Hidden Ltd"})).status_code == 200
    allowed = {"return_urls": [RETURN_URL, "https://hidden.example.com/*"]}
    assert (await api.call("PATCH", f"/v1/environments/{api.environment_id}", json=allowed)).is_success
    about = {"provider": "discord", "tenant_id": TENANT, "user_id": "user_123", "return_url": RETURN_URL}
    session = await api.made("/v1/connect-sessions", about | {"kind": "connection"})
    spare = await api.made("/v1/api-keys", {"name": "hidden-key", "role": "server"})
    event = (await api.events("connect_session.created"))[0]
    superuser = await asyncpg.connect(dsns.superuser)
    yield Victim(
        api=api,
        filling=Filling(
            path={
                "connection_id": str(connection.connection_id),
                "installation_id": str(installation.installation_id),
                "session_id": session["id"],
                "event_id": event["id"],
                "api_key_id": spare["id"],
                "environment_id": str(api.environment_id),
                "provider_config_id": str(config.provider_config_id),
                "tenant_id": TENANT,
                "provider": "discord",
                "credential_id": str(bot.credential_id),
            },
            values=about
            | {
                "installation_id": str(installation.installation_id),
                "object_id": session["id"],
                "base_url": f"{api.sandbox.url}/discord",
            },
            bodies={
                "StoreKey": {
                    "provider": "clicksend",
                    "user_id": "user_123",
                    "fields": {"username": USERNAME, "api_key": seeds.CLICKSEND_API_KEYS[USERNAME]},
                },
                "AmendInstallation": {"label": "amended"},
                "CredentialBatch": {"credentials": [_wanted(about)]},
                "RejectedCredential": {"version": 1},
            },
        ),
        secrets={
            str(connection.connection_id),
            str(installation.installation_id),
            str(stored.credential.credential_id),
            str(config.provider_config_id),
            str(clicksend.provider_config_id),
            str(api.environment_id),
            session["id"],
            session["url"].rsplit("/", 1)[1],
            event["id"],
            spare["id"],
            spare["prefix"],
            stored.issued.access_token,
            str(stored.issued.refresh_token),
            seeds.DISCORD_BOT_TOKEN,
            seeds.client_secret("discord"),
            "hidden.example.com",
            "hidden.scope",
            "whsec-hidden-address",
            "Hidden Ltd",
            "Hidden Club",
            "hidden-label",
            "hidden-person",
            "hidden-key",
        },
        document=(await api.call("GET", "/openapi.json", key=None)).json(),
        superuser=superuser,
    )
    await superuser.close()


async def test_every_operation_has_a_rule(api: Api) -> None:
    """Under ``/v1`` one that names a role and a reach; elsewhere none, and no key is asked for."""
    document = (await api.call("GET", "/openapi.json", key=None)).json()
    for method, path, operation in operations(document):
        if path.startswith("/v1"):
            access = operation.get(EXTENSION)
            assert access is not None, f"{method} {path} declares no access rule"
            assert ApiKeyRole(access["role"])
            assert Reach(access["reach"])
            assert {"401", "403", "429"} <= operation["responses"].keys(), path
        else:
            assert EXTENSION not in operation
            assert operation["security"] == [], path


async def test_without_a_good_key_nothing_is_served(victim: Victim) -> None:
    """None, nonsense, one that was never given out, one that was revoked, one that expired."""
    api = victim.api
    revoked, expired = (
        await api.new_key(api.environment_id),
        await api.new_key(api.environment_id, expires_in=timedelta(seconds=1)),
    )
    keys = (await api.get("/v1/api-keys")).json()["data"]
    [gone] = [key for key in keys if revoked.startswith(key["prefix"])]
    assert (await api.post(f"/v1/api-keys/{gone['id']}/revoke")).status_code == 200
    api.clock.advance(timedelta(seconds=1))
    before = await victim.rows()
    for attempt in victim.attempts():
        for key in (None, "nonsense", new_key().reveal()[:-1] + "_", revoked, expired):
            answer = await victim.send(attempt, key)
            is_problem(answer, 401, "unauthenticated")
            assert victim.told(attempt, answer) == set()
    assert await victim.rows() == before


@pytest.mark.parametrize("role", [ApiKeyRole.VIEWER, ApiKeyRole.SERVER])
async def test_a_role_that_is_not_enough_is_refused(victim: Victim, role: ApiKeyRole) -> None:
    """By every operation that needs more, naming what it needs, before anything is done."""
    key = await victim.api.new_key(victim.api.environment_id, role=role)
    before = await victim.rows()
    refused = Counter[str]()
    for attempt in victim.attempts():
        assert attempt.access is not None
        needed = ApiKeyRole(attempt.access["role"])
        if role.includes(needed):
            continue
        answer = await victim.send(attempt, key)
        problem = is_problem(answer, 403, "forbidden")
        assert f"needs the role {needed}" in problem["detail"]
        assert victim.told(attempt, answer) == set()
        refused[needed] += 1
    assert refused[ApiKeyRole.ADMIN] > 10
    assert (refused[ApiKeyRole.SERVER] > 10) is (role is ApiKeyRole.VIEWER)
    assert await victim.rows() == before


async def test_a_viewer_is_told_no_secret(victim: Victim) -> None:
    """What it may read, all of it, holds none."""
    key = await victim.api.new_key(victim.api.environment_id, role=ApiKeyRole.VIEWER)
    secrets = {
        secret
        for secret in victim.secrets
        if secret in (seeds.DISCORD_BOT_TOKEN, seeds.client_secret("discord"), "whsec-hidden-address")
        or secret == victim.api.key
    }
    read = 0
    for attempt in victim.attempts():
        answer = await victim.send(attempt, key)
        assert not any(secret in answer.text for secret in secrets)
        read += answer.status_code == 200
    assert read > 15


async def test_a_key_of_another_environment_reaches_nothing(victim: Victim, other: Api) -> None:
    """With the ids of this one: not found, or an answer about its own environment."""
    for provider in ("discord", "clicksend"):
        await other.made("/v1/provider-configs", other.config_body(provider))
    before = await victim.rows()
    for role in ApiKeyRole:
        key = await victim.api.new_key(other.environment_id, role=role)
        for attempt in victim.attempts():
            answer = await victim.send(attempt, key)
            assert victim.told(attempt, answer) == set(), str(attempt)
            if attempt.names_an_id and answer.status_code != 403:
                is_problem(answer, 404, "not_found")
    assert await victim.rows() == before


@pytest.mark.parametrize("role", list(ApiKeyRole))
async def test_a_key_of_another_tenant_reaches_nothing(victim: Victim, role: ApiKeyRole) -> None:
    """Of the environment as a whole it is refused everything; of the tenants it sees its own."""
    api = victim.api
    await api.call("PUT", f"/v1/tenants/{OTHER_TENANT}", json={"name": None})
    key = await api.new_key(api.environment_id, role=role, tenant_id=OTHER_TENANT)
    before = await victim.rows()
    for attempt in victim.attempts():
        assert attempt.access is not None
        answer = await victim.send(attempt, key)
        if attempt.operation_id in CATALOG:
            assert answer.status_code == 200
            continue
        assert victim.told(attempt, answer) == set(), str(attempt)
        if attempt.access["reach"] == Reach.ENVIRONMENT:
            is_problem(answer, 403, "forbidden")
        elif answer.status_code != 200:
            assert answer.json()["code"] in ("forbidden", "not_found", "session_unknown"), str(attempt)
        elif attempt.operation_id == BATCH:
            assert [each["code"] for each in answer.json()["data"]] == ["forbidden"]
        elif not attempt.endless:
            # Only lists that name no tenant, and they hold what is the key's own.
            assert attempt.params.get("tenant_id") is None, str(attempt)
            assert all(each.get("tenant_id", each["id"]) == OTHER_TENANT for each in answer.json()["data"])
    assert await victim.rows() == before


@pytest.mark.parametrize("role", list(ApiKeyRole))
async def test_naming_the_own_tenant_opens_nothing_of_another(victim: Victim, role: ApiKeyRole) -> None:
    """The ids of one tenant's objects, in requests that name the key's own: there are no such objects."""
    api = victim.api
    await api.call("PUT", f"/v1/tenants/{OTHER_TENANT}", json={"name": None})
    key = await api.new_key(api.environment_id, role=role, tenant_id=OTHER_TENANT)
    filling = replace(victim.filling, values={**victim.filling.values, "tenant_id": OTHER_TENANT})
    before = await victim.rows(but_for=OTHER_TENANT)
    # Of the environment, and told with everything a tenant has.
    shared = {secret for secret in victim.secrets if secret in str(before["provider_configs"])}
    served = 0
    for attempt in attempts(victim.document, filling):
        answer = await victim.send(attempt, key)
        if attempt.operation_id in CATALOG:
            continue
        assert victim.told(attempt, answer) <= shared, str(attempt)
        if attempt.names_an_id and answer.status_code != 403:
            is_problem(answer, 404, "not_found")
        served += answer.is_success
    assert served > 5
    assert await victim.rows(but_for=OTHER_TENANT) == before


async def test_a_key_of_the_tenant_reaches_what_is_the_tenants(victim: Victim) -> None:
    """Every read of one tenant's objects, and of the environment's other tenants nothing."""
    api = victim.api
    await api.scene.tenant(OTHER_TENANT)
    config = UUID(victim.filling.path["provider_config_id"])
    hidden = await api.scene.connection(
        await api.rooms.connecting.provider_configs.get(api.environment_id, config),
        tenant_id=OTHER_TENANT,
        account_id="410000000000000009",
    )
    key = await api.new_key(api.environment_id, role=ApiKeyRole.SERVER, tenant_id=TENANT)
    read = set()
    for attempt in victim.attempts():
        assert attempt.access is not None
        if attempt.access["reach"] == Reach.ENVIRONMENT or attempt.method != "GET":
            continue
        answer = await victim.send(attempt, key)
        assert answer.status_code == 200, (str(attempt), answer.text)
        assert str(hidden.connection_id) not in answer.text
        assert OTHER_TENANT not in answer.text
        if attempt.operation_id not in CATALOG and not attempt.endless:
            assert victim.told(attempt, answer) or attempt.path in answer.text, str(attempt)
            read.add(attempt.operation_id)
    assert len(read) >= 9
    everything = await api.get("/v1/connections")
    assert str(hidden.connection_id) in everything.text


async def test_the_requests_are_good_ones(victim: Victim) -> None:
    """With the environment's own key none is refused for what it is, so what refused the others was access.

    What reads tells what the others must not be told, and afterwards what is stored is another.
    """
    before = await victim.rows()
    for attempt in victim.attempts():
        answer = await victim.send(attempt, victim.api.key)
        if answer.is_success:
            told = victim.told(attempt, answer)
            silent = attempt.operation_id in CATALOG or attempt.endless
            assert attempt.method != "GET" or silent or told, str(attempt)
            continue
        code = answer.json()["code"]
        removed = attempt.method == "DELETE" or attempt.path.startswith("/v1/tenants/")
        assert code not in {"forbidden", "invalid_input", "malformed_body"}, (str(attempt), answer.text)
        assert code != "not_found" or removed, (str(attempt), answer.text)
    changed = {table for table, rows in (await victim.rows()).items() if rows != before[table]}
    assert {"api_keys", "connections", "connect_sessions", "credentials", "tenants"} <= changed


async def test_the_credential_read_is_ruled_in_every_method(victim: Victim) -> None:
    """It is served without the framework that looks at the others."""
    api = victim.api
    viewer = await api.new_key(api.environment_id, role=ApiKeyRole.VIEWER)
    asked = {"provider": "discord", "tenant_id": TENANT, "user_id": "user_123"}
    for method in ("GET", "HEAD"):
        assert (await api.call(method, "/v1/credentials", key=viewer, params=asked)).status_code == 403
    stranger = await api.new_key(api.environment_id, role=ApiKeyRole.SERVER, tenant_id=OTHER_TENANT)
    is_problem(await api.get("/v1/credentials", key=stranger, params=asked), 403, "forbidden")
    own = await api.new_key(api.environment_id, role=ApiKeyRole.SERVER, tenant_id=TENANT)
    assert (await api.get("/v1/credentials", key=own, params=asked)).status_code == 200


async def test_a_remembered_answer_is_for_its_own_key(victim: Victim) -> None:
    """The same Idempotency-Key, address and body, sent with another key, are another request."""
    api = victim.api
    body = {"provider": "discord", "tenant_id": TENANT, "user_id": "u", "kind": "connection"}
    body |= {"return_url": RETURN_URL}
    headers = {"Idempotency-Key": "the-same"}
    first = await api.post("/v1/connect-sessions", body, headers=headers)
    assert first.status_code == 201
    for role, tenant_id in ((ApiKeyRole.VIEWER, None), (ApiKeyRole.ADMIN, OTHER_TENANT)):
        key = await api.new_key(api.environment_id, role=role, tenant_id=tenant_id)
        answer = await api.post("/v1/connect-sessions", body, key=key, headers=headers)
        is_problem(answer, 403, "forbidden")
    key = await api.new_key(api.environment_id, role=ApiKeyRole.SERVER)
    again = await api.post("/v1/connect-sessions", body, key=key, headers=headers)
    assert json.loads(again.text)["id"] != first.json()["id"]
    assert "idempotent-replayed" not in again.headers


async def test_the_refusal_of_a_good_key_is_counted_and_logged(
    victim: Victim, capfd: pytest.CaptureFixture[str]
) -> None:
    """With the key's id, and without its text."""
    api = victim.api
    key = await api.new_key(api.environment_id, role=ApiKeyRole.VIEWER, tenant_id=OTHER_TENANT)
    await api.post("/v1/api-keys", {"name": "more"}, key=key)
    await api.get(f"/v1/tenants/{TENANT}", key=key)
    counted = api.rooms.metrics.refused_requests
    assert counted.labels("role")._value.get() == 1
    assert counted.labels("tenant")._value.get() == 1
    written = "".join(capfd.readouterr())
    assert "an API key was refused" in written
    assert key not in written
