"""The read: the right credential, good now, or the reason why there is none."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from authpipe.credentials.grants import Grant
from authpipe.credentials.serve import CredentialRequest
from authpipe.domain.clock import ManualClock
from authpipe.domain.connection import ConnectionStatus, InstallationStatus
from authpipe.domain.credential import CredentialFor, CredentialKind, UsableCredential
from authpipe.domain.errors import (
    AmbiguousConnection,
    AuthpipeError,
    Conflict,
    InvalidInput,
    NotConnected,
    NotFound,
    ReauthorizationRequired,
    VaultError,
)
from authpipe.domain.provider_config import Attachment, ProviderConfig
from authpipe.domain.secret import Secret
from authpipe.sandbox import seeds
from support.replica import Replica
from support.scene import Scene

HOUR = timedelta(hours=1)
BOT = seeds.DISCORD_BOT_TOKEN


async def get(scene: Scene, replica: Replica, **request: Any) -> UsableCredential:
    """As the application asks; by default as user_123."""
    wanted = {"provider": "discord", "tenant_id": scene.tenant_id, "user_id": "user_123", **request}
    return await replica.reader.get(scene.environment_id, CredentialRequest(**wanted))


async def fails(scene: Scene, replica: Replica, error: type[AuthpipeError], **request: Any) -> Any:
    with pytest.raises(error) as caught:
        await get(scene, replica, **request)
    return caught.value


async def test_a_users_token_comes_with_all_that_is_known_of_it(
    scene: Scene, replica: Replica, config: ProviderConfig, clock: ManualClock
) -> None:
    """Secret, header, times, scopes, metadata, and the connection it belongs to."""
    connection = await scene.connection(config, label="work", metadata={"team": "blue"})
    stored = await scene.token(config, connection, lifetime=HOUR)
    found = await get(scene, replica)
    assert found.secret.reveal() == stored.issued.access_token
    assert found.header is not None
    assert (found.header[0], found.header[1].reveal()) == (
        "Authorization",
        f"Bearer {stored.issued.access_token}",
    )
    assert found.expires_at == clock.now() + HOUR
    assert found.refetch_at is not None
    assert clock.now() < found.refetch_at < found.expires_at
    assert (found.kind, found.provider, found.tenant_id, found.user_id, found.label) == (
        CredentialKind.OAUTH_TOKEN,
        "discord",
        scene.tenant_id,
        "user_123",
        "work",
    )
    assert (found.connection_id, found.installation_id) == (connection.connection_id, None)
    assert (found.scopes, found.version, found.metadata) == (("identify",), 1, {"team": "blue"})
    assert scene.refreshes() == []


async def test_an_installations_bot_token_comes_from_the_provider_config(
    scene: Scene, replica: Replica, config: ProviderConfig
) -> None:
    """With its own header, the guild in the metadata, and no end."""
    installation = await scene.installation(config)
    await scene.bot(config, installation)
    found = await get(scene, replica, credential_for=CredentialFor.INSTALLATION, user_id=None)
    assert found.secret.reveal() == BOT
    assert found.header is not None
    assert found.header[1].reveal() == f"Bot {BOT}"
    assert (found.kind, found.expires_at, found.refetch_at) == (CredentialKind.BOT_TOKEN, None, None)
    assert (found.connection_id, found.installation_id) == (None, installation.installation_id)
    assert found.metadata == {"guild_id": seeds.DISCORD_GUILDS[0].id}


async def test_any_prefers_the_users_own_and_falls_back_to_the_installation(
    scene: Scene, replica: Replica, config: ProviderConfig
) -> None:
    """Dual credentials: a user without a connection gets the installation's."""
    await scene.bot(config, await scene.installation(config))
    stored = await scene.connected(config)
    assert (await get(scene, replica)).secret.reveal() == stored.issued.access_token
    assert (await get(scene, replica, user_id="user_456")).secret.reveal() == BOT
    assert (await get(scene, replica, user_id=None)).secret.reveal() == BOT
    wanted = CredentialFor.INSTALLATION
    assert (await get(scene, replica, credential_for=wanted)).secret.reveal() == BOT
    await fails(scene, replica, NotConnected, user_id="user_456", credential_for=CredentialFor.USER)


async def test_a_webhooks_address_is_given_only_when_it_is_asked_for(
    scene: Scene, replica: Replica, config: ProviderConfig
) -> None:
    """It is no header, and the user's connection does not stand in its way."""
    installation = await scene.installation(config)
    await scene.bot(config, installation)
    await scene.connected(config)
    facts = {"webhook_id": "1", "channel_id": "2"}
    address = Secret("https://discord.com/api/webhooks/1/secret")
    await scene.secret(
        config, installation, Grant(kind=CredentialKind.WEBHOOK_SECRET, secret=address, facts=facts)
    )
    for wanted in (CredentialFor.ANY, CredentialFor.INSTALLATION):
        found = await get(scene, replica, kind=CredentialKind.WEBHOOK_SECRET, credential_for=wanted)
        assert (found.secret, found.header, found.expires_at) == (address, None, None)
        assert found.metadata == {"guild_id": seeds.DISCORD_GUILDS[0].id, **facts}
    found = await get(scene, replica, credential_for=CredentialFor.INSTALLATION)
    assert found.kind is CredentialKind.BOT_TOKEN
    error = await fails(
        scene, replica, NotConnected, kind=CredentialKind.API_KEY, credential_for=CredentialFor.INSTALLATION
    )
    assert "no api_key" in error.message


async def test_a_two_part_credential_makes_a_basic_header(scene: Scene, replica: Replica) -> None:
    """User name from the facts, key from the vault."""
    config = await scene.config("clicksend", client_id=None, client_secret_ciphertext=None)
    connection = await scene.connection(config)
    grant = Grant(kind=CredentialKind.BASIC, secret=Secret("the-key"), facts={"username": "ada@example.com"})
    await scene.secret(config, connection, grant)
    found = await get(scene, replica, provider="clicksend")
    assert found.secret.reveal() == "the-key"
    assert found.header is not None
    assert found.header[1].reveal() == "Basic YWRhQGV4YW1wbGUuY29tOnRoZS1rZXk="


async def test_a_tenants_connection_serves_every_user(scene: Scene, replica: Replica) -> None:
    """Where connections belong to the tenant, no user is needed."""
    config = await scene.config("dialpad", attachment=Attachment.TENANT)
    stored = await scene.connected(config, user_id=None)
    for user_id in (None, "user_123"):
        for wanted in (CredentialFor.ANY, CredentialFor.USER):
            found = await get(scene, replica, provider="dialpad", user_id=user_id, credential_for=wanted)
            assert found.secret.reveal() == stored.issued.access_token
            assert found.user_id is None


async def test_an_expired_token_is_refreshed_before_it_is_given(
    scene: Scene, replica: Replica, config: ProviderConfig, clock: ManualClock
) -> None:
    """Nobody gets one that does not work; a moment before the end it is given as it is."""
    stored = await scene.connected(config, lifetime=HOUR)
    clock.advance(HOUR - timedelta(milliseconds=1))
    assert (await get(scene, replica)).secret.reveal() == stored.issued.access_token
    clock.advance(timedelta(milliseconds=1))
    found = await get(scene, replica)
    assert scene.works(found.secret.reveal())
    assert found.version == 2


async def test_what_expired_and_cannot_be_refreshed_is_never_given(
    scene: Scene, replica: Replica, config: ProviderConfig, clock: ManualClock
) -> None:
    """No refresh token, or nobody will ever use it: a person must connect again."""
    plain = await scene.connected(config, refreshable=False, lifetime=HOUR)
    dialpad = await scene.config("dialpad")
    never_due = await scene.connected(dialpad, lifetime=HOUR)
    async with scene.database.tenant(scene.environment_id, scene.tenant_id) as transaction:
        claimed = await transaction.credentials.claim_one(
            scene.environment_id,
            scene.tenant_id,
            never_due.credential.credential_id,
            now=clock.now(),
            lease_until=clock.now(),
        )
        assert claimed is not None
        await transaction.credentials.condemn(claimed, error="test", at=clock.now())
    clock.advance(HOUR)
    for provider, stored in (("discord", plain), ("dialpad", never_due)):
        error = await fails(scene, replica, ReauthorizationRequired, provider=provider)
        assert (error.reason, error.connection_id) == ("expired", str(stored.owner_id))
    assert scene.refreshes() == scene.refreshes("dialpad") == []


async def test_what_does_not_expire_is_given_forever(
    scene: Scene, replica: Replica, config: ProviderConfig, clock: ManualClock
) -> None:
    """And no worker ever asks the provider about it."""
    stored = await scene.connected(config, lifetime=None)
    clock.advance(timedelta(days=3650))
    found = await get(scene, replica)
    assert found.secret.reveal() == stored.issued.access_token
    assert (found.expires_at, found.refetch_at) == (None, None)
    assert await replica.worker.round() == 0
    assert scene.refreshes() == []


@pytest.mark.parametrize("status", [ConnectionStatus.NEEDS_REAUTH, ConnectionStatus.FAILED])
async def test_a_broken_connection_is_an_error_with_its_reason(
    scene: Scene, replica: Replica, config: ProviderConfig, status: ConnectionStatus
) -> None:
    """Although its token may still be good, and although there is an installation."""
    await scene.bot(config, await scene.installation(config))
    stored = await scene.token(
        config, await scene.connection(config, status=status, status_reason="token_invalid")
    )
    error = await fails(scene, replica, ReauthorizationRequired)
    assert (error.reason, error.connection_id, error.installation_id) == (
        "token_invalid",
        str(stored.owner_id),
        None,
    )


@pytest.mark.parametrize("status", [InstallationStatus.NEEDS_REAUTH, InstallationStatus.SUSPENDED])
async def test_a_broken_installation_is_an_error_that_names_it(
    scene: Scene, replica: Replica, config: ProviderConfig, status: InstallationStatus
) -> None:
    """With the status for a reason when there is no other."""
    installation = await scene.installation(config, status=status)
    await scene.bot(config, installation)
    error = await fails(scene, replica, ReauthorizationRequired, credential_for=CredentialFor.INSTALLATION)
    assert (error.reason, error.connection_id, error.installation_id) == (
        status.value,
        None,
        str(installation.installation_id),
    )


async def test_what_was_ended_is_not_connected(
    scene: Scene, replica: Replica, config: ProviderConfig
) -> None:
    """Revoked connections and deleted installations are history."""
    await scene.connected(config)
    page = await scene.connection(config, user_id="user_9", status=ConnectionStatus.REVOKED)
    await scene.installation(config, status=InstallationStatus.DELETED)
    await fails(scene, replica, NotConnected, user_id=page.user_id)
    await fails(scene, replica, NotConnected, credential_for=CredentialFor.INSTALLATION)


async def test_nothing_of_another_tenant_or_environment_is_found(
    scene: Scene, replica: Replica, config: ProviderConfig
) -> None:
    """The same user id elsewhere is somebody else."""
    await scene.connected(config)
    await scene.tenant("org_other")
    await fails(scene, replica, NotConnected, tenant_id="org_other")
    await fails(scene, replica, NotConnected, tenant_id="org_unheard_of")
    other = await Scene.set(
        scene.database, scene.vault, scene.catalog, scene.clock, scene.sandbox, name="production"
    )
    await other.config()
    await fails(other, replica, NotConnected)


async def test_several_connections_must_be_told_apart(
    scene: Scene, replica: Replica, config: ProviderConfig
) -> None:
    """By label, or by marking one primary; the error lists them."""
    home = await scene.token(config, await scene.connection(config, label="home"))
    work_connection = await scene.connection(config, label="work")
    work = await scene.token(config, work_connection)
    error = await fails(scene, replica, AmbiguousConnection)
    assert {candidate["label"] for candidate in error.candidates} == {"home", "work"}
    assert (await get(scene, replica, label="home")).secret.reveal() == home.issued.access_token
    await fails(scene, replica, NotConnected, label="holiday")
    async with scene.database.tenant(scene.environment_id, scene.tenant_id) as transaction:
        await transaction.connections.update(replace(work_connection, is_primary=True), at=scene.clock.now())
    assert (await get(scene, replica)).secret.reveal() == work.issued.access_token


async def test_several_installations_are_told_apart_by_id(
    scene: Scene, replica: Replica, config: ProviderConfig
) -> None:
    """And users' connections that stand under one are found through it."""
    first = await scene.installation(config)
    second = await scene.installation(config, external_id="2")
    for installation in (first, second):
        await scene.bot(config, installation)
    wanted = CredentialFor.INSTALLATION
    error = await fails(scene, replica, AmbiguousConnection, credential_for=wanted)
    assert len(error.candidates) == 2
    found = await get(scene, replica, credential_for=wanted, installation_id=second.installation_id)
    assert found.installation_id == second.installation_id
    connection = await scene.connection(config, installation_id=second.installation_id)
    await scene.token(config, connection)
    found = await get(scene, replica, installation_id=second.installation_id)
    assert (found.connection_id, found.installation_id) == (
        connection.connection_id,
        second.installation_id,
    )
    found = await get(scene, replica, installation_id=first.installation_id)
    assert (found.connection_id, found.installation_id) == (None, first.installation_id)


async def test_a_disabled_provider_config_gives_nothing(
    scene: Scene, replica: Replica, config: ProviderConfig
) -> None:
    """Neither side, until it is enabled again."""
    await scene.bot(config, await scene.installation(config))
    await scene.connected(config)
    await scene.change_config(config, enabled=False)
    for wanted in CredentialFor:
        error = await fails(scene, replica, Conflict, credential_for=wanted)
        assert error.code == "provider_disabled"
    await scene.change_config(config, enabled=True)
    assert await get(scene, replica)


async def test_a_bot_token_that_was_never_set_is_said_to_be_missing(scene: Scene, replica: Replica) -> None:
    """The operator's omission is not the tenant's problem to reconnect."""
    config = await scene.config(app_credential_ciphertext=None)
    await scene.bot(config, await scene.installation(config))
    error = await fails(scene, replica, Conflict, credential_for=CredentialFor.INSTALLATION)
    assert error.code == "app_credential_missing"


async def test_an_unknown_provider_is_not_found(scene: Scene, replica: Replica) -> None:
    """With the id that was meant."""
    error = await fails(scene, replica, NotFound, provider="discrod")
    assert "discord" in error.message


async def test_a_users_credential_needs_a_user(
    scene: Scene, replica: Replica, config: ProviderConfig
) -> None:
    """The missing field is named."""
    await scene.connected(config)
    error = await fails(scene, replica, InvalidInput, user_id=None, credential_for=CredentialFor.USER)
    assert error.field == "user_id"


async def test_a_connection_without_a_credential_says_so(
    scene: Scene, replica: Replica, config: ProviderConfig
) -> None:
    """It was made and never filled."""
    await scene.connection(config)
    error = await fails(scene, replica, NotConnected)
    assert "no credential" in error.message


async def test_a_ciphertext_of_another_row_is_not_given(
    scene: Scene, replica: Replica, config: ProviderConfig
) -> None:
    """Two users' rows with their ciphertexts exchanged in the database: an error, never the other's token."""
    mine = await scene.connected(config)
    theirs = await scene.connected(config, user_id="user_456")
    async with scene.database.tenant(scene.environment_id, scene.tenant_id) as transaction:
        await transaction.connection.execute(
            "UPDATE credentials SET secret_ciphertext = $2 WHERE credential_id = $1",
            mine.credential.credential_id,
            theirs.credential.secret_ciphertext,
        )
    await fails(scene, replica, VaultError)


async def test_reads_are_counted_by_their_end(scene: Scene, replica: Replica, config: ProviderConfig) -> None:
    """One counter per stable code."""
    await scene.connected(config)
    await get(scene, replica)
    await fails(scene, replica, NotConnected, user_id="user_456")
    text = replica.metrics.render()[0].decode()
    assert 'authpipe_credential_reads_total{outcome="ok"} 1.0' in text
    assert 'authpipe_credential_reads_total{outcome="not_connected"} 1.0' in text
