"""From the spool into the database: during an outage, after a crash, and whatever else goes wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from authpipe.credentials import spool as spool_module
from authpipe.credentials import spool_replay
from authpipe.credentials.outcome import Refreshed, Step
from authpipe.domain.clock import ManualClock
from authpipe.domain.credential import StoredCredential
from authpipe.domain.provider_config import ProviderConfig
from support.postgres import Dsns
from support.replica import Replica, Replicas
from support.scene import Scene, Stored


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_replay, "RETRY_S", 0.02)


@pytest.fixture
async def superuser(dsns: Dsns) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    connection = await asyncpg.connect(dsns.superuser)
    yield connection
    await connection.execute("DROP FUNCTION IF EXISTS refuse CASCADE")
    await connection.close()


async def refuse_commits(superuser: asyncpg.Connection[asyncpg.Record], code: str) -> None:
    """Every write of a new version fails with this SQLSTATE, as long as it lasts."""
    await superuser.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN RAISE EXCEPTION 'refused' USING ERRCODE = '{code}'; END $$;"
        "CREATE TRIGGER refuse BEFORE UPDATE ON credentials FOR EACH ROW"
        " WHEN (NEW.version > OLD.version) EXECUTE FUNCTION refuse()"
    )


async def accept_commits(superuser: asyncpg.Connection[asyncpg.Record]) -> None:
    await superuser.execute("DROP FUNCTION refuse CASCADE")


async def good_again(scene: Scene, stored: Stored) -> None:
    """The newest token of the provider is in the database, once."""
    now = await scene.now(stored.credential)
    access, refresh = await scene.secrets_of(now)
    assert scene.works(access)
    assert scene.refresh_works(refresh)
    assert now.version == 2
    assert [event.type for event in await scene.events()] == ["credential.refreshed"]


@pytest.mark.parametrize(
    "code",
    [
        "57P01",  # the server shuts down
        "25006",  # a failover left a read-only standby
        "53100",  # its disk is full
        "40P01",  # a deadlock
        "57014",  # a statement timeout
    ],
)
async def test_an_answer_the_database_refuses_is_kept_until_it_takes_it(
    scene: Scene,
    replica: Replica,
    config: ProviderConfig,
    superuser: asyncpg.Connection[asyncpg.Record],
    code: str,
) -> None:
    """Whatever the database says, the rotated token is on the disk and is offered again."""
    stored = await scene.connected(config)
    claimed = await scene.claim(stored.credential)
    await refuse_commits(superuser, code)
    assert await replica.engine.attempt(claimed) is Refreshed.SPOOLED
    assert replica.spool.outstanding == 1
    await asyncio.sleep(0.1)
    assert (await scene.now(stored.credential)).version == 1
    await accept_commits(superuser)
    await asyncio.wait_for(replica.replay.drain(), 10)
    await good_again(scene, stored)
    assert replica.spool.outstanding == 0


async def test_an_answer_on_disk_is_committed_by_the_next_process(
    scene: Scene,
    replicas: Replicas,
    config: ProviderConfig,
    superuser: asyncpg.Connection[asyncpg.Record],
) -> None:
    """The process that had it is gone; another on the same machine finds it."""
    stored = await scene.connected(config)
    claimed = await scene.claim(stored.credential)
    await refuse_commits(superuser, "57P01")
    dead, heir = await replicas.start(), await replicas.start()
    assert await dead.engine.attempt(claimed) is Refreshed.SPOOLED
    await dead.replay.close()
    await accept_commits(superuser)
    assert await heir.replay.adopt() == 1
    await good_again(scene, stored)
    assert await heir.replay.adopt() == 0


async def test_adopting_twice_does_nothing_twice(
    scene: Scene,
    replicas: Replicas,
    config: ProviderConfig,
    superuser: asyncpg.Connection[asyncpg.Record],
) -> None:
    """A record whose version was passed is worth nothing: here it was committed before the crash."""
    stored = await scene.connected(config)
    files: list[tuple[Path, bytes]] = []

    def observe(step: Step, _credential: StoredCredential) -> None:
        if step is Step.SPOOLED:
            files.extend((path, path.read_bytes()) for path in replicas.spool_dir.glob("*.spool"))

    replica = await replicas.start(observe=observe)
    await replica.engine.attempt(await scene.claim(stored.credential))
    for path, content in files:
        path.with_name(f"copy-{path.name}").write_bytes(content)
    assert await replica.replay.adopt() == 1
    await good_again(scene, stored)


async def test_while_the_database_is_away_orphans_stay(
    scene: Scene,
    replicas: Replicas,
    config: ProviderConfig,
    superuser: asyncpg.Connection[asyncpg.Record],
) -> None:
    """Adopting says that it is away, and loses nothing."""
    stored = await scene.connected(config)
    claimed = await scene.claim(stored.credential)
    await refuse_commits(superuser, "57P01")
    dead, heir = await replicas.start(), await replicas.start()
    await dead.engine.attempt(claimed)
    await dead.replay.close()
    with pytest.raises(asyncpg.AdminShutdownError):
        await heir.replay.adopt()
    await accept_commits(superuser)
    assert await heir.replay.adopt() == 1
    await good_again(scene, stored)


async def test_a_file_that_cannot_be_worked_off_keeps_nobody_from_the_others(
    scene: Scene,
    replicas: Replicas,
    config: ProviderConfig,
    superuser: asyncpg.Connection[asyncpg.Record],
    clock: ManualClock,
) -> None:
    """Nor the worker from its work: it would refresh nothing on this machine any more."""
    poisoned, fine = [await scene.connected(config, user_id=str(number)) for number in range(2)]
    claimed = [await scene.claim(poisoned.credential), await scene.claim(fine.credential)]
    await refuse_commits(superuser, "57P01")
    for credential in claimed:
        dead = await replicas.start()
        await dead.engine.attempt(credential)
        await dead.replay.close()
    await accept_commits(superuser)
    await superuser.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'refused' USING ERRCODE = '23514'; END $$;"
        "CREATE TRIGGER refuse BEFORE UPDATE ON credentials FOR EACH ROW"
        f" WHEN (OLD.credential_id = '{poisoned.credential.credential_id}') EXECUTE FUNCTION refuse()"
    )
    other = await scene.connected(config, user_id="other", due_at=clock.now())
    heir = await replicas.start()
    running = asyncio.create_task(heir.worker.run())
    while (await scene.now(other.credential)).version == 1:
        await asyncio.sleep(0.01)
    heir.worker.stop()
    await running
    assert (await scene.now(fine.credential)).version == 2
    await accept_commits(superuser)
    assert await heir.replay.adopt() >= 1
    access, _ = await scene.secrets_of(await scene.now(poisoned.credential))
    assert scene.works(access)


async def test_a_disk_that_refuses_does_not_stop_the_commit(
    scene: Scene,
    replica: Replica,
    replicas: Replicas,
    config: ProviderConfig,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The database is there; the missing safety net is an error in the log."""
    monkeypatch.setattr(spool_module, "_SEGMENT_BYTES", -1)
    replicas.spool_dir.rename(replicas.spool_dir.with_name("away"))
    stored = await scene.connected(config)
    assert await replica.engine.attempt(await scene.claim(stored.credential)) is Refreshed.REFRESHED
    await good_again(scene, stored)
    written = capsys.readouterr()
    assert "the spool cannot be written" in written.out + written.err
    replicas.spool_dir.with_name("away").rename(replicas.spool_dir)


async def test_the_spool_holds_ciphertext_only(
    scene: Scene, replicas: Replicas, config: ProviderConfig
) -> None:
    """Neither the new access token nor the new refresh token stands in the file."""
    stored = await scene.connected(config)
    seen: list[bytes] = []

    def observe(step: Step, _credential: StoredCredential) -> None:
        if step is Step.SPOOLED:
            seen.extend(path.read_bytes() for path in replicas.spool_dir.glob("*.spool"))

    replica = await replicas.start(observe=observe)
    await replica.engine.attempt(await scene.claim(stored.credential))
    secrets = await scene.secrets_of(await scene.now(stored.credential))
    assert any(seen)
    for secret in secrets:
        assert secret is not None
        assert secret.encode() not in b"".join(seen)


async def test_a_worker_that_is_told_to_stop_does_not_wait_for_a_database_for_good(
    scene: Scene,
    replicas: Replicas,
    config: ProviderConfig,
    clock: ManualClock,
    superuser: asyncpg.Connection[asyncpg.Record],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What it could not deliver stays on the disk for the next process."""
    monkeypatch.setattr("authpipe.credentials.worker._DRAIN_S", 0.1)
    stored = await scene.connected(config, due_at=clock.now())
    await refuse_commits(superuser, "57P01")
    replica, heir = await replicas.start(), await replicas.start()
    running = asyncio.create_task(replica.worker.run())
    while replica.spool.outstanding == 0:
        await asyncio.sleep(0.01)
    replica.worker.stop()
    await asyncio.wait_for(running, 5)
    await replica.replay.close()
    await accept_commits(superuser)
    assert await heir.replay.adopt() == 1
    await good_again(scene, stored)
