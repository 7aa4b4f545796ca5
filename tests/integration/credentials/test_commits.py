"""Answers that come together are committed together; none of them suffers for another."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta

import asyncpg
import pytest

from authpipe.credentials.commits import Commits
from authpipe.credentials.contexts import refresh_context, secret_context
from authpipe.credentials.outcome import Refreshed
from authpipe.credentials.spool import SpoolRecord
from authpipe.domain.clock import ManualClock
from authpipe.domain.connection import ConnectionStatus, InstallationStatus
from authpipe.domain.credential import StoredCredential
from authpipe.domain.provider_config import ProviderConfig
from authpipe.domain.secret import Secret
from authpipe.store.credentials import RefreshedSecrets
from support.postgres import Dsns
from support.scene import Scene, Stored

HOUR = timedelta(hours=1)
#: With characters that a list of lists in SQL must not trip over.
SCOPES = ("identify", 'with "quotes"', "back\\slash", "comma,brace}", "NULL", "ünïcode")


@pytest.fixture
def commits(scene: Scene, clock: ManualClock) -> Commits:
    return Commits(scene.database, clock)


@pytest.fixture
async def superuser(dsns: Dsns) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    connection = await asyncpg.connect(dsns.superuser)
    yield connection
    await connection.execute("DROP FUNCTION IF EXISTS refuse CASCADE")
    await connection.close()


async def answer(scene: Scene, credential: StoredCredential) -> SpoolRecord:
    """What a provider could have said to a credential as it was claimed."""
    place = (credential.environment_id, credential.tenant_id, credential.credential_id)
    now = scene.clock.now()
    return SpoolRecord(
        environment_id=credential.environment_id,
        tenant_id=credential.tenant_id,
        credential_id=credential.credential_id,
        version=credential.version,
        secrets=RefreshedSecrets(
            secret_ciphertext=await scene.vault.encrypt(Secret(f"new {place[2]}"), secret_context(*place)),
            refresh_ciphertext=await scene.vault.encrypt(Secret("next"), refresh_context(*place)),
            scopes=SCOPES,
            expires_at=now + HOUR,
            refresh_due_at=now + HOUR / 2,
            refresh_expires_at=now + 24 * HOUR,
            issued_at=now,
            previous_until=now + HOUR,
        ),
    )


async def claimed(
    scene: Scene, config: ProviderConfig, count: int
) -> tuple[list[Stored], list[StoredCredential]]:
    made = [await scene.connected(config, user_id=f"user_{number}") for number in range(count)]
    return made, [await scene.claim(each.credential) for each in made]


async def write(
    scene: Scene, commits: Commits, credentials: list[StoredCredential]
) -> list[Refreshed | BaseException]:
    """All of them in one moment, which makes one group."""
    answers = [await answer(scene, each) for each in credentials]
    return await asyncio.gather(
        *(commits.write(record, each) for record, each in zip(answers, credentials, strict=True)),
        return_exceptions=True,
    )


async def test_a_group_is_committed_as_each_would_be_by_itself(
    scene: Scene, commits: Commits, config: ProviderConfig, clock: ManualClock
) -> None:
    """Every column, and an event each that names the user."""
    _, credentials = await claimed(scene, config, 5)
    assert await write(scene, commits, credentials) == [Refreshed.REFRESHED] * 5
    for credential in credentials:
        now = await scene.now(credential)
        access, refresh = await scene.secrets_of(now)
        assert (access, refresh) == (f"new {credential.credential_id}", "next")
        assert (now.version, now.lease, now.lease_until, now.refresh_failures) == (2, None, None, 0)
        assert now.scopes == SCOPES
        assert (now.expires_at, now.refresh_due_at) == (clock.now() + HOUR, clock.now() + HOUR / 2)
        assert (now.refresh_expires_at, now.issued_at) == (clock.now() + 24 * HOUR, clock.now())
    events = await scene.events()
    assert {event.data["user_id"] for event in events} == {f"user_{number}" for number in range(5)}
    assert {event.object_id for event in events} == {str(each.credential_id) for each in credentials}
    assert {event.data["version"] for event in events} == {2}


async def test_a_group_and_one_alone_write_the_same_row(
    scene: Scene,
    commits: Commits,
    config: ProviderConfig,
    superuser: asyncpg.Connection[asyncpg.Record],
) -> None:
    """Column by column, but for what identifies the credential and its secrets."""
    _, credentials = await claimed(scene, config, 3)
    await write(scene, commits, credentials[:2])
    await commits.write(await answer(scene, credentials[2]), credentials[2])
    own = {"credential_id", "owner_id", "secret_ciphertext", "refresh_ciphertext"}
    own |= {"previous_secret_ciphertext", "previous_refresh_ciphertext"}
    rows = [
        {name: value for name, value in row.items() if name not in own}
        for row in await superuser.fetch("SELECT * FROM credentials")
    ]
    assert len(rows) == 3
    assert rows[0] == rows[1] == rows[2]


async def test_one_that_is_too_late_spoils_nothing(
    scene: Scene, commits: Commits, config: ProviderConfig
) -> None:
    """Somebody stored newer secrets for one of three: it gives way, without an event."""
    _, credentials = await claimed(scene, config, 3)
    async with scene.database.tenant(scene.environment_id, scene.tenant_id) as transaction:
        newer = (await answer(scene, credentials[1])).secrets
        assert await transaction.credentials.commit_refresh(credentials[1], newer)
    outcomes = await write(scene, commits, credentials)
    assert outcomes == [Refreshed.REFRESHED, Refreshed.SUPERSEDED, Refreshed.REFRESHED]
    assert (await scene.now(credentials[1])).version == 2
    assert len(await scene.events()) == 2


async def test_one_that_the_database_refuses_fails_by_itself(
    scene: Scene,
    commits: Commits,
    config: ProviderConfig,
    superuser: asyncpg.Connection[asyncpg.Record],
) -> None:
    """The others are committed, once, each with its event."""
    _, credentials = await claimed(scene, config, 4)
    await superuser.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'refused' USING ERRCODE = '23514'; END $$;"
        "CREATE TRIGGER refuse BEFORE UPDATE ON credentials FOR EACH ROW"
        f" WHEN (OLD.credential_id = '{credentials[2].credential_id}') EXECUTE FUNCTION refuse()"
    )
    first, second, refused, fourth = await write(scene, commits, credentials)
    assert (first, second, fourth) == (Refreshed.REFRESHED,) * 3
    assert isinstance(refused, asyncpg.CheckViolationError)
    assert [(await scene.now(each)).version for each in credentials] == [2, 2, 1, 2]
    assert Counter(event.type for event in await scene.events()) == {"credential.refreshed": 3}


async def test_a_row_that_somebody_holds_keeps_nobody_waiting(
    scene: Scene,
    commits: Commits,
    config: ProviderConfig,
    superuser: asyncpg.Connection[asyncpg.Record],
) -> None:
    """The group goes on without it; it is committed when it is free."""
    _, credentials = await claimed(scene, config, 3)
    answers = [await answer(scene, each) for each in credentials]
    held = superuser.transaction()
    await held.start()
    await superuser.execute(
        "SELECT FROM credentials WHERE credential_id = $1 FOR UPDATE", credentials[0].credential_id
    )
    writing = [
        asyncio.create_task(commits.write(record, each))
        for record, each in zip(answers, credentials, strict=True)
    ]
    assert await asyncio.wait_for(asyncio.gather(*writing[1:]), 5) == [Refreshed.REFRESHED] * 2
    assert not writing[0].done()
    await held.rollback()
    assert await asyncio.wait_for(writing[0], 5) is Refreshed.REFRESHED


async def test_owners_that_were_given_up_recover_with_the_group(
    scene: Scene, commits: Commits, config: ProviderConfig
) -> None:
    """Those given up for want of this answer, and no others; installations as well."""
    made, credentials = await claimed(scene, config, 3)
    drift = await scene.config("drift")
    installed = await scene.token(drift, await scene.installation(drift))
    place = (scene.environment_id, scene.tenant_id)
    async with scene.database.tenant(*place) as transaction:
        for stored, reason in ((made[0], "revoked"), (made[1], "installation_removed")):
            await transaction.connections.set_status(
                *place,
                stored.owner_id,
                status=ConnectionStatus.NEEDS_REAUTH,
                reason=reason,
                at=scene.clock.now(),
            )
        await transaction.installations.set_status(
            *place,
            installed.owner_id,
            status=InstallationStatus.NEEDS_REAUTH,
            reason="refresh_outcome_unknown",
            at=scene.clock.now(),
        )
    outcomes = await write(scene, commits, [*credentials, await scene.claim(installed.credential)])
    assert outcomes == [Refreshed.REFRESHED] * 4
    statuses = [(await scene.owner(each)).status.value for each in (*made, installed)]
    assert statuses == ["active", "needs_reauth", "active", "active"]
    told = Counter(event.type for event in await scene.events())
    assert told == {"credential.refreshed": 4, "connection.recovered": 1, "installation.recovered": 1}


async def test_a_group_may_hold_credentials_of_many_tenants(
    scene: Scene, commits: Commits, config: ProviderConfig
) -> None:
    """Each event is its tenant's."""
    credentials = []
    for number in range(3):
        tenant_id = await scene.tenant(f"org_{number}")
        connection = await scene.connection(config, tenant_id=tenant_id)
        credentials.append(await scene.claim((await scene.token(config, connection)).credential))
    assert await write(scene, commits, credentials) == [Refreshed.REFRESHED] * 3
    events = await scene.events()
    assert {(event.tenant_id, event.object_id) for event in events} == {
        (each.tenant_id, str(each.credential_id)) for each in credentials
    }
