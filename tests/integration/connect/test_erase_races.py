"""What is under way for a tenant while it is erased: it leaves no row, no key and no grant behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from authpipe.connect.erase import UNHURRIED, Patience
from authpipe.credentials.contexts import secret_context
from authpipe.credentials.outcome import Refreshed
from authpipe.domain.access import ApiKeyRole
from authpipe.domain.clock import ManualClock
from authpipe.domain.erasure import ErasureCertificate
from authpipe.domain.errors import Conflict
from authpipe.domain.event import ActorKind, Origin
from authpipe.domain.identifiers import new_id
from authpipe.domain.secret import Secret
from authpipe.sandbox import seeds
from authpipe.sandbox.faults import FaultOrder
from authpipe.sandbox.server import SandboxServer
from authpipe.vault.context import EncryptionContext
from authpipe.vault.keks.local import LocalKek
from support.erasing import begin_erasure, left_of
from support.hosted import Hosted, host
from support.person import Page

if TYPE_CHECKING:
    from conftest import Back, Connect, Dsns
    from support.replica import Replicas

BACKEND = Origin(actor_kind=ActorKind.API_KEY, actor_id="test")
TENANT = "org_acme"
KEY = dict(zip(("username", "api_key"), next(iter(seeds.CLICKSEND_API_KEYS.items())), strict=True))


@pytest.fixture
async def hosted(
    dsns: Dsns, tmp_path: Path, clock: ManualClock, sandbox: SandboxServer, kek: LocalKek
) -> AsyncIterator[Hosted]:
    """With the KEK that the replicas have."""
    keks = (f"local:{tmp_path / 'kek'}",)
    async with host(dsns.owner, tmp_path, clock, sandbox, keks=keks) as hosted:
        for provider in ("discord", "clicksend", "dialpad"):
            await hosted.configure(provider)
        yield hosted


def alive(hosted: Hosted, provider: str = "discord") -> list[Any]:
    """The authorizations that still hold at the sandbox."""
    return [each for each in hosted.sandbox.state.ledgers[provider].authorizations if not each.revoked]


async def erased(hosted: Hosted, patience: Patience = UNHURRIED) -> ErasureCertificate:
    """Erase the scene's tenant."""
    return await hosted.rooms.connecting.tenant_erasure.erase(
        hosted.scene.environment_id, TENANT, origin=BACKEND, patience=patience
    )


async def nothing_left(hosted: Hosted, dsns: Dsns) -> bool:
    return await left_of(dsns.superuser, hosted.scene.environment_id, TENANT) == {}


async def begun(hosted: Hosted) -> None:
    """Mark the tenant and go no further."""
    await begin_erasure(hosted.rooms.database, hosted.clock, hosted.scene.environment_id, TENANT)


async def test_a_callback_that_comes_too_late_gives_its_grant_back(
    hosted: Hosted, go_and_come_back: Back, dsns: Dsns
) -> None:
    """The code is being exchanged while the tenant goes: the token that comes of it is revoked."""
    held = hosted.sandbox.state.faults.add(FaultOrder("hold", grant_type="authorization_code"))
    coming_back = asyncio.create_task(go_and_come_back())
    assert await held.wait_for(1, 10)
    await erased(hosted)
    assert len(alive(hosted)) == 1
    held.release()
    _, page = await coming_back
    assert page.status == 410
    assert "already finished" in page.text
    assert alive(hosted) == []
    assert await nothing_left(hosted, dsns)


async def test_a_callback_in_the_middle_of_an_erasure_gives_its_grant_back(
    hosted: Hosted, go_and_come_back: Back, dsns: Dsns
) -> None:
    """The tenant is marked, its session is still there: the candidate is refused all the same."""
    held = hosted.sandbox.state.faults.add(FaultOrder("hold", grant_type="authorization_code"))
    coming_back = asyncio.create_task(go_and_come_back())
    assert await held.wait_for(1, 10)
    await begun(hosted)
    held.release()
    _, page = await coming_back
    assert page.status == 410
    assert "already finished" in page.text
    assert alive(hosted) == []
    await hosted.rooms.connecting.tenant_erasure.resume()
    assert await nothing_left(hosted, dsns)


async def test_a_key_that_is_being_tried_is_not_kept(
    hosted: Hosted, go_and_come_back: Back, dsns: Dsns
) -> None:
    """The person entered it before the erasure began, and the provider answers after its end."""
    held = hosted.sandbox.state.faults.add(FaultOrder("hold", provider="clicksend", times=1))
    entering = asyncio.create_task(go_and_come_back("clicksend", key=KEY))
    assert await held.wait_for(1, 10)
    await erased(hosted)
    held.release()
    page: Page
    _, page = await entering
    assert page.status == 410
    assert await nothing_left(hosted, dsns)


async def test_a_key_stored_by_the_application_makes_no_tenant_of_half(hosted: Hosted, dsns: Dsns) -> None:
    """It comes before or after: what the application stores after the erasure is a new tenant's."""
    held = hosted.sandbox.state.faults.add(FaultOrder("hold", provider="clicksend", times=1))
    storing = asyncio.create_task(
        hosted.rooms.connecting.direct_storage.key(
            hosted.scene.environment_id,
            provider="clicksend",
            tenant_id=TENANT,
            user_id="user_123",
            label=None,
            fields={name: Secret(value) for name, value in KEY.items()},
            origin=BACKEND,
        )
    )
    assert await held.wait_for(1, 10)
    await begun(hosted)
    held.release()
    with pytest.raises(Conflict) as refused:
        await storing
    assert refused.value.code == "tenant_erasing"
    await hosted.rooms.connecting.tenant_erasure.resume()
    assert await nothing_left(hosted, dsns)


async def test_a_refresh_under_way_is_waited_for_and_its_new_token_revoked(
    hosted: Hosted, connect: Connect, dsns: Dsns
) -> None:
    """Revoking the old token only would leave the one that is about to come."""
    await connect("dialpad")
    hosted.clock.advance(timedelta(days=1))
    held = hosted.sandbox.state.faults.add(FaultOrder("hold", grant_type="refresh_token"))
    refreshing = asyncio.create_task(hosted.rooms.refresh_worker.round())
    assert await held.wait_for(1, 10)
    erasing = asyncio.create_task(erased(hosted))
    async with asyncio.timeout(10):
        while not await _is_erasing(hosted):
            await asyncio.sleep(0.01)
    held.release()
    certificate = await erasing
    await refreshing
    assert certificate.counts.revoked_upstream == 1
    assert alive(hosted, "dialpad") == []
    assert await nothing_left(hosted, dsns)


async def test_a_refresh_answered_after_the_end_stores_nothing(
    hosted: Hosted, connect: Connect, dsns: Dsns
) -> None:
    """The erasure had no time to wait: it says that the grant was not revoked, and nothing comes back."""
    await connect("dialpad")
    hosted.clock.advance(timedelta(days=1))
    held = hosted.sandbox.state.faults.add(FaultOrder("hold", grant_type="refresh_token"))
    refreshing = asyncio.create_task(hosted.rooms.refresh_worker.round())
    assert await held.wait_for(1, 10)
    certificate = await erased(hosted, Patience(upstream_s=0.2))
    assert certificate.counts.not_revoked == 1
    held.release()
    await refreshing
    assert await nothing_left(hosted, dsns)


async def test_an_answer_on_a_local_disk_is_dropped(hosted: Hosted, replicas: Replicas, dsns: Dsns) -> None:
    """A replica that crashed before its commit left one; its key and its row are gone."""
    superuser = await asyncpg.connect(dsns.superuser)
    scene = hosted.scene
    config = await hosted.rooms.providers.by_name(scene.environment_id, "discord")
    stored = await scene.connected(config.config)
    claimed = await scene.claim(stored.credential)
    dead = await replicas.start()
    await superuser.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'refused' USING ERRCODE = '57P01'; END $$;"
        "CREATE TRIGGER refuse BEFORE UPDATE ON credentials FOR EACH ROW"
        " WHEN (NEW.version > OLD.version) EXECUTE FUNCTION refuse()"
    )
    assert await dead.engine.attempt(claimed) is Refreshed.SPOOLED
    await dead.replay.close()
    await superuser.execute("DROP FUNCTION refuse CASCADE")
    await superuser.close()
    hosted.clock.advance(timedelta(seconds=61))
    await erased(hosted)
    heir = await replicas.start()
    assert await heir.replay.adopt() == 1
    assert await heir.replay.adopt() == 0
    assert await nothing_left(hosted, dsns)


async def test_what_is_being_added_when_an_erasure_begins_goes_with_the_rest(
    hosted: Hosted, go_and_come_back: Back, dsns: Dsns
) -> None:
    """Whoever came first is waited for: no transaction commits behind an erasure's back."""
    session, _ = await go_and_come_back()
    scene = hosted.scene
    superuser = await asyncpg.connect(dsns.superuser)
    async with scene.database.tenant(scene.environment_id, TENANT) as transaction:
        await transaction.tenants.keep(scene.environment_id, TENANT)
        erasing = asyncio.create_task(erased(hosted))
        async with asyncio.timeout(10):
            while not await superuser.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
                await asyncio.sleep(0.01)
        completed = await transaction.sessions.completed(
            session, connection_id=new_id(), installation_id=None, at=hosted.clock.now()
        )
        assert completed is not None
    await superuser.close()
    assert (await erasing).counts.connect_sessions == 1
    assert await nothing_left(hosted, dsns)


async def test_nothing_begins_for_a_tenant_that_is_being_erased(
    hosted: Hosted, connect: Connect, go_and_come_back: Back
) -> None:
    """Every door answers the same, and a browser reads that it is over."""
    await connect()
    waiting, page = await go_and_come_back("dialpad")
    pending, link = await hosted.mint()
    rooms, environment_id = hosted.rooms, hosted.scene.environment_id
    connection = (await hosted.events("connection.created"))[0].object_id
    [stored] = await _credentials(hosted)
    await begun(hosted)
    place = EncryptionContext(
        environment_id=environment_id, tenant_id=TENANT, row_id=new_id(), field="secret"
    )
    doors = {
        "session": hosted.mint(),
        "reconnect": hosted.mint(reconnect_id=connection),
        "completion": hosted.complete(waiting.session_id, page.query["completion_code"]),
        "read": hosted.credential(tenant_id=TENANT, user_id="user_123"),
        "name": rooms.connecting.amendment.tenant(environment_id, TENANT, name="Acme", origin=BACKEND),
        "refresh": rooms.refresh_now.beyond(environment_id, TENANT, stored, version=1),
        "api key": rooms.api_keys.create(
            environment_id, name="new", role=ApiKeyRole.SERVER, tenant_id=TENANT, origin=BACKEND
        ),
        "key": rooms.connecting.direct_storage.key(
            environment_id, provider="clicksend", tenant_id=TENANT, user_id="u", label=None,
            fields={name: Secret(value) for name, value in KEY.items()}, origin=BACKEND,
        ),
    }  # fmt: skip
    for name, door in doors.items():
        with pytest.raises(Conflict) as refused:
            await door
        assert refused.value.code == "tenant_erasing", name
    hosted.clock.advance(timedelta(days=30))
    assert await rooms.refresh_worker.round() == 0
    # A keyset is destroyed: nobody makes another one.
    async with rooms.database.tenant(environment_id, TENANT) as transaction:
        await transaction.data_keys.destroy_all(environment_id, TENANT)
    rooms.vault.forget(environment_id, TENANT)
    with pytest.raises(Conflict):
        await rooms.vault.encrypt(Secret("s"), place)
    async with hosted.person() as person:
        assert (await person.open(link)).status in (404, 409, 410)
    assert (await hosted.session(pending.session_id)).status.value == "pending"


async def test_a_replica_that_still_holds_the_key_in_memory_stores_nothing(
    hosted: Hosted, replicas: Replicas, dsns: Dsns
) -> None:
    """It did not hear of the erasure: what it encrypted finds no place, and nobody makes another key."""
    replica = await replicas.start()
    scene = hosted.scene
    config = await hosted.rooms.providers.by_name(scene.environment_id, "discord")
    stored = (await scene.connected(config.config)).credential
    place = secret_context(scene.environment_id, TENANT, stored.credential_id)
    sealer = await replica.vault.sealer(scene.environment_id, TENANT, encryptions=1)
    await erased(hosted)
    late = replace(stored, secret_ciphertext=sealer.encrypt(Secret("s"), place))
    with pytest.raises(Conflict) as refused:
        async with replica.database.tenant(scene.environment_id, TENANT) as transaction:
            await transaction.credentials.put(late, facts={})
    assert refused.value.code == "tenant_erasing"
    replica.vault.forget(scene.environment_id, TENANT)
    with pytest.raises(Conflict):
        await replica.vault.encrypt(Secret("s"), place)
    assert await nothing_left(hosted, dsns)


async def _is_erasing(hosted: Hosted) -> bool:
    async with hosted.rooms.database.environment(hosted.scene.environment_id) as transaction:
        tenant = await transaction.tenants.get(hosted.scene.environment_id, TENANT)
    return tenant is not None and tenant.erasing_at is not None


async def _credentials(hosted: Hosted) -> list[Any]:
    [event] = await hosted.events("connection.created")
    async with hosted.rooms.database.tenant(hosted.scene.environment_id, TENANT) as transaction:
        owned = await transaction.credentials.owned(hosted.scene.environment_id, TENANT, event.object_id)
    return [each.credential_id for each in owned]
