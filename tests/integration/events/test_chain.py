"""Every event gets one link, in one order, whoever writes and however many makers are at work."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import pytest
import structlog

from authpipe.domain.clock import ManualClock
from authpipe.store.database import Database
from authpipe.store.vault_keysets import DatabaseKeysets
from authpipe.vault.keks.local import LocalKek
from authpipe.vault.keks.ring import KekRing
from authpipe.vault.vault import Vault
from support.postgres import Dsns

if TYPE_CHECKING:
    from conftest import Audited

TESTS = Path(__file__).parents[2]


async def positions(audited: Audited) -> list[int]:
    rows = await audited.superuser.fetch(
        "SELECT position FROM audit_chain WHERE environment_id = $1 ORDER BY position", audited.environment_id
    )
    return [row["position"] for row in rows]


async def roll_back(audited: Audited) -> None:
    """An event whose transaction does not come to its end."""
    with contextlib.suppress(RuntimeError):
        async with audited.database.environment(audited.environment_id) as transaction:
            await transaction.connection.execute(
                "INSERT INTO events VALUES ($1, NULL, gen_random_uuid(), 't', 'k', 'o', 'worker',"
                " NULL, NULL, NULL, 'success', '{}', now())",
                audited.environment_id,
            )
            raise RuntimeError("rolled back")


async def test_events_are_linked_in_the_order_of_their_ids(audited: Audited) -> None:
    """One batch after the other; then nothing waits and the vault's seal is on the head."""
    events = await audited.happen(12)
    maker = audited.maker(batch=5)
    assert [await maker.extend() for _ in range(4)] == [5, 5, 2, 0]
    rows = await audited.superuser.fetch("SELECT event_id FROM audit_chain ORDER BY position")
    assert [row["event_id"] for row in rows] == [event.event_id for event in events]
    verdict = await audited.verify()
    assert verdict.is_intact
    assert (verdict.checked, verdict.waiting, verdict.sealed) == (12, 0, True)
    assert verdict.head == await audited.head()


async def test_an_environment_with_much_to_link_does_not_hold_up_another(audited: Audited) -> None:
    """A round links one batch in each, the workspace itself included."""
    await audited.happen(20)
    workspace = audited.workspace()
    await workspace.happen(3, tenant_id=None)
    assert await audited.maker(batch=5).extend() == 8
    assert (await workspace.verify()).checked == 3
    assert (await audited.verify()).waiting == 15


async def test_many_writers_and_two_makers_make_one_chain(audited: Audited) -> None:
    """No gap, no event twice, none left out; what is rolled back leaves no trace."""
    written = asyncio.Event()

    async def write(number: int) -> None:
        for turn in range(25):
            if (number + turn) % 7 == 0:
                await roll_back(audited)
            await audited.happen()

    async def make() -> None:
        maker = audited.maker(batch=7)
        while await maker.extend() or not written.is_set():
            await asyncio.sleep(0)

    makers = [asyncio.create_task(make()) for _ in range(2)]
    await asyncio.gather(*(write(number) for number in range(8)))
    written.set()
    await asyncio.gather(*makers)
    while await audited.maker().extend():
        pass
    assert await positions(audited) == list(range(1, 201))
    verdict = await audited.verify()
    assert verdict.is_intact
    assert (verdict.checked, await audited.count("events")) == (200, 200)
    assert await audited.count("unchained_events") == 0


async def test_a_maker_that_finds_the_head_locked_goes_on_elsewhere(audited: Audited) -> None:
    """It does not wait: the one that holds the head links those events."""
    await audited.linked(1)
    await audited.happen(2)
    async with audited.superuser.transaction():
        await audited.superuser.execute("SELECT 1 FROM audit_heads FOR UPDATE")
        assert await asyncio.wait_for(audited.maker().extend(), 5) == 0
    assert await audited.maker().extend() == 2


async def test_killed_makers_leave_a_chain_that_verifies(
    audited: Audited, dsns: Dsns, kek: LocalKek, tmp_path: Path
) -> None:
    """kill -9 at random moments of linking; the next maker goes on where the last commit was."""
    chosen = random.Random(20260517)
    kek_file = tmp_path / "kek"
    await audited.linked(1)
    total = 1
    for _ in range(6):
        await audited.happen(40)
        total += 40
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "support.chain_process", dsns.owner, str(kek_file),
            stdout=asyncio.subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": f"{TESTS}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"},
        )  # fmt: skip
        assert child.stdout is not None
        assert await asyncio.wait_for(child.stdout.readline(), 30) == b"at work\n"
        await asyncio.sleep(chosen.random() * 0.08)
        child.send_signal(signal.SIGKILL)
        await child.communicate()
        assert (await audited.verify()).is_intact
    while await audited.maker().extend():
        pass
    verdict = await audited.verify()
    assert verdict.is_intact
    assert verdict.checked == total
    assert await positions(audited) == list(range(1, total + 1))


async def test_a_worker_links_within_a_moment_and_tells_the_head(audited: Audited) -> None:
    """The loop goes on until it is stopped; heads that moved are in its log, at most once a minute."""
    maker = audited.maker()
    with structlog.testing.capture_logs() as logs:
        working = asyncio.create_task(maker.run())
        for _ in range(2):
            await audited.happen()
            async with asyncio.timeout(10):
                while await audited.count("unchained_events"):
                    await asyncio.sleep(0.01)
        maker.stop()
        await working
    told = [line["head"] for line in logs if line["event"] == "audit head"]
    # The first at once, the last when it stopped.
    assert [each.partition(":")[0] for each in told] == ["1", "2"]
    assert told[-1] == str(await audited.head())


async def test_a_database_that_is_away_is_waited_out(audited: Audited, dsns: Dsns) -> None:
    """The loop says so and goes on when it is back."""
    maker = audited.maker()
    with structlog.testing.capture_logs() as logs:
        await audited.superuser.execute("ALTER TABLE unchained_events RENAME TO elsewhere")
        working = asyncio.create_task(maker.run())
        async with asyncio.timeout(10):
            while not logs:
                await asyncio.sleep(0.01)
        await audited.superuser.execute("ALTER TABLE elsewhere RENAME TO unchained_events")
        await audited.happen()
        async with asyncio.timeout(10):
            while await audited.count("unchained_events"):
                await asyncio.sleep(0.01)
        maker.stop()
        await working
    assert logs[0]["event"] == "the audit chain cannot be extended"


async def test_a_pool_of_one_connection_is_enough(dsns: Dsns, kek: LocalKek, audited: Audited) -> None:
    """The vault asks for its connection before the transaction, or the maker would wait for itself."""
    database = await Database.connect(dsns.owner, min_size=1, max_size=1)
    try:
        clock = ManualClock(audited.clock.now())
        vault = Vault(KekRing(kek), DatabaseKeysets(database), clock)
        audited.database, audited.vault = database, vault
        await audited.happen(3)
        assert await asyncio.wait_for(audited.maker(batch=2).extend(), 4) == 2
        fresh = Vault(KekRing(kek), DatabaseKeysets(database), clock)
        audited.vault = fresh
        assert await asyncio.wait_for(audited.maker().extend(), 4) == 1
        assert (await audited.verify()).is_intact
    finally:
        await database.close()


async def test_a_head_that_the_vault_did_not_seal_is_not_sealed_anew(audited: Audited) -> None:
    """Else the next event would make somebody's chain ours: it stays, events wait, and the log says so."""
    await audited.linked(3)
    await audited.superuser.execute("UPDATE audit_heads SET hash = sha256('mine')")
    await audited.happen(1)
    with structlog.testing.capture_logs() as logs:
        assert await audited.maker().extend() == 0
    assert logs[0]["log_level"] == "error"
    assert "not what the vault sealed" in logs[0]["event"]
    assert await audited.count("unchained_events") == 1


@pytest.mark.parametrize("how", ["no seal", "no head", "another environment's"])
async def test_neither_is_one_whose_seal_is_gone(audited: Audited, how: str) -> None:
    """A chain that has links has a sealed head of its own."""
    await audited.linked(3)
    other = audited.workspace()
    await other.linked(3)
    if how == "no seal":
        await audited.superuser.execute("UPDATE audit_heads SET seal = NULL")
    elif how == "no head":
        await audited.superuser.execute("DELETE FROM audit_heads")
    else:
        await audited.superuser.execute(
            "UPDATE audit_heads SET seal = (SELECT seal FROM audit_heads WHERE environment_id = $1)",
            other.environment_id,
        )
    await audited.happen(1)
    with structlog.testing.capture_logs() as logs:
        assert await audited.maker().extend() == 0
    assert [line["log_level"] for line in logs] == ["error"]
    assert not (await audited.verify()).is_intact


async def test_a_maker_notices_that_a_chain_was_wound_back(audited: Audited) -> None:
    """An older head with its genuine seal is not gone on from by a process that has seen a newer one."""
    await audited.happen(2)
    maker = audited.maker()
    await maker.extend()
    older = await audited.superuser.fetchrow(
        "SELECT position, hash, seal FROM audit_heads WHERE environment_id = $1", audited.environment_id
    )
    assert older is not None
    await audited.happen(2)
    await maker.extend()
    await audited.superuser.execute("DELETE FROM audit_chain WHERE position > 2")
    await audited.superuser.execute(
        "UPDATE audit_heads SET position = $2, hash = $3, seal = $4 WHERE environment_id = $1",
        audited.environment_id,
        *older,
    )
    await audited.happen(1)
    assert await maker.extend() == 0


async def test_an_event_queued_again_is_not_linked_again(audited: Audited) -> None:
    """It would break the table's rule and stop the chain: it is dropped from the queue and told."""
    (event,) = await audited.linked(1)
    await audited.superuser.execute(
        "INSERT INTO unchained_events VALUES ($1, $2)", audited.environment_id, event.event_id
    )
    await audited.happen(1)
    with structlog.testing.capture_logs() as logs:
        assert await audited.maker().extend() == 1
    assert logs[0]["problem"] == "queued twice"
    assert (await audited.verify()).is_intact


async def test_within_an_environment_nobody_touches_the_chain(audited: Audited) -> None:
    """The application's role may queue an event by writing it, and nothing else."""
    await audited.linked(2)
    for statement in (
        "UPDATE audit_chain SET hash = sha256('x')",
        "DELETE FROM audit_chain",
        "UPDATE audit_heads SET position = 0",
        "DELETE FROM audit_heads",
        "INSERT INTO audit_heads VALUES (gen_random_uuid(), 0, sha256('x'))",
        "DELETE FROM unchained_events",
        "UPDATE unchained_events SET event_id = gen_random_uuid()",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with audited.database.environment(audited.environment_id) as transaction:
                await transaction.connection.execute(statement)
    for statement in (
        "UPDATE audit_chain SET hash = sha256('x')",
        "DELETE FROM audit_chain",
        "DELETE FROM audit_heads",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with audited.database.system() as transaction:
                await transaction.connection.execute(statement)


async def test_the_seal_is_a_ciphertext_of_the_environments_own_keyset(audited: Audited) -> None:
    """The workspace has one as well, although it is no environment."""
    workspace = audited.workspace()
    await workspace.happen(1, tenant_id=None, data=json.loads('{"a": 1}'))
    await audited.maker().extend()
    owners = await audited.superuser.fetch("SELECT environment_id, tenant_id FROM data_keys")
    assert {tuple(row) for row in owners} == {
        (workspace.environment_id, "*"),
        (audited.environment_id, "*"),
    }
