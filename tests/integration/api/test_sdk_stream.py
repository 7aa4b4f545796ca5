"""The Python SDK's cache against the real server: what the stream drops, reports, batches, revoked keys."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

import authpipe
from authpipe import AsyncAuthpipe, Authpipe
from authpipe.domain.access import ApiKeyRole
from authpipe.sandbox import seeds

if TYPE_CHECKING:
    from authpipe.server.settings import Settings
    from conftest import Api
    from support.scene import Stored

ACME = {"provider": "discord", "tenant_id": "org_acme", "user_id": "user_123"}


async def connected(api: Api) -> Stored:
    # The server's clock is a past one, and the SDK goes by the real Date: this is long enough to be cached.
    return await api.scene.connected(await api.scene.config(), lifetime=timedelta(days=9_000))


async def until(fact: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not fact():
            await asyncio.sleep(0.002)


@pytest.fixture
async def client(api: Api, settings: Settings) -> AsyncIterator[AsyncAuthpipe]:
    async with AsyncAuthpipe(url=settings.local_url, api_key=api.key) as client:
        yield client


async def streaming(client: AsyncAuthpipe | Authpipe) -> None:
    await until(lambda: client._core.cache._streams)


async def test_what_is_disconnected_elsewhere_is_gone_at_once(api: Api, client: AsyncAuthpipe) -> None:
    """An entry of a second ago raises, long before anything would have been asked again."""
    stored = await connected(api)
    await client.get_credential(**ACME)
    await streaming(client)
    assert (await client.get_credential(**ACME)).connection_id == str(stored.owner_id)
    answer = await api.post(f"/v1/connections/{stored.owner_id}/disconnect")
    assert answer.status_code == 200
    begun = time.monotonic()
    await until(lambda: not client._core.cache.entries)
    assert time.monotonic() - begun < 1
    with pytest.raises((authpipe.ReauthorizationRequired, authpipe.NotConnected)):
        await client.get_credential(**ACME)


async def test_the_blocking_client_hears_the_same(api: Api, settings: Settings) -> None:
    """From its thread."""
    stored = await connected(api)
    with Authpipe(url=settings.local_url, api_key=api.key) as client:
        await asyncio.to_thread(client.get_credential, **ACME)
        await streaming(client)
        await api.post(f"/v1/connections/{stored.owner_id}/disconnect")
        await until(lambda: not client._core.cache.entries)


async def test_after_a_refresh_elsewhere_the_old_token_is_gone_at_once(
    api: Api, client: AsyncAuthpipe
) -> None:
    """The provider may have ended it."""
    stored = await connected(api)
    assert (await client.get_credential(**ACME)).version == 1
    await streaming(client)
    await api.post(f"/v1/connections/{stored.owner_id}/refresh")
    await until(lambda: not client._core.cache.entries)
    assert (await client.get_credential(**ACME)).version == 2


async def test_a_connection_made_elsewhere_ends_a_refusal(api: Api, client: AsyncAuthpipe) -> None:
    """Through the stream, although the refusal would be repeated for a minute."""
    await connected(api)
    await client.get_credential(**ACME)
    await streaming(client)
    client._core.cache._refusals._seconds = 60
    other = ACME | {"provider": "clicksend"}
    with pytest.raises(authpipe.NotConnected):
        await client.get_credential(**other)
    with pytest.raises(authpipe.NotConnected):
        await client.get_credential(**other)
    await api.made("/v1/provider-configs", api.config_body("clicksend"))
    username = seeds.CLICKSEND_PEOPLE[0].username
    async with AsyncAuthpipe(url=client._core.settings.url, api_key=api.key, stream=False) as elsewhere:
        await elsewhere.credentials.store(
            provider="clicksend",
            tenant_id="org_acme",
            user_id="user_123",
            fields={"username": username, "api_key": seeds.CLICKSEND_API_KEYS[username]},
        )
    await until(lambda: not client._core.cache._refusals)
    assert (await client.get_credential(**other)).kind == "basic"


async def test_a_rejected_credential_is_replaced(api: Api, client: AsyncAuthpipe) -> None:
    """One refresh for all who report; a dead one says so."""
    await connected(api)
    old = await client.get_credential(**ACME)
    new, *others = await asyncio.gather(*(client.report_rejected(old) for _ in range(5)))
    assert (new.version, new.credential_id) == (2, old.credential_id)
    assert all(one is new for one in others)
    assert len(api.scene.refreshes()) == 1
    assert (await client.get_credential(**ACME)).version == 2
    api.sandbox.state.ledgers["discord"].revoke()
    # A provider that takes back what it issued a moment ago is not believed.
    api.clock.advance(timedelta(minutes=1))
    with pytest.raises(authpipe.ReauthorizationRequired) as dead:
        await client.report_rejected(new)
    assert dead.value.connection_id == old.connection_id


async def test_a_cache_is_warmed(api: Api, client: AsyncAuthpipe) -> None:
    """What there is and what there is not, in one request."""
    stored = await connected(api)
    done = await client.warm([ACME, ACME | {"user_id": "nobody", "credential_for": "user"}])
    assert done.cached == 1
    assert isinstance(done.errors[1], authpipe.NotConnected)
    (entry,) = client._core.cache.entries.values()
    assert entry.credential.connection_id == str(stored.owner_id)
    with pytest.raises(authpipe.InvalidRequest) as wrong:
        await client.warm([ACME, ACME | {"tenant_id": ""}])
    assert wrong.value.field == "credentials[1].tenant_id"


async def test_a_revoked_key_drops_everything_at_once(api: Api, settings: Settings) -> None:
    """No cached credential outlives the key it was read with."""
    await connected(api)
    text = await api.new_key(api.environment_id, role=ApiKeyRole.SERVER)
    async with AsyncAuthpipe(url=settings.local_url, api_key=text) as client:
        await client.get_credential(**ACME)
        await streaming(client)
        keys = (await api.get("/v1/api-keys")).json()["data"]
        (known,) = [key for key in keys if key["name"] == "another"]
        revoked = await api.post(f"/v1/api-keys/{known['id']}/revoke")
        assert revoked.is_success, revoked.text
        await until(lambda: not client._core.cache.entries)
        with pytest.raises(authpipe.AuthenticationFailed):
            await client.get_credential(**ACME)


async def test_a_quiet_stream_says_where_it_is(api: Api, client: AsyncAuthpipe) -> None:
    """Heartbeats move the place along, from which a lost stream goes on."""
    api.rooms.change_streams._heartbeat_s = 0.1
    await connected(api)
    await client.get_credential(**ACME)
    await streaming(client)
    (coverage,) = client._core.cache._streams
    heard = coverage.heard_at
    await until(lambda: coverage.heard_at > heard)
