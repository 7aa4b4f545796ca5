"""The Python SDK against the real server: both sides of the wire contract agree."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

import authpipe
from authpipe import AsyncAuthpipe
from authpipe.access.key_text import new_key
from authpipe.domain.access import ApiKeyRole
from authpipe.sandbox import seeds

if TYPE_CHECKING:
    from authpipe.server.settings import Settings
    from conftest import Api

RETURN_URL = "https://app.example.com/connected"
USERNAME = seeds.CLICKSEND_PEOPLE[0].username
KEY = seeds.CLICKSEND_API_KEYS[USERNAME]


@pytest.fixture
async def client(api: Api, settings: Settings) -> AsyncIterator[AsyncAuthpipe]:
    # What the tests store in the database themselves ends no refusal.
    async with AsyncAuthpipe(url=settings.local_url, api_key=api.key, negative_s=0) as client:
        yield client


async def test_credentials_are_read(api: Api, client: AsyncAuthpipe) -> None:
    """Secret, header and facts; absence is NotConnected, several are listed."""
    config = await api.scene.config("discord")
    with pytest.raises(authpipe.NotConnected):
        await client.get_credential(provider="discord", tenant_id="org_acme", user_id="user_123")
    stored = await api.scene.token(config, await api.scene.connection(config, label="one"), lifetime=None)
    got = await client.get_credential(provider="discord", tenant_id="org_acme", user_id="user_123")
    assert got.credential == stored.issued.access_token
    assert got.headers == {"Authorization": f"Bearer {stored.issued.access_token}"}
    assert (got.connection_id, got.expires_at, got.scopes) == (str(stored.owner_id), None, ("identify",))
    await api.scene.token(config, await api.scene.connection(config, label="two"), lifetime=None)
    with pytest.raises(authpipe.AmbiguousConnection) as several:
        await client.get_credential(
            provider="discord", tenant_id="org_acme", user_id="user_123", credential_for="user"
        )
    assert {candidate.label for candidate in several.value.candidates} == {"one", "two"}


async def test_a_key_is_connected_from_end_to_end(api: Api, client: AsyncAuthpipe) -> None:
    """Session, completion, listing, disconnection: every object is understood."""
    await api.made("/v1/provider-configs", api.config_body("clicksend"))
    session = await client.connect_sessions.create(
        provider="clicksend",
        tenant_id="org_acme",
        user_id="user_123",
        kind="connection",
        return_url=RETURN_URL,
    )
    assert session.url is not None
    code = await api.by_key_form(session.url, session.id, {"username": USERNAME, "api_key": KEY})
    with pytest.raises(authpipe.ConnectError) as refused:
        await client.connect_sessions.complete(
            session.id, completion_code="wrong", tenant_id="org_acme", user_id="user_123"
        )
    assert refused.value.code == "completion_code_invalid"
    completed = await client.connect_sessions.complete(
        session.id, completion_code=code, tenant_id="org_acme", user_id="user_123"
    )
    assert completed.connection is not None
    listed = await client.connections.list(tenant_id="org_acme", limit=1)
    assert [connection.id for connection in listed] == [completed.connection.id]
    got = await client.get_credential(provider="clicksend", tenant_id="org_acme")
    assert got.credential == KEY
    ended = await client.connections.disconnect(completed.connection.id)
    assert ended.status == "revoked"
    stored = await client.credentials.store(
        provider="clicksend", tenant_id="org_acme", fields={"username": USERNAME, "api_key": KEY}
    )
    assert (stored.kind, stored.status) == ("basic", "active")
    with pytest.raises(authpipe.InvalidRequest) as invalid:
        await client.credentials.store(provider="clicksend", tenant_id="org_acme", fields={"api_key": KEY})
    assert invalid.value.field == "fields.username"


async def test_refreshing_and_reconnecting_are_understood(api: Api, client: AsyncAuthpipe) -> None:
    """A revoked grant is ReauthorizationRequired with the id that /reconnect takes."""
    config = await api.scene.config("discord")
    stored = await api.scene.connected(config)
    refreshed = await client.connections.refresh(str(stored.owner_id))
    assert refreshed.updated_at == datetime(2026, 5, 17, 12, tzinfo=UTC)
    api.sandbox.state.ledgers["discord"].revoke()
    with pytest.raises(authpipe.ReauthorizationRequired) as dead:
        await client.connections.refresh(str(stored.owner_id))
    assert dead.value.reason == "revoked"
    assert dead.value.connection_id is not None
    session = await client.connections.reconnect(dead.value.connection_id, return_url=RETURN_URL)
    assert session.url
    installation = await api.scene.installation(config)
    again = await client.installations.reconnect(str(installation.installation_id), return_url=RETURN_URL)
    assert (again.kind, again.status) == ("installation", "pending")
    with pytest.raises(authpipe.NotFound):
        await client.connections.get("00000000-0000-7000-8000-000000000000")


async def test_a_key_that_may_not_is_told_what_it_lacks(api: Api, settings: Settings) -> None:
    """The role that is needed, or that the key is another tenant's; neither looks like "not connected"."""
    asked = {"provider": "discord", "tenant_id": "org_acme", "user_id": "user_123"}
    viewer = await api.new_key(api.environment_id, role=ApiKeyRole.VIEWER)
    async with AsyncAuthpipe(url=settings.local_url, api_key=viewer) as client:
        with pytest.raises(authpipe.PermissionDenied, match="needs the role server") as refused:
            await client.get_credential(**asked)
    assert (refused.value.code, refused.value.status) == ("forbidden", 403)
    stranger = await api.new_key(api.environment_id, role=ApiKeyRole.SERVER, tenant_id="org_other")
    async with AsyncAuthpipe(url=settings.local_url, api_key=stranger) as client:
        with pytest.raises(authpipe.PermissionDenied, match="restricted to another tenant"):
            await client.get_credential(**asked)


async def test_too_many_unknown_keys_are_told_when_to_come_back(api: Api, settings: Settings) -> None:
    """A passing trouble with a time to wait, not a key that is no good."""
    for _ in range(20):
        await api.get("/v1/tenants", key=new_key().reveal())
    async with AsyncAuthpipe(url=settings.local_url, api_key=new_key().reveal()) as client:
        with pytest.raises(authpipe.RateLimited) as limited:
            await client.get_credential(provider="discord", tenant_id="org_acme")
    assert limited.value.status == 429
    assert limited.value.retry_after_s is not None
    assert 0 < limited.value.retry_after_s <= 1
