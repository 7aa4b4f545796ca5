"""Reads go to memory at once and to the database soon; what stands between loses nothing it need not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
import structlog

from authpipe.domain.event import ActorKind, Event, Origin, Outcome
from authpipe.domain.identifiers import new_id
from authpipe.events.credential_reads import READS_PER_EVENT, CredentialReads
from authpipe.events.key_refusals import LISTED
from authpipe.store.database import Database
from authpipe.telemetry.metrics import Metrics
from support.postgres import Server

if TYPE_CHECKING:
    from conftest import Audited

CREDENTIAL = new_id()


def note(reads: CredentialReads, environment_id: UUID, **changed: Any) -> None:
    """One read, like the others but for what is changed."""
    origin = Origin(
        actor_kind=ActorKind.API_KEY,
        actor_id=changed.pop("actor_id", "key_1"),
        request_id=changed.pop("request_id", "req_1"),
        source_address=changed.pop("source_address", "192.0.2.7"),
    )
    told: dict[str, Any] = {
        "tenant_id": "org_acme",
        "provider": "discord",
        "credential_id": CREDENTIAL,
        "owner_kind": "connection",
        "owner_id": UUID(int=7),
        "user_id": "user_123",
        "kind": "oauth_token",
        "outcome": Outcome.SUCCESS,
        "code": None,
    }
    reads.note(environment_id, origin=origin, **told | changed)


async def recorded(audited: Audited) -> list[Event]:
    """What is in the database, oldest first."""
    async with audited.database.environment(audited.environment_id) as transaction:
        return (await transaction.events.page(audited.environment_id, limit=100_000))[::-1]


@pytest.fixture
async def reads(audited: Audited) -> CredentialReads:
    """Written by hand, so that a test says when."""
    return CredentialReads(audited.database, audited.clock, Metrics())


async def test_reads_that_differ_have_events_of_their_own(reads: CredentialReads, audited: Audited) -> None:
    """Whoever, whatever, from wherever, and however it ended: none of it is folded into another."""
    different: list[dict[str, Any]] = [
        {},
        {"actor_id": "key_2"},
        {"source_address": "192.0.2.8"},
        {"source_address": None},
        {"tenant_id": "org_other"},
        {"credential_id": new_id()},
        {"outcome": Outcome.FAILURE, "code": "not_connected", "credential_id": None},
        {"outcome": Outcome.FAILURE, "code": "forbidden", "credential_id": None},
        {"outcome": Outcome.FAILURE, "code": "forbidden", "credential_id": None, "user_id": "user_124"},
    ]
    for changed in different * 3:
        note(reads, audited.environment_id, **changed)
    await reads.flush()
    events = await recorded(audited)
    assert [event.data["count"] for event in events] == [3] * len(different)
    assert {event.type for event in events} == {"credential.read"}
    assert await audited.maker().extend() == len(different)
    assert (await audited.verify()).is_intact


async def test_an_event_lists_so_many_reads_and_no_more(reads: CredentialReads, audited: Audited) -> None:
    """What comes after begins the next."""
    for number in range(2 * READS_PER_EVENT + 1):
        note(reads, audited.environment_id, request_id=f"req-{number}")
    await reads.flush()
    first, second, third = await recorded(audited)
    assert [len(event.data["reads"]) for event in (first, second)] == [READS_PER_EVENT] * 2
    assert (third.data["count"], third.origin.request_id) == (1, f"req-{2 * READS_PER_EVENT}")
    listed = [each["request_id"] for event in (first, second) for each in event.data["reads"]]
    assert listed == [f"req-{number}" for number in range(2 * READS_PER_EVENT)]


async def test_refusals_of_a_key_are_counted_and_so_many_are_listed(
    reads: CredentialReads, audited: Audited
) -> None:
    """Whatever was asked for; another key, reason or address has an event of its own."""

    def refuse(number: int, **changed: Any) -> None:
        told: dict[str, Any] = {"reason": "role", "api_key_id": UUID(int=1), "source_address": "192.0.2.7"}
        told |= changed
        address = told.pop("source_address")
        reads.note_refusal(
            audited.environment_id,
            route=f"GET /v1/{number}",
            tenant_id=f"org_{number}",
            origin=Origin(actor_kind=ActorKind.API_KEY, request_id=f"req-{number}", source_address=address),
            **told,
        )

    for number in range(LISTED + 5):
        refuse(number)
    refuse(1, reason="tenant")
    refuse(1, api_key_id=UUID(int=2))
    refuse(1, source_address="192.0.2.8")
    await reads.flush()
    assert reads._held == 0
    first, *others = await recorded(audited)
    assert (first.type, first.data["count"], first.tenant_id) == ("api_key.refused", LISTED + 5, None)
    assert [each["tenant_id"] for each in first.data["requests"]] == [f"org_{each}" for each in range(LISTED)]
    assert [each.data["count"] for each in others] == [1, 1, 1]


async def test_nothing_is_written_while_it_is_noted(audited: Audited) -> None:
    """Noting needs no database at all, and no running writer."""
    nowhere = CredentialReads(Database.__new__(Database), audited.clock, Metrics())
    for _ in range(1000):
        note(nowhere, audited.environment_id)


async def test_closing_writes_the_rest(audited: Audited) -> None:
    """An orderly end loses nothing."""
    reads = CredentialReads(audited.database, audited.clock, Metrics())
    reads.start()
    for number in range(1234):
        note(reads, audited.environment_id, credential_id=uuid4(), request_id=str(number))
    await reads.close()
    assert len(await recorded(audited)) == 1234


async def test_many_reads_do_not_wait_for_the_interval(audited: Audited) -> None:
    """A full batch is written at once."""
    reads = CredentialReads(audited.database, audited.clock, Metrics())
    reads.start()
    await asyncio.sleep(0)
    for _ in range(600):
        note(reads, audited.environment_id, credential_id=uuid4())
    async with asyncio.timeout(0.9):
        while await audited.count("events") < 600:
            await asyncio.sleep(0.01)
    await reads.close()


async def test_two_writers_at_once_write_each_read_once(reads: CredentialReads, audited: Audited) -> None:
    """As when the process ends while a batch is on its way."""
    for _ in range(1200):
        note(reads, audited.environment_id, credential_id=uuid4())
    await asyncio.gather(*(reads.flush() for _ in range(3)))
    assert len(await recorded(audited)) == 1200


async def test_what_may_have_been_committed_is_sent_again_without_harm(
    reads: CredentialReads, audited: Audited
) -> None:
    """The same events, by their ids, are stored once."""
    note(reads, audited.environment_id)
    await reads.flush()
    events = await recorded(audited)
    async with audited.database.system() as transaction:
        assert await transaction.events.add_all(events) == 0
    assert await recorded(audited) == events
    assert await audited.count("unchained_events") == 1


async def test_a_read_the_database_refuses_does_not_take_the_others_with_it(
    reads: CredentialReads, audited: Audited
) -> None:
    """It is counted and the rest is written."""
    note(reads, audited.environment_id, user_id="a\x00b")
    note(reads, audited.environment_id)
    with structlog.testing.capture_logs():
        await reads.flush()
    (event,) = await recorded(audited)
    assert event.data["user_id"] == "user_123"
    assert value(reads) == 1


def value(reads: CredentialReads) -> float:
    """What the metric says was lost."""
    found = reads._metrics.registry.get_sample_value("authpipe_unrecorded_credential_reads_total")
    assert found is not None
    return found


async def test_memory_is_bounded(audited: Audited) -> None:
    """By events and by reads; what does not fit is counted, and told once."""
    for bounds, held in (
        ({"backlog": 10}, 10),
        ({"backlog_reads": 25}, 25),
    ):
        reads = CredentialReads(audited.database, audited.clock, Metrics(), **bounds)
        with structlog.testing.capture_logs() as logs:
            for _ in range(40):
                note(reads, audited.environment_id, credential_id=uuid4())
        assert value(reads) == 40 - held
        assert [line["log_level"] for line in logs] == ["error"]
        before = await audited.count("events")
        await reads.flush()
        assert await audited.count("events") - before == held
        note(reads, audited.environment_id)
        await reads.flush()
        assert await audited.count("events") - before == held + 1


@pytest.fixture
async def crashing(postgres: Server, database: Database) -> AsyncIterator[Server]:
    """The server, which is there again at the end."""
    yield postgres
    postgres.restart()


async def test_an_outage_loses_nothing_up_to_the_bound(audited: Audited, crashing: Server) -> None:
    """Reads noted before, during and after it are all written once it is over."""
    reads = CredentialReads(audited.database, audited.clock, Metrics())
    reads.start()
    with structlog.testing.capture_logs() as logs:
        note(reads, audited.environment_id, request_id="before")
        crashing.crash()
        async with asyncio.timeout(20):
            while not logs:
                for number in range(10):
                    note(reads, audited.environment_id, request_id=f"during-{number}")
                await asyncio.sleep(0.05)
        crashing.restart()
        note(reads, audited.environment_id, request_id="after")
        async with asyncio.timeout(30):
            while reads._held:
                await asyncio.sleep(0.05)
    await reads.close()
    events = await recorded(audited)
    assert value(reads) == 0
    ids = [
        read["request_id"]
        for event in events
        for read in event.data.get("reads", [{"request_id": event.origin.request_id}])
    ]
    assert (ids[0], ids[-1]) == ("before", "after")
    assert sum(event.data["count"] for event in events) == len(ids)


async def test_closing_without_a_database_says_what_is_lost(audited: Audited, crashing: Server) -> None:
    """And comes to an end."""
    reads = CredentialReads(audited.database, audited.clock, Metrics())
    for _ in range(3):
        note(reads, audited.environment_id)
    crashing.crash()
    with structlog.testing.capture_logs() as logs:
        await asyncio.wait_for(reads.close(), 20)
    assert logs[-1]["log_level"] == "error"
    assert logs[-1]["reads"] == 3
    assert value(reads) == 3
