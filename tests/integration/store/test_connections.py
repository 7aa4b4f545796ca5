"""Connections and installations: one per slot, one primary, one tenant per workspace."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import asyncpg
import pytest

from authpipe.domain.connection import Connection, ConnectionStatus, Installation, InstallationStatus
from authpipe.domain.identifiers import new_id
from authpipe.domain.provider_config import ProviderConfig
from support.scene import Scene


@pytest.fixture
async def config(scene: Scene) -> ProviderConfig:
    return await scene.config()


async def add(scene: Scene, connection: Connection) -> bool:
    async with scene.database.tenant(scene.environment_id, connection.tenant_id) as transaction:
        return await transaction.connections.add(connection)


async def test_a_user_has_one_live_connection_per_label(scene: Scene, config: ProviderConfig) -> None:
    """A second one is refused without an error, unless it has a label of its own."""
    first = await scene.connection(config)
    assert not await add(scene, replace(first, connection_id=new_id()))
    assert await add(scene, replace(first, connection_id=new_id(), label="work"))
    assert not await add(scene, replace(first, connection_id=new_id(), label="work"))
    assert await add(scene, replace(first, connection_id=new_id(), user_id="user_456"))
    assert await add(scene, replace(first, connection_id=new_id(), user_id=None))
    assert not await add(scene, replace(first, connection_id=new_id(), user_id=None))


async def test_a_revoked_connection_leaves_its_slot(scene: Scene, config: ProviderConfig) -> None:
    """Its record stays; the user can connect again under the same label."""
    first = await scene.connection(config, is_primary=True)
    place = (scene.environment_id, scene.tenant_id, first.connection_id)
    async with scene.database.tenant(*place[:2]) as transaction:
        assert await transaction.connections.set_status(
            *place, status=ConnectionStatus.REVOKED, reason="disconnected", at=scene.clock.now()
        )
        assert (
            await transaction.connections.for_slot(
                *place[:2], config.provider_config_id, user_id="user_123", label=None
            )
            is None
        )
    assert await add(scene, replace(first, connection_id=new_id()))
    async with scene.database.tenant(*place[:2]) as transaction:
        revived = await transaction.connections.set_status(
            *place, status=ConnectionStatus.ACTIVE, reason=None, at=scene.clock.now()
        )
        assert revived is None, "a revoked connection is over for good"


async def test_of_ten_that_connect_at_once_one_gets_the_slot(scene: Scene, config: ProviderConfig) -> None:
    """The database decides, so it holds across replicas."""
    first = await scene.connection(config, user_id="user_0")
    new = [replace(first, connection_id=new_id(), user_id="user_9") for _ in range(10)]
    assert sorted(await asyncio.gather(*(add(scene, connection) for connection in new))) == [False] * 9 + [
        True
    ]


async def test_a_user_has_one_primary_connection(scene: Scene, config: ProviderConfig) -> None:
    """Adding another primary is refused; making one primary takes the mark from the others of that user."""
    first = await scene.connection(config, is_primary=True)
    assert not await add(scene, replace(first, connection_id=new_id(), label="work"))
    second = await scene.connection(config, label="work")
    stranger = await scene.connection(config, user_id="user_456", is_primary=True)
    async with scene.database.tenant(scene.environment_id, scene.tenant_id) as transaction:
        await transaction.connections.make_primary(second, at=scene.clock.now())
        await transaction.connections.update(replace(second, is_primary=True), at=scene.clock.now())
        page = await transaction.connections.page(scene.environment_id, tenant_id=scene.tenant_id)
    assert {connection.connection_id for connection in page if connection.is_primary} == {
        second.connection_id,
        stranger.connection_id,
    }


async def test_pages_are_whole_and_in_order(scene: Scene, config: ProviderConfig) -> None:
    """Following the cursor shows every connection once, and filters narrow it."""
    made = [
        (await scene.connection(config, user_id=f"user_{number}", label="odd" if number % 2 else None))
        for number in range(7)
    ]
    seen: list[UUID] = []
    after = None
    async with scene.database.environment(scene.environment_id) as transaction:
        while page := await transaction.connections.page(scene.environment_id, after=after, limit=3):
            seen += [connection.connection_id for connection in page]
            after = seen[-1]
        one = await transaction.connections.page(scene.environment_id, user_id="user_3", provider="discord")
        none = await transaction.connections.page(scene.environment_id, status="revoked")
    assert seen == [connection.connection_id for connection in made]
    assert [connection.connection_id for connection in one] == [made[3].connection_id]
    assert none == []


async def test_a_status_that_stands_is_no_change(scene: Scene, config: ProviderConfig) -> None:
    """So that repeating it writes no second event; another reason is a change."""
    connection = await scene.connection(config)
    place = (scene.environment_id, scene.tenant_id, connection.connection_id)
    later = scene.clock.now() + timedelta(seconds=1)
    async with scene.database.tenant(*place[:2]) as transaction:
        first, again, other = [
            await transaction.connections.set_status(
                *place, status=ConnectionStatus.NEEDS_REAUTH, reason=reason, at=later
            )
            for reason in ("revoked", "revoked", "expired")
        ]
    assert first is not None
    assert first.updated_at == later
    assert again is None
    assert other is not None
    assert other.version == first.version + 1


async def test_an_account_is_shared_when_another_tenant_stands_on_it(
    scene: Scene, config: ProviderConfig
) -> None:
    """Seen across tenants; an unknown account counts as shared, an ended connection does not."""
    first = await scene.connection(config, account_id="ada")
    await scene.tenant("org_other")

    async def shared(account_id: str | None) -> bool:
        async with scene.database.environment(scene.environment_id) as transaction:
            return await transaction.connections.account_is_shared(
                scene.environment_id,
                config.provider_config_id,
                account_id=account_id,
                apart_from=first.connection_id,
                candidate_id=None,
                now=scene.clock.now(),
            )

    assert not await shared("ada")
    await scene.connection(config, tenant_id="org_other", account_id="grace")
    assert not await shared("ada")
    second = await scene.connection(config, tenant_id="org_other", user_id="user_9", account_id="ada")
    assert await shared("ada")
    async with scene.database.tenant(scene.environment_id, "org_other") as transaction:
        await transaction.connections.set_status(
            scene.environment_id,
            "org_other",
            second.connection_id,
            status=ConnectionStatus.REVOKED,
            reason="disconnected",
            at=scene.clock.now(),
        )
    assert not await shared("ada")
    assert await shared(None)


async def claim(scene: Scene, installation: Installation) -> tuple[str, UUID]:
    async with scene.database.tenant(scene.environment_id, installation.tenant_id) as transaction:
        return await transaction.installations.claim(installation)


async def test_a_workspace_belongs_to_the_tenant_that_claimed_it_first(
    scene: Scene, config: ProviderConfig
) -> None:
    """The second learns who holds it; after the release it can be had."""
    await scene.tenant("org_other")
    mine = await scene.installation(config)
    theirs = await scene.installation(config, tenant_id="org_other")
    holder = (mine.tenant_id, mine.installation_id)
    assert await claim(scene, mine) == holder
    assert await claim(scene, theirs) == holder
    async with scene.database.tenant(scene.environment_id, "org_other") as transaction:
        await transaction.installations.release(theirs)
    assert await claim(scene, theirs) == holder, "nobody releases what is not theirs"
    async with scene.database.tenant(scene.environment_id, scene.tenant_id) as transaction:
        await transaction.installations.release(mine)
        assert (
            await transaction.installations.claimed_by(
                scene.environment_id, config.provider_config_id, mine.external_id
            )
            is None
        )
    assert await claim(scene, theirs) == ("org_other", theirs.installation_id)


async def test_of_ten_tenants_that_claim_at_once_one_holds_it(scene: Scene, config: ProviderConfig) -> None:
    """All ten are told the same holder."""
    installations = []
    for number in range(10):
        tenant_id = await scene.tenant(f"org_{number}")
        installations.append(await scene.installation(config, tenant_id=tenant_id))
    holders = await asyncio.gather(*(claim(scene, installation) for installation in installations))
    assert len(set(holders)) == 1


async def test_a_tenant_has_one_primary_installation(scene: Scene, config: ProviderConfig) -> None:
    """A deleted one does not hold the place."""
    first = await scene.installation(config, is_primary=True)
    with pytest.raises(asyncpg.UniqueViolationError):
        await scene.installation(config, external_id="2", is_primary=True)
    place = (scene.environment_id, scene.tenant_id, first.installation_id)
    async with scene.database.tenant(*place[:2]) as transaction:
        assert await transaction.installations.set_status(
            *place, status=InstallationStatus.DELETED, reason="disconnected", at=scene.clock.now()
        )
    second = await scene.installation(config, external_id="2", is_primary=True)
    async with scene.database.tenant(*place[:2]) as transaction:
        live = await transaction.installations.live(*place[:2], config.provider_config_id)
    assert [installation.installation_id for installation in live] == [second.installation_id]
