"""Leases and compare-and-swap: what keeps two workers from using one refresh token."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from authpipe.domain.clock import ManualClock
from authpipe.domain.credential import StoredCredential
from authpipe.domain.identifiers import new_id
from authpipe.domain.provider_config import ProviderConfig
from authpipe.store.credentials import RefreshedSecrets
from authpipe.store.database import Database
from authpipe.store.queries import load
from support.postgres import Dsns
from support.scene import Scene, Stored

LEASE = timedelta(seconds=60)
HOUR = timedelta(hours=1)


@pytest.fixture
async def config(scene: Scene) -> ProviderConfig:
    return await scene.config()


async def due(scene: Scene, config: ProviderConfig, count: int, **changed: Any) -> list[Stored]:
    """Credentials that are due, the first the longest."""
    now = scene.clock.now()
    return [
        await scene.connected(
            config, user_id=str(number), due_at=now - timedelta(seconds=count - number), **changed
        )
        for number in range(count)
    ]


async def claim_due(
    database: Database, now: datetime, limit: int = 100, not_of: tuple[UUID, ...] = ()
) -> list[StoredCredential]:
    async with database.system() as transaction:
        return await transaction.credentials.claim_due(
            now=now, lease_until=now + LEASE, limit=limit, rooms=dict.fromkeys(not_of, 0)
        )


def refreshed(now: datetime, **changed: Any) -> RefreshedSecrets:
    secrets = RefreshedSecrets(
        secret_ciphertext=b"new secret",
        refresh_ciphertext=b"new refresh",
        scopes=("identify",),
        expires_at=now + HOUR,
        refresh_due_at=now + HOUR / 2,
        refresh_expires_at=None,
        issued_at=now,
        previous_until=now + HOUR,
    )
    return replace(secrets, **changed)


def ids(credentials: list[StoredCredential]) -> list[UUID]:
    return [credential.credential_id for credential in credentials]


async def test_what_is_due_is_claimed_once(scene: Scene, config: ProviderConfig) -> None:
    """A second claim finds nothing until the lease ran out; every lease is another."""
    made = await due(scene, config, 3)
    await scene.connected(config, user_id="later", due_at=scene.clock.now() + timedelta(seconds=1))
    first = await claim_due(scene.database, scene.clock.now())
    assert sorted(ids(first)) == sorted(stored.credential.credential_id for stored in made)
    assert len({credential.lease for credential in first}) == 3
    assert not any(credential.outcome_unknown for credential in first)
    assert await claim_due(scene.database, scene.clock.now()) == []


async def test_a_lease_that_ran_out_is_claimed_with_its_outcome_unknown(
    scene: Scene, clock: ManualClock, config: ProviderConfig
) -> None:
    """Somebody died with it, after an unknown number of steps."""
    await due(scene, config, 1)
    (dead,) = await claim_due(scene.database, clock.now())
    clock.advance(LEASE - timedelta(seconds=1))
    assert await claim_due(scene.database, clock.now()) == []
    clock.advance(timedelta(seconds=1))
    (taken,) = await claim_due(scene.database, clock.now())
    assert taken.outcome_unknown
    assert taken.lease != dead.lease


@pytest.mark.parametrize("plan", ["as chosen", "nested loop"])
async def test_a_claim_takes_no_more_than_its_limit_and_the_longest_due_first(
    scene: Scene, config: ProviderConfig, plan: str
) -> None:
    """Whatever plan the database chooses for a table it has no statistics of."""
    made = await due(scene, config, 20)
    async with scene.database.system() as transaction:
        if plan == "nested loop":
            await transaction.connection.execute("SET LOCAL enable_hashjoin = off")
            await transaction.connection.execute("SET LOCAL enable_mergejoin = off")
            await transaction.connection.execute("SET LOCAL enable_indexscan = off")
            await transaction.connection.execute("SET LOCAL enable_bitmapscan = off")
            await transaction.connection.execute("SET LOCAL enable_material = off")
        claimed = await transaction.credentials.claim_due(
            now=scene.clock.now(), lease_until=scene.clock.now() + LEASE, limit=7
        )
    assert sorted(ids(claimed)) == sorted(stored.credential.credential_id for stored in made[:7])


async def test_workers_that_claim_at_once_share_the_work(
    scene: Scene, config: ProviderConfig, dsns: Dsns
) -> None:
    """Nothing is claimed twice, nobody waits for another's transaction, nothing is left."""
    made = await due(scene, config, 60)
    databases = [await Database.connect(dsns.owner, max_size=4) for _ in range(3)]
    claims = await asyncio.gather(
        *(claim_due(database, scene.clock.now(), 7) for database in databases for _ in range(4))
    )
    claims += [await claim_due(scene.database, scene.clock.now())]
    for database in databases:
        await database.close()
    claimed = [credential_id for claim in claims for credential_id in ids(claim)]
    assert sorted(claimed) == sorted(stored.credential.credential_id for stored in made)


async def test_a_paused_provider_config_is_passed_over(scene: Scene, config: ProviderConfig) -> None:
    """Its credentials wait; others are claimed."""
    await due(scene, config, 2)
    other = await scene.config("dialpad")
    stored = await scene.connected(other, due_at=scene.clock.now())
    claimed = await claim_due(scene.database, scene.clock.now(), not_of=(config.provider_config_id,))
    assert ids(claimed) == [stored.credential.credential_id]


async def test_a_provider_config_gets_no_more_than_its_room(scene: Scene, config: ProviderConfig) -> None:
    """What one leaves the others take; each has a default."""
    await due(scene, config, 6)
    dialpad, drift = await scene.config("dialpad"), await scene.config("drift")
    await due(scene, dialpad, 6)
    for number in range(6):
        installation = await scene.installation(drift, external_id=str(number))
        await scene.token(drift, installation, due_at=scene.clock.now())
    now = scene.clock.now()
    async with scene.database.system() as transaction:
        claimed = await transaction.credentials.claim_due(
            now=now, lease_until=now + LEASE, limit=10, room=2, rooms={config.provider_config_id: 5}
        )
    taken = Counter(credential.provider for credential in claimed)
    assert taken == {"discord": 5, "dialpad": 2, "drift": 2}


async def test_provider_configs_take_turns_and_what_expires_first_comes_first(
    scene: Scene, config: ProviderConfig
) -> None:
    """However long something of another config, or with more time left, has been due."""
    now = scene.clock.now()
    days = await due(scene, config, 10, lifetime=timedelta(days=30))
    minute = await scene.connected(config, user_id="minute", lifetime=timedelta(seconds=60), due_at=now)
    hour = await scene.connected(config, user_id="hour", lifetime=timedelta(minutes=6), due_at=now)
    other = await scene.connected(await scene.config("dialpad"), lifetime=timedelta(days=30), due_at=now)
    claims = [ids(await claim_due(scene.database, now, limit)) for limit in (2, 1, 1)]
    assert set(claims[0]) == {minute.credential.credential_id, other.credential.credential_id}
    assert claims[1] == [hour.credential.credential_id]
    assert claims[2] == [days[0].credential.credential_id]


async def test_a_paused_provider_config_costs_the_others_nothing(
    scene: Scene, config: ProviderConfig, dsns: Dsns
) -> None:
    """Thousands of its rows are due for longer; the claim touches none of them."""
    await due(scene, config, 1)
    superuser = await asyncpg.connect(dsns.superuser)
    await superuser.execute(
        "INSERT INTO credentials (environment_id, tenant_id, credential_id, owner_kind, owner_id,"
        " provider_config_id, provider, kind, source, secret_ciphertext, expires_at, refresh_due_at,"
        " issued_at, updated_at)"
        " SELECT environment_id, tenant_id, gen_random_uuid(), owner_kind, gen_random_uuid(),"
        " provider_config_id, provider, kind, source, secret_ciphertext, expires_at, refresh_due_at,"
        " issued_at, updated_at FROM credentials, generate_series(1, 20000)"
    )
    await superuser.execute("ANALYZE credentials")
    await superuser.close()
    other = await scene.connected(await scene.config("dialpad"), due_at=scene.clock.now())

    async def pages(rooms: list[UUID]) -> int:
        async with scene.database.system() as transaction:
            await transaction.connection.execute(load("planning")["by_index"])
            plan = await transaction.connection.fetch(
                "EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) " + load("credentials")["claim_due"],
                scene.clock.now(),
                scene.clock.now() + LEASE,
                64,
                64,
                rooms,
                [0] * len(rooms),
            )
            await transaction.connection.execute(
                "UPDATE credentials SET lease = NULL WHERE lease IS NOT NULL"
            )
        top = json.loads(plan[0][0])[0]["Plan"]
        return int(top["Shared Hit Blocks"]) + int(top["Shared Read Blocks"])

    assert await pages([config.provider_config_id]) < 60
    claimed = await claim_due(scene.database, scene.clock.now(), not_of=(config.provider_config_id,))
    assert ids(claimed) == [other.credential.credential_id]


async def test_one_credential_is_leased_to_one_caller(scene: Scene, config: ProviderConfig) -> None:
    """Of ten callers one gets it; it need not be due; giving it back frees it without a doubt."""
    stored = await scene.connected(config)
    place = (scene.environment_id, scene.tenant_id, stored.credential.credential_id)
    now = scene.clock.now()

    async def claim() -> StoredCredential | None:
        async with scene.database.tenant(*place[:2]) as transaction:
            return await transaction.credentials.claim_one(*place, now=now, lease_until=now + LEASE)

    (claimed,) = [each for each in await asyncio.gather(*(claim() for _ in range(10))) if each]
    async with scene.database.tenant(*place[:2]) as transaction:
        await transaction.credentials.release(replace(claimed, lease=new_id()))
    assert await claim() is None, "a lease is given back by its holder only"
    async with scene.database.tenant(*place[:2]) as transaction:
        await transaction.credentials.release(claimed)
    again = await claim()
    assert again is not None
    assert not again.outcome_unknown


async def test_a_commit_swaps_the_version_and_keeps_the_previous_secrets(
    scene: Scene, config: ProviderConfig, dsns: Dsns
) -> None:
    """The previous ciphertexts stay until their grace is over; lease, failures and doubt are gone."""
    stored = await scene.connected(config)
    claimed = await scene.claim(stored.credential)
    now = scene.clock.now()
    async with scene.database.tenant(scene.environment_id, scene.tenant_id) as transaction:
        new = await transaction.credentials.commit_refresh(claimed, refreshed(now))
    assert new is not None
    assert (new.version, new.lease, new.lease_until) == (claimed.version + 1, None, None)
    assert (new.secret_ciphertext, new.refresh_ciphertext) == (b"new secret", b"new refresh")
    superuser = await asyncpg.connect(dsns.superuser)
    query = "SELECT previous_secret_ciphertext, previous_refresh_ciphertext, previous_until FROM credentials"
    assert tuple(await superuser.fetchrow(query)) == (
        stored.credential.secret_ciphertext,
        stored.credential.refresh_ciphertext,
        now + HOUR,
    )
    async with scene.database.system() as transaction:
        assert await transaction.credentials.purge_previous(now=now + HOUR - timedelta(seconds=1)) == 0
        assert await transaction.credentials.purge_previous(now=now + HOUR) == 1
    assert tuple(await superuser.fetchrow(query)) == (None, None, None)
    await superuser.close()


async def test_an_answer_without_a_refresh_token_keeps_the_stored_one(
    scene: Scene, config: ProviderConfig
) -> None:
    """RFC 6749 section 6: the server may issue a new refresh token, or not."""
    stored = await scene.connected(config)
    async with scene.database.tenant(scene.environment_id, scene.tenant_id) as transaction:
        new = await transaction.credentials.commit_refresh(
            stored.credential, refreshed(scene.clock.now(), refresh_ciphertext=None)
        )
    assert new is not None
    assert new.refresh_ciphertext == stored.credential.refresh_ciphertext


async def test_the_second_of_two_commits_loses(scene: Scene, config: ProviderConfig) -> None:
    """A write that was prepared on an older version changes nothing."""
    stored = await scene.connected(config)
    now = scene.clock.now()

    async def commit(secret: bytes) -> StoredCredential | None:
        async with scene.database.tenant(scene.environment_id, scene.tenant_id) as transaction:
            return await transaction.credentials.commit_refresh(
                stored.credential, refreshed(now, secret_ciphertext=secret)
            )

    results = await asyncio.gather(*(commit(b"%d" % number) for number in range(5)))
    (winner,) = [result for result in results if result is not None]
    assert await scene.now(stored.credential) == winner


async def test_a_holder_that_lost_its_lease_can_neither_postpone_nor_condemn(
    scene: Scene, clock: ManualClock, config: ProviderConfig
) -> None:
    """What the next holder has begun is not undone by the one before."""
    stored = await scene.connected(config)
    late = await scene.claim(stored.credential)
    clock.advance(LEASE)
    holder = await scene.claim(stored.credential)
    async with scene.database.tenant(scene.environment_id, scene.tenant_id) as transaction:
        postponed = await transaction.credentials.postpone(
            late, until=clock.now(), error="x", at=clock.now(), outcome_unknown=False
        )
        condemned = await transaction.credentials.condemn(late, error="x", at=clock.now())
    assert postponed is None
    assert condemned is None
    assert await scene.now(stored.credential) == holder


async def test_a_doubt_stays_until_a_refresh_succeeds(
    scene: Scene, clock: ManualClock, config: ProviderConfig
) -> None:
    """A later failure with a known outcome says nothing about the earlier attempt."""
    stored = await scene.connected(config)

    async def fail(*, unknown: bool) -> StoredCredential:
        claimed = await scene.claim(stored.credential)
        async with scene.database.tenant(scene.environment_id, scene.tenant_id) as transaction:
            postponed = await transaction.credentials.postpone(
                claimed, until=clock.now(), error="x", at=clock.now(), outcome_unknown=unknown
            )
        assert postponed is not None
        return postponed

    assert not (await fail(unknown=False)).outcome_unknown
    assert (await fail(unknown=True)).outcome_unknown
    last = await fail(unknown=False)
    assert last.outcome_unknown
    assert last.refresh_failures == 3
    async with scene.database.tenant(scene.environment_id, scene.tenant_id) as transaction:
        new = await transaction.credentials.commit_refresh(last, refreshed(clock.now()))
    assert new is not None
    assert not new.outcome_unknown
    assert new.refresh_failures == 0


async def test_a_condemned_credential_is_never_due_again(
    scene: Scene, clock: ManualClock, config: ProviderConfig
) -> None:
    """No worker asks the provider about it any more."""
    stored = await scene.connected(config, due_at=clock.now())
    claimed = await scene.claim(stored.credential)
    async with scene.database.tenant(scene.environment_id, scene.tenant_id) as transaction:
        assert await transaction.credentials.condemn(claimed, error="invalid_grant", at=clock.now())
    clock.advance(timedelta(days=365))
    assert await claim_due(scene.database, clock.now()) == []
    async with scene.database.system() as transaction:
        assert await transaction.credentials.due_count(now=clock.now()) == 0


async def test_the_claim_reads_what_is_due_not_what_exists(
    scene: Scene, config: ProviderConfig, dsns: Dsns
) -> None:
    """With row-level security on, the plan still walks the index of due times from its low end."""
    await due(scene, config, 1)
    superuser = await asyncpg.connect(dsns.superuser)
    await superuser.execute(
        "INSERT INTO credentials (environment_id, tenant_id, credential_id, owner_kind, owner_id,"
        " provider_config_id, provider, kind, source, secret_ciphertext, refresh_due_at, issued_at,"
        " updated_at)"
        " SELECT environment_id, tenant_id, gen_random_uuid(), owner_kind, gen_random_uuid(),"
        " provider_config_id, provider, kind, source, secret_ciphertext, refresh_due_at + '1 day',"
        " issued_at, updated_at"
        " FROM credentials, generate_series(1, 5000)"
    )
    await superuser.execute("ANALYZE credentials")
    await superuser.close()
    async with scene.database.system() as transaction:
        await transaction.connection.execute(load("planning")["by_index"])
        plan = await transaction.connection.fetch(
            "EXPLAIN (ANALYZE, TIMING OFF) " + load("credentials")["claim_due"],
            scene.clock.now(),
            scene.clock.now() + LEASE,
            64,
            64,
            [],
            [],
        )
    text = "\n".join(row[0] for row in plan)
    assert "credentials_due" in text, text
    assert "Seq Scan" not in text, text


async def test_every_change_of_a_credential_is_announced_when_it_commits(
    scene: Scene, config: ProviderConfig, dsns: Dsns
) -> None:
    """Those who wait for it look again: after commit, postponement, condemnation, release and destruction."""
    stored = await scene.connected(config)
    heard: asyncio.Queue[str] = asyncio.Queue()
    listener = await scene.database.listener()
    await listener.add_listener(
        "authpipe_credentials", lambda _connection, _pid, _channel, payload: heard.put_nowait(payload)
    )
    now = scene.clock.now()
    place = (scene.environment_id, scene.tenant_id)

    async def expect_word() -> None:
        assert await asyncio.wait_for(heard.get(), 5) == str(stored.credential.credential_id)

    async with scene.database.tenant(*place) as transaction:
        credential = await transaction.credentials.commit_refresh(stored.credential, refreshed(now))
        assert credential is not None
    await expect_word()
    claimed = await scene.claim(credential)
    async with scene.database.tenant(*place) as transaction:
        await transaction.credentials.release(claimed)
    await expect_word()
    claimed = await scene.claim(credential)
    async with scene.database.tenant(*place) as transaction:
        await transaction.credentials.postpone(claimed, until=now, error="x", at=now, outcome_unknown=False)
    await expect_word()
    claimed = await scene.claim(credential)
    async with scene.database.tenant(*place) as transaction:
        await transaction.credentials.condemn(claimed, error="x", at=now)
    await expect_word()
    async with scene.database.tenant(*place) as transaction:
        assert len(await transaction.credentials.destroy_owned(*place, stored.owner_id)) == 1
    await expect_word()
    with contextlib.suppress(ZeroDivisionError):
        async with scene.database.tenant(*place) as transaction:
            await transaction.credentials.release(claimed)
            _ = 1 / 0
    await listener.fetchval("SELECT 1")
    assert heard.empty(), "what was rolled back is not told"
    await listener.close()
