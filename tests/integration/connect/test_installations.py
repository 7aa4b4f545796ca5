"""Installations: one workspace belongs to one tenant, and what the provider answered decides which it is."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from authpipe.domain.connection import InstallationStatus
from authpipe.domain.credential import CredentialFor, CredentialKind
from authpipe.domain.errors import Conflict, ConnectError, NotConnected
from authpipe.domain.event import ActorKind, Origin
from authpipe.domain.secret import Secret
from authpipe.sandbox import seeds
from support.hosted import Hosted

if TYPE_CHECKING:
    from conftest import Back, Connect

BACKEND = Origin(actor_kind=ActorKind.API_KEY, actor_id="test")
FIRST, SECOND = "310000000000000001", "310000000000000002"


def bots(hosted: Hosted, guild_id: str) -> bool:
    """Whether the application's bot is in the guild at the sandbox."""
    guild = hosted.sandbox.state.discord.guilds[guild_id]
    return seeds.DISCORD_CLIENT_ID in guild.bots


async def test_the_credential_is_the_apps_bot_token_with_the_guild(hosted: Hosted, connect: Connect) -> None:
    """The guild is the one of the token response, and the header says Bot."""
    installation = (await connect(kind="installation", guild_id=FIRST)).installation
    assert installation is not None
    assert (installation.external_id, installation.metadata) == (FIRST, {"guild_id": FIRST})
    bot = await hosted.credential(tenant_id="org_acme", credential_for=CredentialFor.INSTALLATION)
    assert bot == seeds.DISCORD_BOT_TOKEN


async def test_a_webhook_is_a_second_credential_and_outlives_a_reinstallation(
    hosted: Hosted, connect: Connect
) -> None:
    """It came once, and a later authorization without the scope says nothing about it."""
    await connect(kind="installation", scopes=("bot", "webhook.incoming"))
    wanted = {"tenant_id": "org_acme", "kind": CredentialKind.WEBHOOK_SECRET}
    webhook = await hosted.credential(**wanted)
    assert "/webhooks/" in webhook
    await connect(kind="installation")
    assert await hosted.credential(**wanted) == webhook
    found = await hosted.events("installation.reconnected")
    assert len(found) == 1
    stored = await hosted.rooms.connecting.direct_storage.webhook_secret(
        hosted.scene.environment_id,
        (await _only(hosted)),
        Secret("https://hooks.example.com/another"),
        origin=BACKEND,
    )
    assert stored.status is InstallationStatus.ACTIVE
    assert await hosted.credential(**wanted) == "https://hooks.example.com/another"


async def test_a_workspace_of_another_tenant_is_refused_and_left_installed(
    hosted: Hosted, connect: Connect
) -> None:
    """A clear error for the second tenant, and nothing lost for the first."""
    await connect(kind="installation", tenant_id="org_acme", guild_id=FIRST)
    with pytest.raises(Conflict, match="another tenant") as refused:
        await connect(kind="installation", tenant_id="org_other", guild_id=FIRST)
    assert refused.value.code == "installation_claimed"
    assert bots(hosted, FIRST)
    assert await hosted.credential(tenant_id="org_acme", credential_for=CredentialFor.INSTALLATION)
    with pytest.raises(NotConnected):
        await hosted.credential(tenant_id="org_other", credential_for=CredentialFor.INSTALLATION)


async def test_a_repair_with_another_workspace_is_refused(hosted: Hosted, connect: Connect) -> None:
    """And the bot leaves the workspace nobody asked for."""
    installation = (await connect(kind="installation", guild_id=FIRST)).installation
    assert installation is not None
    with pytest.raises(ConnectError) as refused:
        await connect(kind="installation", guild_id=SECOND, reconnect_id=installation.installation_id)
    assert refused.value.code == "account_mismatch"
    assert bots(hosted, FIRST)
    assert not bots(hosted, SECOND)


async def test_removing_an_installation_frees_the_workspace_and_keeps_users_connected(
    hosted: Hosted, connect: Connect
) -> None:
    """The bot leaves, another tenant may install there, and users go on as the definition says."""
    installation = (await connect(kind="installation", guild_id=FIRST)).installation
    await connect(user_id="user_123")
    assert installation is not None
    removed = await hosted.rooms.connecting.disconnection.installation(
        hosted.scene.environment_id, installation.installation_id, origin=BACKEND
    )
    assert removed.status is InstallationStatus.DELETED
    assert not bots(hosted, FIRST)
    with pytest.raises(NotConnected):
        await hosted.credential(tenant_id="org_acme", credential_for=CredentialFor.INSTALLATION)
    assert await hosted.credential(tenant_id="org_acme", user_id="user_123")
    other = (await connect(kind="installation", tenant_id="org_other", guild_id=FIRST)).installation
    assert other is not None
    assert other.tenant_id == "org_other"


async def test_a_removed_installation_is_not_brought_back_by_a_repair_under_way(
    hosted: Hosted, connect: Connect, go_and_come_back: Back
) -> None:
    """The session began before the removal and is completed after it."""
    installation = (await connect(kind="installation", guild_id=FIRST)).installation
    assert installation is not None
    session, page = await go_and_come_back(
        kind="installation", guild_id=FIRST, reconnect_id=installation.installation_id
    )
    await hosted.rooms.connecting.disconnection.installation(
        hosted.scene.environment_id, installation.installation_id, origin=BACKEND
    )
    with pytest.raises(ConnectError) as refused:
        await hosted.complete(session.session_id, page.query["completion_code"])
    assert refused.value.code == "installation_ended"
    with pytest.raises(NotConnected):
        await hosted.credential(tenant_id="org_acme", credential_for=CredentialFor.INSTALLATION)
    with pytest.raises(Conflict, match="removed"):
        await hosted.rooms.connecting.direct_storage.webhook_secret(
            hosted.scene.environment_id,
            installation.installation_id,
            Secret("https://hooks.example.com/late"),
            origin=BACKEND,
        )


async def test_giving_one_grant_back_leaves_another_that_waits(
    hosted: Hosted, go_and_come_back: Back
) -> None:
    """Two tabs installed in the same guild: refusing the one does not throw the bot out of the other."""
    first, page_of_first = await go_and_come_back(kind="installation", guild_id=FIRST)
    second, page_of_second = await go_and_come_back(kind="installation", guild_id=FIRST)
    with pytest.raises(ConnectError, match="not the one"):
        await hosted.complete(first.session_id, page_of_first.query["completion_code"], user_id="mallory")
    assert bots(hosted, FIRST)
    made = await hosted.complete(second.session_id, page_of_second.query["completion_code"])
    assert made.installation is not None


async def _only(hosted: Hosted) -> UUID:
    async with hosted.rooms.database.environment(hosted.scene.environment_id) as transaction:
        [installation] = await transaction.installations.page(hosted.scene.environment_id)
    return installation.installation_id
