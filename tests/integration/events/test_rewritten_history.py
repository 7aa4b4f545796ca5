"""Somebody with the owner's rights and no KEK has history linked anew; nobody of ours seals it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
import structlog

from authpipe.domain.environment import WORKSPACE_ID, Environment, EnvironmentKind
from authpipe.domain.event import ActorKind, Origin
from authpipe.events.chain import AuditChain
from authpipe.events.chain_beginning import ChainBeginnings
from authpipe.events.chain_hash import BEGINNING
from authpipe.events.verification import Broken, Fault
from authpipe.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from conftest import Audited

COMMAND_LINE = Origin(actor_kind=ActorKind.COMMAND_LINE, actor_id="tester")


async def queue_everything(audited: Audited) -> None:
    """As if nothing had ever been linked."""
    await audited.superuser.execute(
        "INSERT INTO unchained_events SELECT environment_id, event_id FROM events e"
        " WHERE NOT EXISTS (SELECT FROM audit_chain c WHERE c.event_id = e.event_id) ON CONFLICT DO NOTHING"
    )


@pytest.mark.parametrize("links_go_too", [True, False])
async def test_a_chain_that_lost_its_head_is_not_begun_again(audited: Audited, links_go_too: bool) -> None:
    """With edited and deleted events, and with or without its links: by a process without memory either."""
    events = await audited.linked(6)
    run = audited.superuser.execute
    await run("UPDATE events SET actor_id = 'innocent' WHERE event_id = $1", events[2].event_id)
    await run("DELETE FROM events WHERE event_id = $1", events[4].event_id)
    await run("DELETE FROM audit_heads")
    if links_go_too:
        await run("DELETE FROM audit_chain")
    await queue_everything(audited)
    await audited.happen(1)
    waiting = await audited.count("unchained_events")
    metrics = Metrics()
    maker = AuditChain(database=audited.database, vault=audited.vault, clock=audited.clock, metrics=metrics)
    with structlog.testing.capture_logs() as logs:
        assert await maker.extend() == 0
    assert [(line["log_level"], line["problem"]) for line in logs] == [("error", "tampered")]
    assert "no head" in logs[0]["event"]
    assert metrics.registry.get_sample_value("authpipe_audit_refusals_total") == 1
    assert await audited.count("audit_heads") == 0
    assert await audited.count("unchained_events") == waiting
    broken = (await audited.verify()).broken
    assert broken is not None
    if links_go_too:
        assert broken == Broken(fault=Fault.HEAD_MISSING, position=0)


async def test_another_environments_beginning_is_none(audited: Audited) -> None:
    """It is sealed for the one it is of."""
    await audited.superuser.execute("DELETE FROM audit_heads WHERE environment_id <> $1", WORKSPACE_ID)
    await audited.superuser.execute(
        "INSERT INTO audit_heads SELECT $1, position, hash, seal, complete_at FROM audit_heads",
        audited.environment_id,
    )
    await audited.happen(1)
    assert await audited.maker().extend() == 0
    assert (await audited.verify()).broken == Broken(fault=Fault.SEAL_WRONG, position=0)


async def test_an_older_head_put_back_takes_a_noted_one_to_find(audited: Audited) -> None:
    """Its seal is genuine, that of the beginning like any: only a head noted elsewhere tells."""
    older = await audited.superuser.fetchrow(
        "SELECT position, hash, seal, complete_at FROM audit_heads WHERE environment_id = $1",
        audited.environment_id,
    )
    assert older is not None
    events = await audited.linked(5)
    noted = await audited.head()
    await audited.superuser.execute(
        "UPDATE audit_heads SET position = $2, hash = $3, seal = $4, complete_at = $5"
        " WHERE environment_id = $1",
        audited.environment_id,
        *older,
    )
    await audited.superuser.execute("DELETE FROM audit_chain")
    await audited.superuser.execute(
        "UPDATE events SET actor_id = 'innocent' WHERE event_id = $1", events[1].event_id
    )
    await queue_everything(audited)
    assert await audited.maker().extend() == 5
    assert (await audited.verify()).is_intact
    broken = (await audited.verify(expected=noted)).broken
    assert broken is not None
    assert (broken.fault, broken.position) == (Fault.EXPECTED_DIFFERS, 5)


async def test_an_event_of_long_ago_is_not_linked(audited: Audited) -> None:
    """Slipped in with a time before which everything was linked: it waits, is told, and holds up nothing."""
    await audited.linked(2)
    audited.clock.advance(-timedelta(days=1, seconds=1))
    (forged,) = await audited.happen(1)
    audited.clock.advance(timedelta(days=1, seconds=2))
    await audited.happen(1)
    with structlog.testing.capture_logs() as logs:
        assert await audited.maker().extend() == 1
    assert [(line["log_level"], line["problem"]) for line in logs] == [("error", "late")]
    broken = (await audited.verify()).broken
    assert broken is not None
    assert (broken.fault, broken.event_id) == (Fault.EVENT_LATE, str(forged.event_id))


async def test_what_came_a_little_late_is_linked(audited: Audited) -> None:
    """A read kept in memory, a long transaction, a slow clock."""
    await audited.linked(2)
    audited.clock.advance(-timedelta(hours=23))
    await audited.happen(1)
    audited.clock.advance(timedelta(hours=23))
    assert await audited.maker().extend() == 1
    assert (await audited.verify()).is_intact


async def test_days_without_a_worker_are_made_up_for(audited: Audited) -> None:
    """In batches: the first of them does not make the rest too old."""
    await audited.linked(1)
    for _ in range(12):
        audited.clock.advance(timedelta(days=1))
        await audited.happen(1)
    maker = audited.maker(batch=5)
    assert [await maker.extend() for _ in range(4)] == [5, 5, 2, 0]
    assert (await audited.verify()).is_intact


async def test_an_event_that_waits_for_long_is_told(audited: Audited) -> None:
    """As when somebody holds the head's lock, and every maker passes by."""
    await audited.linked(1)
    await audited.happen(1)
    audited.clock.advance(timedelta(seconds=61))
    metrics = Metrics()
    maker = AuditChain(database=audited.database, vault=audited.vault, clock=audited.clock, metrics=metrics)
    age = "authpipe_audit_oldest_waiting_seconds"
    async with audited.superuser.transaction():
        await audited.superuser.execute("SELECT 1 FROM audit_heads FOR UPDATE")
        with structlog.testing.capture_logs() as logs:
            assert await maker.extend() == 0
            assert await maker.extend() == 0
    assert [(line["log_level"], line["problem"]) for line in logs] == [("error", "waiting")]
    assert metrics.registry.get_sample_value(age) == 61
    assert await maker.extend() == 1
    await maker.extend()
    assert metrics.registry.get_sample_value(age) == 0


@pytest.mark.parametrize("moment", ["infinity", "-infinity", "20000-01-01Z", "4000-01-01Z BC"])
async def test_a_time_no_client_can_read_stops_no_other_chain(audited: Audited, moment: str) -> None:
    """The workspace's goes on."""
    (forged,) = await audited.happen(1)
    await audited.superuser.execute(
        f"UPDATE events SET created_at = '{moment}' WHERE event_id = $1", forged.event_id
    )
    workspace = audited.workspace()
    await workspace.happen(1, tenant_id=None)
    await audited.maker().extend()
    assert (await workspace.verify()).checked == 1


async def test_chains_of_before_there_were_any_are_begun_on_request(audited: Audited) -> None:
    """Once, each with an event that tells of it; a chain that has a head or links is left alone."""
    environment = Environment(
        environment_id=audited.environment_id,
        name="old",
        kind=EnvironmentKind.PRODUCTION,
        return_urls=(),
        origins=(),
        created_at=audited.clock.now(),
    )
    async with audited.database.environment(audited.environment_id) as transaction:
        assert await transaction.environments.add(environment)
    await audited.happen(3)
    audited.clock.advance(timedelta(days=400))
    await audited.superuser.execute(
        "DELETE FROM audit_heads WHERE environment_id = $1", audited.environment_id
    )
    beginnings = ChainBeginnings(audited.database, audited.vault, audited.clock)
    assert await beginnings.begin_late(COMMAND_LINE) == [audited.environment_id]
    assert await beginnings.begin_late(COMMAND_LINE) == []
    assert await audited.maker().extend() == 4
    assert (await audited.verify()).is_intact
    async with audited.database.environment(audited.environment_id) as transaction:
        newest = (await transaction.events.page(audited.environment_id, limit=1))[0]
    assert (newest.type, newest.origin) == ("audit_chain.begun", COMMAND_LINE)
    await audited.superuser.execute(
        "DELETE FROM audit_heads WHERE environment_id = $1", audited.environment_id
    )
    assert await beginnings.begin_late(COMMAND_LINE) == []
    assert (await audited.verify()).broken == Broken(fault=Fault.HEAD_MISSING, position=4)


async def test_the_beginning_is_a_head_like_any(audited: Audited) -> None:
    """Nothing linked, and all of it proven."""
    verdict = await audited.verify(expected=BEGINNING)
    assert (verdict.is_intact, verdict.checked, verdict.sealed) == (True, 0, True)
