"""Workers killed at every step of a refresh, and a database that goes away at the worst moment.

The promise: an answer that reached the disk is never lost, and whatever else was under way ends either good
or as one click for its user, with the reason.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from authpipe.catalog.catalog import Catalog
from authpipe.credentials.outcome import Refreshed, Step
from authpipe.domain.clock import ManualClock
from authpipe.domain.connection import ConnectionStatus
from authpipe.domain.credential import StoredCredential
from authpipe.domain.provider_config import ProviderConfig
from authpipe.sandbox.faults import FaultOrder
from authpipe.sandbox.server import SandboxServer
from authpipe.store.database import Database
from authpipe.store.vault_keysets import DatabaseKeysets
from authpipe.vault.keks.local import LocalKek
from authpipe.vault.keks.ring import KekRing
from authpipe.vault.vault import Vault
from support.postgres import Dsns, Server
from support.refresh_process import Job, RefreshProcesses
from support.replica import Replicas
from support.scene import Scene, Stored

TIMES = 20
#: Longer than a lease, and longer than a first retry.
LATER = timedelta(seconds=61)


@pytest.fixture
async def processes() -> AsyncIterator[RefreshProcesses]:
    async with RefreshProcesses() as processes:
        yield processes


@pytest.fixture
async def config(scene: Scene) -> ProviderConfig:
    return await scene.config()


@pytest.fixture
def job(dsns: Dsns, clock: ManualClock, tmp_path: Path, kek: LocalKek) -> Job:
    return Job(
        dsn=dsns.owner,
        kek=str(tmp_path / "kek"),
        spool_dir=str(tmp_path / "spool"),
        now=clock.now().isoformat(),
    )


def changed(job: Job, **fields: str) -> Job:
    return Job(**{**job.__dict__, **fields})


async def finish(scene: Scene, processes: RefreshProcesses, job: Job) -> None:
    """A fresh worker comes when the leases of the dead have run out, and once more after that."""
    for rounds in (1, 2):
        assert await processes.run(changed(job, now=(scene.clock.now() + rounds * LATER).isoformat())) == 0


async def kill_at_step(
    scene: Scene, processes: RefreshProcesses, job: Job, config: ProviderConfig, step: Step
) -> list[Stored]:
    """One credential after the other is refreshed by a process that dies of it."""
    made = []
    for number in range(TIMES):
        made.append(await scene.connected(config, user_id=str(number), due_at=scene.clock.now()))
        assert await processes.run(changed(job, kill_at=step.value)) == -signal.SIGKILL
    return made


def uses(scene: Scene) -> Counter[str]:
    """How often each refresh token reached the provider."""
    return Counter(request["refresh_token_sha256"] for request in scene.refreshes())


async def expect_good(scene: Scene, made: list[Stored]) -> None:
    """Every credential has the provider's newest tokens, from the only refresh there was."""
    for stored in made:
        now = await scene.now(stored.credential)
        access, refresh = await scene.secrets_of(now)
        assert scene.works(access)
        assert scene.refresh_works(refresh)
        assert (now.version, now.lease) == (2, None)
        assert (await scene.owner(stored)).status is ConnectionStatus.ACTIVE
    assert uses(scene) == {scene.digest(stored.issued.refresh_token): 1 for stored in made}
    assert Counter(event.type for event in await scene.events()) == {"credential.refreshed": len(made)}


async def expect_one_click(scene: Scene, made: list[Stored]) -> None:
    """Every connection waits for its user, tried exactly once more, and told once."""
    for stored in made:
        owner = await scene.owner(stored)
        assert (owner.status, owner.status_reason) == (
            ConnectionStatus.NEEDS_REAUTH,
            "refresh_outcome_unknown",
        )
    assert uses(scene) == {scene.digest(stored.issued.refresh_token): 2 for stored in made}
    assert Counter(event.type for event in await scene.events()) == {"connection.needs_reauth": len(made)}


@pytest.mark.parametrize("step", [Step.CLAIMED, Step.SENT])
async def test_killed_before_the_request_went_out_nothing_is_lost(
    scene: Scene, processes: RefreshProcesses, job: Job, config: ProviderConfig, step: Step
) -> None:
    """The next worker does the refresh, with a token that was never used."""
    made = await kill_at_step(scene, processes, job, config, step)
    assert scene.refreshes() == []
    await finish(scene, processes, job)
    await expect_good(scene, made)


async def test_killed_while_the_provider_acts_it_is_tried_once_more(
    scene: Scene, processes: RefreshProcesses, job: Job, config: ProviderConfig
) -> None:
    """The provider rotated, nobody heard it: the user is asked, with the reason."""
    made = []
    for number in range(TIMES):
        made.append(await scene.connected(config, user_id=str(number), due_at=scene.clock.now()))
        held = scene.sandbox.state.faults.add(FaultOrder("hold", grant_type="refresh_token", times=1))
        pid = await processes.start(job)
        assert await held.wait_for(1, 30)
        os.kill(pid, signal.SIGKILL)
        assert await processes.ended() == -signal.SIGKILL
        held.release()
    await finish(scene, processes, job)
    await expect_one_click(scene, made)


async def test_killed_while_the_provider_has_not_acted_yet_the_second_try_is_good(
    scene: Scene, processes: RefreshProcesses, job: Job, config: ProviderConfig
) -> None:
    """The request was on its way and never carried out: the old token still works."""
    made = []
    for number in range(TIMES):
        made.append(await scene.connected(config, user_id=str(number), due_at=scene.clock.now()))
        held = scene.sandbox.state.faults.add(
            FaultOrder("hold", grant_type="refresh_token", times=1, point="before")
        )
        pid = await processes.start(job)
        assert await held.wait_for(1, 30)
        os.kill(pid, signal.SIGKILL)
        assert await processes.ended() == -signal.SIGKILL
        held.release(drop=True)
    await finish(scene, processes, job)
    for stored in made:
        access, _ = await scene.secrets_of(await scene.now(stored.credential))
        assert scene.works(access)
        assert (await scene.owner(stored)).status is ConnectionStatus.ACTIVE


async def test_killed_with_the_answer_in_memory_only_it_is_tried_once_more(
    scene: Scene, processes: RefreshProcesses, job: Job, config: ProviderConfig
) -> None:
    """The few microseconds between the answer and the disk: one click, with the reason."""
    made = await kill_at_step(scene, processes, job, config, Step.ANSWERED)
    await finish(scene, processes, job)
    await expect_one_click(scene, made)


async def test_killed_with_the_answer_on_disk_nothing_is_lost(
    scene: Scene, processes: RefreshProcesses, job: Job, config: ProviderConfig
) -> None:
    """The next process on the machine commits it; the provider is not asked again."""
    made = await kill_at_step(scene, processes, job, config, Step.SPOOLED)
    assert {(await scene.now(stored.credential)).version for stored in made} == {1}
    await finish(scene, processes, job)
    await expect_good(scene, made)
    assert list(Path(job.spool_dir).glob("*.spool")) == []


async def test_killed_after_the_commit_nothing_is_left_to_do(
    scene: Scene, processes: RefreshProcesses, job: Job, config: ProviderConfig
) -> None:
    """The spooled copy is found and recognised as done."""
    made = await kill_at_step(scene, processes, job, config, Step.COMMITTED)
    assert {(await scene.now(stored.credential)).version for stored in made} == {2}
    await finish(scene, processes, job)
    await expect_good(scene, made)
    assert list(Path(job.spool_dir).glob("*.spool")) == []


async def test_killed_with_many_refreshes_at_different_steps_each_ends_as_its_step_says(
    scene: Scene, processes: RefreshProcesses, job: Job, config: ProviderConfig
) -> None:
    """Forty at once, the process killed when the first was committed: good, or one click, nothing between."""
    made = [
        await scene.connected(config, user_id=str(number), due_at=scene.clock.now()) for number in range(40)
    ]
    assert await processes.run(changed(job, kill_at=Step.COMMITTED.value)) == -signal.SIGKILL
    await finish(scene, processes, job)
    ends = Counter()
    for stored in made:
        owner, now = await scene.owner(stored), await scene.now(stored.credential)
        access, refresh = await scene.secrets_of(now)
        used = uses(scene)[scene.digest(stored.issued.refresh_token)]
        if owner.status is ConnectionStatus.ACTIVE:
            assert (scene.works(access), scene.refresh_works(refresh), now.version) == (True, True, 2)
            assert used == 1
        else:
            assert (owner.status_reason, now.version, used) == ("refresh_outcome_unknown", 1, 2)
        ends[owner.status] += 1
    assert ends[ConnectionStatus.ACTIVE] > 0


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    """A server that may be crashed."""
    server = Server(tmp_path / "own", "bundled")
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def own_scene(
    own_server: Server, kek: LocalKek, catalog: Catalog, clock: ManualClock, sandbox: SandboxServer
) -> AsyncIterator[Scene]:
    database = await Database.connect(own_server.owner_dsn("migrated"))
    vault = Vault(KekRing(kek), DatabaseKeysets(database), clock)
    yield await Scene.set(database, vault, catalog, clock, sandbox)
    await database.close()


@pytest.mark.parametrize("step", [Step.ANSWERED, Step.SPOOLED])
async def test_a_database_that_goes_away_before_the_commit_gets_the_token_when_it_is_back(
    own_scene: Scene, own_server: Server, kek: LocalKek, tmp_path: Path, step: Step
) -> None:
    """The process lives: it holds the answer on its disk and delivers it."""
    scene = own_scene
    config = await scene.config()

    def observe(reached: Step, _credential: StoredCredential) -> None:
        if reached is step:
            own_server.crash()

    dsn = own_server.owner_dsn("migrated")
    made = []
    async with Replicas(dsn, kek, scene.catalog, scene.clock, tmp_path) as replicas:
        replica = await replicas.start(observe=observe)
        for number in range(3):
            stored = await scene.connected(config, user_id=str(number))
            made.append(stored)
            claimed = await scene.claim(stored.credential)
            assert await replica.engine.attempt(claimed) is Refreshed.SPOOLED
            assert replica.spool.outstanding == 1
            await asyncio.to_thread(own_server.restart)
            await asyncio.wait_for(replica.replay.drain(), 20)
        await expect_good(scene, made)


@pytest.mark.parametrize("step", [Step.ANSWERED, Step.SPOOLED])
async def test_a_process_killed_while_the_database_is_away_leaves_the_token_to_the_next(
    own_scene: Scene,
    own_server: Server,
    processes: RefreshProcesses,
    tmp_path: Path,
    kek: LocalKek,
    step: Step,
) -> None:
    """Database and process both die after the answer; the next process finds it on the disk."""
    scene = own_scene
    config = await scene.config()
    job = Job(
        dsn=own_server.owner_dsn("migrated"),
        kek=str(tmp_path / "kek"),
        spool_dir=str(tmp_path / "spool"),
        now=scene.clock.now().isoformat(),
    )
    made = []
    for number in range(3):
        made.append(await scene.connected(config, user_id=str(number), due_at=scene.clock.now()))
        dying = changed(job, stop_database_at=step.value, postgres_dir=str(own_server.data_dir))
        assert await processes.run(dying) == -signal.SIGKILL
        await asyncio.to_thread(own_server.restart)
    assert {(await scene.now(stored.credential)).version for stored in made} == {1}
    await finish(scene, processes, job)
    await expect_good(scene, made)
