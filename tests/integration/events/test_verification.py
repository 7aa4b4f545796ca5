"""Somebody with every right on the database changes something; the verdict says what and where."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

from authpipe.events.chain_hash import BEGINNING, FIELDS, Head, link
from authpipe.events.verification import Broken, ChainVerification, Fault

if TYPE_CHECKING:
    from conftest import Audited

#: One changed byte, or the like of it, in each column of an event.
EDITS = {
    "tenant_id": "'org_acmf'",
    "type": "'connection.updatee'",
    "object_kind": "'connectiom'",
    "object_id": "object_id || '0'",
    "actor_kind": "'operator'",
    "actor_id": "NULL",
    "request_id": "''",
    "source_address": "'192.0.2.8'",
    "outcome": "'failure'",
    "data": """'{"changed": ["label"], "n": 2}'""",
    "created_at": "created_at + interval '1 microsecond'",
    "environment_id": "gen_random_uuid()",
    "event_id": "gen_random_uuid()",
}
SUBTLE = [
    ("data", """'{"changed": ["label"], "n": 1.0}'"""),
    ("data", """'{"changed": ["label"], "n": "1"}'"""),
    ("data", "'{}'"),
    ("tenant_id", "NULL"),
    ("request_id", "NULL"),
    ("created_at", "'infinity'"),
    ("created_at", "'-infinity'"),
    ("created_at", "(to_char(created_at AT TIME ZONE 'Z', 'YYYY-MM-DD HH24:MI:SS') || 'Z BC')::timestamptz"),
    ("created_at", "created_at + interval '10000 years'"),
    ("type", "type || E'\\u0001'"),
]  # fmt: skip


def test_every_column_is_tried() -> None:
    """A column that is added later must be hashed, and edited here."""
    assert set(EDITS) == set(FIELDS)


async def test_the_columns_hashed_are_those_of_the_table(audited: Audited) -> None:
    """All of them."""
    rows = await audited.superuser.fetch(
        "SELECT column_name FROM information_schema.columns WHERE table_name = 'events'"
    )
    assert {row["column_name"] for row in rows} == set(FIELDS)


@pytest.mark.parametrize(("column", "value"), [*EDITS.items(), *SUBTLE])
async def test_one_edited_value_is_found_at_its_position(audited: Audited, column: str, value: str) -> None:
    """The first bad position is that of the edited event and of no other."""
    events = await audited.linked(7)
    changed = await audited.superuser.execute(
        f"UPDATE events SET {column} = {value} WHERE event_id = $1", events[3].event_id
    )
    assert changed == "UPDATE 1"
    verdict = await audited.verify()
    gone = column in {"environment_id", "event_id"}
    assert verdict.broken is not None
    assert verdict.broken.fault is (Fault.EVENT_MISSING if gone else Fault.EVENT_DIFFERS)
    assert (verdict.broken.position, verdict.broken.event_id) == (4, str(events[3].event_id))
    assert (verdict.checked, verdict.head.position, verdict.sealed) == (3, 3, False)


async def test_a_value_written_again_is_no_edit(audited: Audited) -> None:
    """JSON with its keys in another order, or a time in another zone, is the same value."""
    (event,) = await audited.linked(1)
    await audited.superuser.execute(
        """UPDATE events SET data = '{"n":1,   "changed":["label"]}',"""
        " created_at = (created_at AT TIME ZONE 'Asia/Tokyo') AT TIME ZONE 'Asia/Tokyo' WHERE event_id = $1",
        event.event_id,
    )
    assert (await audited.verify()).is_intact


@pytest.mark.parametrize("position", [1, 4, 7])
async def test_a_deleted_event_is_missed_at_its_position(audited: Audited, position: int) -> None:
    """At the beginning, in the middle and at the end."""
    events = await audited.linked(7)
    await audited.superuser.execute("DELETE FROM events WHERE event_id = $1", events[position - 1].event_id)
    assert (await audited.verify()).broken == Broken(
        fault=Fault.EVENT_MISSING, position=position, event_id=str(events[position - 1].event_id)
    )


@pytest.mark.parametrize("position", [1, 4, 7])
async def test_a_deleted_link_is_missed_at_its_position(audited: Audited, position: int) -> None:
    """Whether or not its event went with it."""
    events = await audited.linked(7)
    await audited.superuser.execute("DELETE FROM audit_chain WHERE position = $1", position)
    assert (await audited.verify()).broken == Broken(fault=Fault.LINK_MISSING, position=position)
    await audited.superuser.execute("DELETE FROM events WHERE event_id = $1", events[position - 1].event_id)
    assert (await audited.verify()).broken == Broken(fault=Fault.LINK_MISSING, position=position)


@pytest.mark.parametrize("position", [1, 4, 7])
async def test_a_changed_hash_is_told_from_a_changed_event(audited: Audited, position: int) -> None:
    """What follows was made from the hash as it was."""
    await audited.linked(7)
    await audited.superuser.execute(
        "UPDATE audit_chain SET hash = set_byte(hash, 31, get_byte(hash, 31) # 1) WHERE position = $1",
        position,
    )
    broken = (await audited.verify()).broken
    assert broken is not None
    assert (broken.fault, broken.position) == (Fault.LINK_DIFFERS, position)


async def test_two_events_that_changed_places_are_found(audited: Audited) -> None:
    """By the first of the two."""
    events = await audited.linked(7)
    async with audited.superuser.transaction():
        await audited.superuser.execute(
            "UPDATE audit_chain SET event_id = $1 WHERE position = 3", uuid.UUID(int=1)
        )
        await audited.superuser.execute(
            "UPDATE audit_chain SET event_id = $1 WHERE position = 6", events[2].event_id
        )
        await audited.superuser.execute(
            "UPDATE audit_chain SET event_id = $1 WHERE position = 3", events[5].event_id
        )
    broken = (await audited.verify()).broken
    assert broken is not None
    assert (broken.fault, broken.position) == (Fault.EVENT_DIFFERS, 3)
    assert broken.event_id == str(events[5].event_id)


async def test_links_that_changed_places_are_found(audited: Audited) -> None:
    """Positions are hashed too."""
    await audited.linked(7)
    await audited.superuser.execute("UPDATE audit_chain SET position = 100 WHERE position = 3")
    await audited.superuser.execute("UPDATE audit_chain SET position = 3 WHERE position = 6")
    await audited.superuser.execute("UPDATE audit_chain SET position = 6 WHERE position = 100")
    broken = (await audited.verify()).broken
    assert broken is not None
    assert (broken.fault, broken.position) == (Fault.EVENT_DIFFERS, 3)


async def forge(audited: Audited) -> uuid.UUID:
    """An event that nothing queues."""
    forged = uuid.uuid4()
    await audited.superuser.execute("SET session_replication_role = replica")
    await audited.superuser.execute(
        "INSERT INTO events SELECT environment_id, tenant_id, $1, type, object_kind, object_id, actor_kind,"
        " actor_id, request_id, source_address, outcome, data, created_at FROM events LIMIT 1",
        forged,
    )
    await audited.superuser.execute("SET session_replication_role = origin")
    return forged


async def test_an_event_slipped_past_the_queue_is_found(audited: Audited) -> None:
    """It is no part of the chain and does not wait to become one."""
    await audited.linked(7)
    forged = await forge(audited)
    broken = (await audited.verify()).broken
    assert broken is not None
    assert (broken.fault, broken.position, broken.event_id) == (Fault.EVENT_NOT_LINKED, None, str(forged))


async def test_an_event_forged_into_the_middle_is_found(audited: Audited) -> None:
    """With a link of its own, all later links moved up, and a head that fits the number."""
    await audited.linked(7)
    forged = await forge(audited)
    await audited.superuser.execute("UPDATE audit_chain SET position = position + 100 WHERE position >= 4")
    await audited.superuser.execute("UPDATE audit_chain SET position = position - 99 WHERE position >= 100")
    await audited.superuser.execute(
        "INSERT INTO audit_chain SELECT environment_id, 4, $1, sha256('forged') FROM audit_heads", forged
    )
    await audited.superuser.execute("UPDATE audit_heads SET position = 8")
    broken = (await audited.verify()).broken
    assert broken is not None
    assert (broken.position, broken.event_id) == (4, str(forged))


async def rewrite(audited: Audited, column: str, value: str, position: int) -> Head:
    """Edit an event and make every hash from there on anew, as anybody can who has the algorithm."""
    await audited.superuser.execute(
        f"UPDATE events SET {column} = {value} WHERE event_id ="
        " (SELECT event_id FROM audit_chain WHERE position = $1)",
        position,
    )
    async with audited.database.system() as transaction:
        links = await transaction.audit_chain.links(audited.environment_id, after=0, upto=1000)
    head = BEGINNING
    for each in links:
        assert each.record is not None
        head = link(head, each.record)
        await audited.superuser.execute("UPDATE audit_chain SET hash = $2 WHERE position = $1", *head)
    await audited.superuser.execute("UPDATE audit_heads SET position = $1, hash = $2", *head)
    return head


async def test_a_chain_made_anew_without_the_vault_has_the_wrong_seal(audited: Audited) -> None:
    """Every hash fits, and the vault never sealed the last one."""
    events = await audited.linked(7)
    noted = await audited.head()
    await rewrite(audited, "actor_id", "'somebody_else'", 4)
    verdict = await audited.verify()
    assert verdict.broken == Broken(fault=Fault.SEAL_WRONG, position=7)
    assert verdict.checked == 7
    # With a head that was noted while it was still good, more is known.
    broken = (await audited.verify(expected=noted)).broken
    assert broken is not None
    assert (broken.fault, broken.position, broken.event_id) == (
        Fault.EXPECTED_DIFFERS,
        7,
        str(events[6].event_id),
    )


async def test_going_on_after_a_rewrite_does_not_hide_it(audited: Audited) -> None:
    """The next maker will not seal what it did not make."""
    await audited.linked(7)
    await rewrite(audited, "outcome", "'failure'", 2)
    await audited.happen(3)
    assert await audited.maker().extend() == 0
    broken = (await audited.verify()).broken
    assert broken is not None
    assert broken.fault is Fault.SEAL_WRONG


async def test_a_head_is_checked_against_the_links(audited: Audited) -> None:
    """Missing, too low, too high, of another hash, without a seal: each is told apart."""
    await audited.linked(4)
    only = f"WHERE environment_id = '{audited.environment_id}'"
    stored = await audited.superuser.fetchrow(
        f"SELECT position, hash, seal, complete_at FROM audit_heads {only}"
    )
    assert stored is not None
    for change, fault, position in (
        ("position = 3", Fault.HEAD_DIFFERS, 3),
        ("position = 9", Fault.LINK_MISSING, 5),
        ("hash = sha256('x')", Fault.HEAD_DIFFERS, 4),
        ("seal = NULL", Fault.SEAL_MISSING, 4),
        ("seal = set_byte(seal, 40, get_byte(seal, 40) # 1)", Fault.SEAL_WRONG, 4),
        ("seal = 'x'", Fault.SEAL_WRONG, 4),
        ("complete_at = complete_at - interval '1 microsecond'", Fault.SEAL_WRONG, 4),
        ("complete_at = NULL", Fault.SEAL_WRONG, 4),
    ):
        await audited.superuser.execute(f"UPDATE audit_heads SET {change} {only}")
        assert (await audited.verify()).broken == Broken(fault=fault, position=position), change
        await audited.superuser.execute(
            f"UPDATE audit_heads SET position = $1, hash = $2, seal = $3, complete_at = $4 {only}", *stored
        )
    assert (await audited.verify()).is_intact
    await audited.superuser.execute(f"DELETE FROM audit_heads {only}")
    assert (await audited.verify()).broken == Broken(fault=Fault.HEAD_MISSING, position=4)
    await audited.superuser.execute("DELETE FROM audit_chain")
    await audited.superuser.execute("DELETE FROM events")
    assert (await audited.verify()).broken == Broken(fault=Fault.HEAD_MISSING, position=0)


async def test_a_cut_tail_with_its_old_seal_takes_a_noted_head_to_find(audited: Audited) -> None:
    """What the database alone cannot tell, and what the noted head is for."""
    await audited.linked(2)
    only = f"WHERE environment_id = '{audited.environment_id}'"
    older = await audited.superuser.fetchrow(f"SELECT position, hash, seal FROM audit_heads {only}")
    assert older is not None
    await audited.linked(2)
    noted = await audited.head()
    await audited.superuser.execute(
        "DELETE FROM events USING audit_chain c WHERE c.event_id = events.event_id AND c.position > 2"
    )
    await audited.superuser.execute("DELETE FROM audit_chain WHERE position > 2")
    await audited.superuser.execute(
        f"UPDATE audit_heads SET position = $1, hash = $2, seal = $3 {only}", *older
    )
    assert (await audited.verify()).is_intact
    assert (await audited.verify(expected=noted)).broken == Broken(fault=Fault.EXPECTED_MISSING, position=4)


async def test_a_noted_head_stays_good_while_the_chain_grows(audited: Audited) -> None:
    """It is that of its position, not of the end."""
    await audited.linked(2)
    noted = await audited.head()
    await audited.linked(3)
    assert (await audited.verify(expected=noted)).is_intact
    assert (await audited.verify(expected=BEGINNING)).is_intact


async def test_more_than_a_page_is_verified(audited: Audited) -> None:
    """Pages end anywhere; the edited event is the first of the third."""
    environment = audited.environment_id
    await audited.superuser.execute(
        "INSERT INTO events SELECT $1, 't', uuidv7(), 'connection.updated', 'connection', n::text, 'worker',"
        " NULL, NULL, NULL, 'success', '{}', now() FROM generate_series(1, 2100) AS s (n)",
        environment,
    )
    maker = audited.maker()
    while await maker.extend():
        pass
    seen: list[tuple[int, int]] = []
    verification = ChainVerification(audited.database, audited.vault)
    verdict = await verification.verify(environment, progress=lambda *done: seen.append(done))
    assert verdict.is_intact
    assert verdict.checked == 2100
    assert seen == [(1000, 2100), (2000, 2100), (2100, 2100)]
    for position in (1000, 2001):
        await audited.superuser.execute(
            "UPDATE events SET object_id = 'x' WHERE event_id ="
            " (SELECT event_id FROM audit_chain WHERE position = $1)",
            position,
        )
        broken = (await audited.verify()).broken
        assert broken is not None
        assert (broken.fault, broken.position) == (Fault.EVENT_DIFFERS, 1000)


async def test_nothing_is_nothing_wrong(audited: Audited) -> None:
    """An environment without events has an empty chain."""
    verdict = await audited.verify()
    assert verdict.is_intact
    assert (verdict.checked, verdict.head) == (0, BEGINNING)
