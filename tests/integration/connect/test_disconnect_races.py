"""Ending what is made anew at the same moment, and what another environment stands on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from authpipe.domain.connection import ConnectionStatus, InstallationStatus
from authpipe.domain.credential import CredentialFor
from authpipe.domain.errors import ConnectError, NotConnected
from authpipe.domain.event import ActorKind, Origin
from authpipe.sandbox import seeds
from authpipe.sandbox.faults import Fault, FaultOrder
from support.hosted import Hosted
from support.scene import Scene

if TYPE_CHECKING:
    from conftest import Back, Connect

BACKEND = Origin(actor_kind=ActorKind.API_KEY, actor_id="test")
GUILD = "310000000000000001"


def alive(hosted: Hosted, provider: str = "discord") -> list[Any]:
    """The authorizations that still hold at the sandbox."""
    return [each for each in hosted.sandbox.state.ledgers[provider].authorizations if not each.revoked]


def installed(hosted: Hosted) -> bool:
    """Whether the application's bot is in the guild at the sandbox."""
    return seeds.DISCORD_CLIENT_ID in hosted.sandbox.state.discord.guilds[GUILD].bots


def hold(hosted: Hosted, provider: str, path: str) -> Fault:
    """The next such request is carried out, and its answer withheld until the release."""
    return hosted.sandbox.state.faults.add(FaultOrder("hold", provider=provider, path_contains=path, times=1))


@pytest.mark.parametrize(("provider", "path"), [("discord", "token/revoke"), ("dialpad", "deauthorize")])
async def test_what_a_reconnect_brought_while_a_connection_was_ended_is_revoked_too(
    hosted: Hosted, connect: Connect, provider: str, path: str
) -> None:
    """The token that is destroyed is the one that was revoked, also when it came in between."""
    connection = (await connect(provider)).connection
    assert connection is not None
    held = hold(hosted, provider, path)
    ending = asyncio.create_task(
        hosted.rooms.connecting.disconnection.connection(
            hosted.scene.environment_id, connection.connection_id, origin=BACKEND
        )
    )
    assert await held.wait_for(1, 10)
    again = (await connect(provider, reconnect_id=connection.connection_id)).connection
    assert again is not None
    assert len(alive(hosted, provider)) == 1
    held.release()
    assert (await ending).status is ConnectionStatus.REVOKED
    assert alive(hosted, provider) == []
    [told] = await hosted.events("connection.disconnected")
    assert told.data["upstream"] == "revoked"
    with pytest.raises(NotConnected):
        await hosted.credential(provider, tenant_id="org_acme", user_id="user_123")


async def test_what_a_reinstallation_brought_while_an_installation_was_removed_goes_too(
    hosted: Hosted, connect: Connect
) -> None:
    """The bot does not stay in a workspace whose installation is gone."""
    installation = (await connect(kind="installation", guild_id=GUILD)).installation
    assert installation is not None
    held = hold(hosted, "discord", f"guilds/{GUILD}")
    ending = asyncio.create_task(
        hosted.rooms.connecting.disconnection.installation(
            hosted.scene.environment_id, installation.installation_id, origin=BACKEND
        )
    )
    assert await held.wait_for(1, 10)
    await connect(kind="installation", guild_id=GUILD, reconnect_id=installation.installation_id)
    assert installed(hosted)
    held.release()
    assert (await ending).status is InstallationStatus.DELETED
    assert not installed(hosted)
    with pytest.raises(NotConnected):
        await hosted.credential(tenant_id="org_acme", credential_for=CredentialFor.INSTALLATION)


async def test_a_reconnect_completed_after_the_end_is_given_back(
    hosted: Hosted, connect: Connect, go_and_come_back: Back
) -> None:
    """While its grant waited nothing was revoked, so refusing it revokes both."""
    connection = (await connect()).connection
    assert connection is not None
    session, page = await go_and_come_back(reconnect_id=connection.connection_id)
    await hosted.rooms.connecting.disconnection.connection(
        hosted.scene.environment_id, connection.connection_id, origin=BACKEND
    )
    [told] = await hosted.events("connection.disconnected")
    assert told.data["upstream"] == "skipped_shared"
    with pytest.raises(ConnectError) as refused:
        await hosted.complete(session.session_id, page.query["completion_code"])
    assert refused.value.code == "connection_ended"
    assert alive(hosted) == []


async def _elsewhere(hosted: Hosted) -> Scene:
    """Another environment of the workspace, with the same OAuth client at the same provider."""
    rooms = hosted.rooms
    return await Scene.set(
        rooms.database, rooms.vault, rooms.catalog, hosted.clock, hosted.sandbox, name="elsewhere"
    )


async def test_another_environments_connection_on_the_same_account_is_not_cut(
    hosted: Hosted, connect: Connect
) -> None:
    """To the provider both are one application; nothing of the other environment is told."""
    connection = (await connect()).connection
    assert connection is not None
    base_url = (await hosted.rooms.providers.by_name(hosted.scene.environment_id, "discord")).config.base_url
    scene = await _elsewhere(hosted)
    config = await scene.config("discord", base_url=base_url)
    await scene.connection(config, account_id=connection.account_id)
    disconnection = hosted.rooms.connecting.disconnection
    await disconnection.connection(hosted.scene.environment_id, connection.connection_id, origin=BACKEND)
    assert len(alive(hosted)) == 1
    [told] = await hosted.events("connection.disconnected")
    assert told.data == {"provider": "discord", "user_id": "user_123", "upstream": "skipped_shared"}


@pytest.mark.parametrize(
    "other",
    [{"client_id": "another-client"}, {"base_url": "https://discord.example.com"}, {"account_id": "9"}],
)
async def test_another_application_server_or_account_shares_nothing(
    hosted: Hosted, connect: Connect, other: dict[str, str]
) -> None:
    """Then the grant is revoked."""
    connection = (await connect()).connection
    assert connection is not None
    base_url = (await hosted.rooms.providers.by_name(hosted.scene.environment_id, "discord")).config.base_url
    scene = await _elsewhere(hosted)
    account = {"account_id": connection.account_id} | {k: v for k, v in other.items() if k == "account_id"}
    config = await scene.config(
        "discord", **{"base_url": base_url} | {k: v for k, v in other.items() if k != "account_id"}
    )
    await scene.connection(config, **account)
    disconnection = hosted.rooms.connecting.disconnection
    await disconnection.connection(hosted.scene.environment_id, connection.connection_id, origin=BACKEND)
    assert alive(hosted) == []


async def test_a_workspace_another_environment_is_installed_in_is_not_left(
    hosted: Hosted, connect: Connect
) -> None:
    """There is one bot for both."""
    installation = (await connect(kind="installation", guild_id=GUILD)).installation
    assert installation is not None
    base_url = (await hosted.rooms.providers.by_name(hosted.scene.environment_id, "discord")).config.base_url
    scene = await _elsewhere(hosted)
    config = await scene.config("discord", base_url=base_url)
    there = await scene.installation(config, external_id=GUILD)
    async with hosted.rooms.database.tenant(scene.environment_id, scene.tenant_id) as transaction:
        await transaction.installations.claim(there)
    disconnection = hosted.rooms.connecting.disconnection
    await disconnection.installation(
        hosted.scene.environment_id, installation.installation_id, origin=BACKEND
    )
    assert installed(hosted)
    [told] = await hosted.events("installation.deleted")
    assert told.data["upstream"] == "skipped_shared"
    async with hosted.rooms.database.tenant(scene.environment_id, scene.tenant_id) as transaction:
        await transaction.installations.release(there)
    again = (await connect(kind="installation", guild_id=GUILD)).installation
    assert again is not None
    await disconnection.installation(hosted.scene.environment_id, again.installation_id, origin=BACKEND)
    assert not installed(hosted)
