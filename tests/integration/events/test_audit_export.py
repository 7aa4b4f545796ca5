"""An export is checked by whoever has the file, and by nothing but the file."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from authpipe.domain.errors import InvalidInput
from authpipe.events.audit_export import AuditExport, verify_export
from authpipe.events.chain_hash import FIELDS, Head
from authpipe.events.head_seal import HeadSeals
from authpipe.events.verification import Broken, ChainVerification, Fault

if TYPE_CHECKING:
    from conftest import Audited

PAGE = Path(__file__).parents[3] / "docs" / "explanation" / "audit.md"


async def exported(audited: Audited, **bounds: Any) -> list[str]:
    export = AuditExport(audited.database, ChainVerification(audited.database, audited.vault))
    return [line async for line in export.lines(audited.environment_id, **bounds)]


def edited(lines: list[str], number: int, **changed: Any) -> list[str]:
    return [json.dumps(json.loads(line) | changed) if number == at else line for at, line in enumerate(lines)]


async def test_an_export_holds_every_column_and_verifies(audited: Audited) -> None:
    """Line by line, with the head and its seal at the end."""
    events = await audited.linked(5)
    lines = await exported(audited)
    verdict = await verify_export(lines)
    assert verdict.is_intact
    assert (verdict.checked, verdict.head, verdict.sealed) == (5, await audited.head(), False)
    first, *records, last = [json.loads(line) for line in lines]
    assert (first["first_position"], first["previous_hash"]) == (1, "00" * 32)
    assert [record["event_id"] for record in records] == [str(event.event_id) for event in events]
    assert list(records[0]) == ["object", "position", "hash", *FIELDS]
    assert json.loads(records[0]["data"]) == events[0].data
    assert records[0]["created_at"] == "2026-05-17T12:00:00.000000Z"
    head = await audited.head()
    assert (last["records"], last["position"], last["hash"]) == (5, 5, head.hash.hex())
    seal = base64.b64decode(last["head"]["seal"])
    complete_at = datetime.fromisoformat(last["head"]["complete_at"])
    assert await HeadSeals(audited.vault).holds(audited.environment_id, head, complete_at, seal)


@pytest.mark.parametrize("field", FIELDS)
async def test_an_edited_field_is_found(audited: Audited, field: str) -> None:
    """At the position of its record."""
    await audited.linked(5)
    lines = await exported(audited)
    record = json.loads(lines[3])
    other = "0" * 36 if record[field] is None else record[field] + " "
    if field in ("environment_id", "event_id"):
        other = record[field][:-1] + ("0" if record[field][-1] != "0" else "1")
    forged = edited(lines, 3, **{field: other})
    if field == "environment_id":
        with pytest.raises(InvalidInput, match="line 4"):
            await verify_export(forged)
        return
    broken = (await verify_export(forged)).broken
    assert broken is not None
    assert (broken.fault, broken.position) == (Fault.EVENT_DIFFERS, 3)


async def test_lines_that_are_missing_or_moved_are_found(audited: Audited) -> None:
    """One, the last one, the end line, and two that changed places."""
    await audited.linked(5)
    lines = await exported(audited)
    another = {"position": 5, "hash": "00" * 32}
    for wrong, broken in (
        ([*lines[:3], *lines[4:]], Broken(fault=Fault.LINK_MISSING, position=3)),
        ([*lines[:5], lines[6]], Broken(fault=Fault.EXPORT_INCOMPLETE, position=4)),
        (lines[:-1], Broken(fault=Fault.EXPORT_INCOMPLETE, position=5)),
        ([*lines[:2], lines[3], lines[2], *lines[4:]], Broken(fault=Fault.LINK_MISSING, position=2)),
        ([*lines, lines[1]], Broken(fault=Fault.EXPORT_INCOMPLETE, position=5)),
        (edited(lines, 6, records=4), Broken(fault=Fault.EXPORT_INCOMPLETE, position=5)),
        (edited(lines, 6, head=another), Broken(fault=Fault.EXPORT_INCOMPLETE, position=5)),
    ):  # fmt: skip
        assert (await verify_export(wrong)).broken == broken
    changed_hash = (await verify_export(edited(lines, 3, hash="ab" * 32))).broken
    assert changed_hash is not None
    assert (changed_hash.fault, changed_hash.position) == (Fault.LINK_DIFFERS, 3)


async def test_a_part_of_a_chain_verifies_from_where_it_begins(audited: Audited) -> None:
    """By position and by time; what was before is fixed by its hash, which a noted head can confirm."""
    for _ in range(3):
        await audited.linked(2)
        audited.clock.advance(timedelta(hours=1))
    noted = await audited.head()
    by_position = await exported(audited, start=3, end=4)
    noon = audited.clock.now() - timedelta(hours=3)
    by_time = await exported(
        audited, start=noon + timedelta(minutes=30), end=noon + timedelta(hours=1, minutes=30)
    )
    assert by_position == by_time
    verdict = await verify_export(by_position)
    assert verdict.is_intact
    assert (verdict.checked, verdict.head.position) == (2, 4)
    rest = await exported(audited, start=5)
    assert (await verify_export(rest, expected=noted)).is_intact
    assert (await verify_export(rest, expected=verdict.head)).is_intact
    forged = Head(4, bytes(32))
    assert (await verify_export(rest, expected=forged)).broken == Broken(
        fault=Fault.EXPECTED_DIFFERS, position=4
    )
    assert (await verify_export(by_position, expected=noted)).broken == Broken(
        fault=Fault.EXPECTED_MISSING, position=6
    )


async def test_an_empty_part_is_an_export_too(audited: Audited) -> None:
    """Of an environment without events, and of a time in which there were none."""
    assert len(await exported(audited)) == 2
    await audited.linked(2)
    later = audited.clock.now() + timedelta(days=1)
    lines = await exported(audited, start=later)
    assert (await verify_export(lines)).is_intact
    assert json.loads(lines[-1])["position"] == 2
    assert len(lines) == 2


@pytest.mark.parametrize("bounds", [{"start": 9}, {"start": 0}, {"end": 9}, {"end": 0}])
async def test_a_position_that_is_none_is_refused(audited: Audited, bounds: dict[str, int]) -> None:
    """With the range there is."""
    await audited.linked(2)
    with pytest.raises(InvalidInput, match="between 1 and 2"):
        await exported(audited, **bounds)


@pytest.mark.parametrize(
    "line",
    [
        "", "x", "[]", "1", "{}", "null", '{"object": "audit_export"}', '{"object": "audit_record"}',
        "[" * 100_000, '{"object": "audit_record", "position": true}',
        '{"object":"audit_export","version":2,"algorithm":"sha256","environment_id":"","first_position":1}',
    ],
)  # fmt: skip
async def test_what_is_no_export_is_refused_with_its_line(audited: Audited, line: str) -> None:
    """Whatever stands there, at the beginning or later."""
    await audited.linked(2)
    good = await exported(audited)
    with pytest.raises(InvalidInput, match=r"line 1|the file's end"):
        await verify_export([line] if line else [])
    with pytest.raises(InvalidInput, match="line 3"):
        await verify_export([*good[:2], line, *good[2:]])


async def test_the_documented_script_verifies_an_export(audited: Audited) -> None:
    """The script on the page, run on a real export, comes to the same head; on an edited one it stops."""
    await audited.linked(4)
    script = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[0]
    lines = await exported(audited)
    said: list[str] = []
    for text in ("\n".join(lines), "\n".join(edited(lines, 2, outcome="failure"))):
        names = {
            "open": lambda _, text=text, **__: io.StringIO(text),
            "print": lambda *a: said.append(str(a)),
        }
        try:
            exec(compile(script, str(PAGE), "exec"), names)
        except SystemExit as stopped:
            said.append(str(stopped))
    head = await audited.head()
    assert head.hash.hex() in said[0]
    assert "2" in said[1]
    assert len(said) == 2


def test_the_worked_example_is_right() -> None:
    """The page's record and its hash: by hand, from the page's own words."""
    page = PAGE.read_text(encoding="utf-8")
    record = json.loads(re.findall(r"```json\n(.*?)```", page, re.DOTALL)[0])
    told = re.findall(r"^[0-9a-f]{64}$", page, re.MULTILINE)
    text = b"authpipe audit chain 1\0" + bytes(32) + (1).to_bytes(8, "big")
    for name in FIELDS:
        value = record[name]
        text += b"\0" if value is None else b"\1" + len(value.encode()).to_bytes(4, "big") + value.encode()
    assert told == [hashlib.sha256(text).hexdigest()]
    assert record["hash"] == told[0]
