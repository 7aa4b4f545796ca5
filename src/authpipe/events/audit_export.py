"""A chain as a file of JSON lines: to be kept elsewhere, and checked by whoever has it and nothing else.

The first line says where the records begin, the last where they end; each between is one event with every
column, its position and its hash.
"""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from authpipe.domain.errors import InvalidInput
from authpipe.events.chain_hash import BEGINNING, FIELDS, Head
from authpipe.events.verification import Broken, ChainVerification, Fault, Progress, Verdict, Walk
from authpipe.store.audit_chain import StoredHead, StoredLink
from authpipe.store.database import Database

FORMAT_VERSION = 1
HEADER = "audit_export"
RECORD = "audit_record"
END = "audit_export_end"

#: Characters.  An event that lists as many reads as one may has a tenth of it.
LONGEST_LINE = 1_000_000
_ALGORITHM = "sha256"

#: Where a range begins or ends: at a position, or at a time.
Bound = int | datetime | None


@dataclass(frozen=True, slots=True)
class AuditExport:
    """Writes the records of one environment."""

    database: Database
    verification: ChainVerification

    async def lines(
        self,
        environment_id: UUID,
        *,
        start: Bound = None,
        end: Bound = None,
        progress: Progress | None = None,
    ) -> AsyncIterator[str]:
        """The lines of an export, a page of records in memory at a time.

        ``start`` and ``end`` are inclusive.  By time, all positions from the first event since ``start`` to
        the last one until ``end`` are written: a chain has no gaps, and its order is that of linking.
        Raises ``InvalidInput`` when a position is none of the chain's.
        """
        async with self.database.system() as transaction:
            chain = transaction.audit_chain
            stored, last = await chain.ends(environment_id)
            first = await _first(chain.first_since, environment_id, start, last)
            upto = await _last(chain.last_until, environment_id, end, last)
            previous = BEGINNING.hash if first == 1 else await chain.hash_at(environment_id, first - 1)
        if previous is None:
            raise InvalidInput(f"the link before position {first} is gone: run authpipe audit verify")
        yield _line(
            {
                "object": HEADER,
                "version": FORMAT_VERSION,
                "algorithm": _ALGORITHM,
                "environment_id": str(environment_id),
                "first_position": first,
                "previous_hash": previous.hex(),
            }
        )
        count, reached = 0, Head(first - 1, previous)
        async for each in self.verification.links(
            environment_id, after=first - 1, upto=upto, progress=progress
        ):
            if each.record is None:
                raise InvalidInput(
                    f"the event at position {each.position} is gone: run authpipe audit verify"
                )
            yield _line(
                {
                    "object": RECORD,
                    "position": each.position,
                    "hash": each.hash.hex(),
                    **dict(zip(FIELDS, each.record, strict=True)),
                }
            )
            count, reached = count + 1, Head(each.position, each.hash)
        yield _line(
            {
                "object": END,
                "records": count,
                "position": reached.position,
                "hash": reached.hash.hex(),
                "head": _head_document(stored),
            }
        )


async def _first(
    since: Callable[[UUID, datetime], Any], environment_id: UUID, start: Bound, last: int
) -> int:
    if isinstance(start, datetime):
        found: int | None = await since(environment_id, start)
        return last + 1 if found is None else found
    if start is None:
        return 1
    if not 1 <= start <= last + 1:
        raise InvalidInput(f"--from must be a position between 1 and {last}", field="from")
    return start


async def _last(until: Callable[[UUID, datetime], Any], environment_id: UUID, end: Bound, last: int) -> int:
    if isinstance(end, datetime):
        found: int | None = await until(environment_id, end)
        return found or 0
    if end is None:
        return last
    if not 1 <= end <= last:
        raise InvalidInput(f"--to must be a position between 1 and {last}", field="to")
    return end


def _head_document(stored: StoredHead | None) -> dict[str, Any] | None:
    if stored is None:
        return None
    return {
        "position": stored.position,
        "hash": stored.hash.hex(),
        "seal": None if stored.seal is None else base64.b64encode(stored.seal).decode("ascii"),
        "complete_at": None
        if stored.complete_at is None
        else stored.complete_at.isoformat().replace("+00:00", "Z"),
    }


def _line(document: dict[str, Any]) -> str:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


async def verify_export(
    lines: Iterable[str], *, expected: Head | None = None, progress: Callable[[int], None] | None = None
) -> Verdict:
    """The verdict on an export, from its lines alone.

    It proves that the records belong together and, with ``expected``, that they are those of the chain whose
    head was noted.  The seal is not checked: that takes the vault.  Raises ``InvalidInput``, with the line,
    for what is no export.
    """
    reading = _Reading(enumerate(lines, 1), progress)
    header = reading.header()
    walk = Walk(Head(header.first_position - 1, header.previous_hash), expected=expected)
    broken = await walk.follow(reading.links(header.environment_id))
    if broken is None and not reading.ends_at(walk.head, walk.checked):
        broken = Broken(fault=Fault.EXPORT_INCOMPLETE, position=walk.head.position)
    return Verdict(environment_id=header.environment_id, head=walk.head, checked=walk.checked, broken=broken)


@dataclass(frozen=True, slots=True)
class _Header:
    environment_id: UUID
    first_position: int
    previous_hash: bytes


class _Reading:
    """Reads an export line by line.  Nothing in it is believed to have any particular form."""

    def __init__(self, lines: Iterator[tuple[int, str]], progress: Callable[[int], None] | None) -> None:
        self._lines = lines
        self._progress = progress
        self._end: dict[str, Any] | None = None

    def header(self) -> _Header:
        number, document = self._next()
        with _Complaint(number):
            if document["object"] != HEADER or document["version"] != FORMAT_VERSION:
                raise ValueError
            if document["algorithm"] != _ALGORITHM:
                raise ValueError
            first = _position(document["first_position"])
            return _Header(UUID(document["environment_id"]), first, _hash(document["previous_hash"]))

    async def links(self, environment_id: UUID) -> AsyncIterator[StoredLink]:
        while True:
            number, document = self._next()
            with _Complaint(number):
                if not document:
                    return
                if document["object"] == END:
                    self._end = document
                    return
                if document["object"] != RECORD:
                    raise ValueError
                record = tuple(_text(document[name]) for name in FIELDS)
                if record[0] != str(environment_id):
                    raise ValueError
                found = StoredLink(
                    position=_position(document["position"]),
                    event_id=UUID(record[1]),
                    hash=_hash(document["hash"]),
                    record=record,
                )
            if self._progress is not None:
                self._progress(found.position)
            yield found

    def ends_at(self, head: Head, count: int) -> bool:
        """Whether the last line says what was found, and nothing follows it."""
        end = self._end
        if end is None or next(self._lines, None) is not None:
            return False
        chain_head = end.get("head")
        if isinstance(chain_head, dict) and chain_head.get("position") == head.position:
            head_fits = chain_head.get("hash") == head.hash.hex()
        else:
            head_fits = True
        told = (end.get("records"), end.get("position"), end.get("hash"))
        return head_fits and told == (count, head.position, head.hash.hex())

    def _next(self) -> tuple[int, dict[str, Any]]:
        """The next line's number and document; an empty one at the end of the file."""
        number, line = next(self._lines, (0, ""))
        if not number:
            return 0, {}
        with _Complaint(number):
            if len(line) > LONGEST_LINE:
                raise ValueError
            document = json.loads(line)
            if not isinstance(document, dict) or not document:
                raise ValueError
        return number, document


class _Complaint:
    """Turns whatever is wrong with a line into one that names it."""

    def __init__(self, number: int) -> None:
        self._number = number

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if isinstance(error, ValueError | TypeError | KeyError | RecursionError):
            where = f"line {self._number}" if self._number else "the file's end"
            raise InvalidInput(f"{where} is not what an audit export has there", field="export") from None


def _position(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value < 2**63:
        raise ValueError
    return value


def _hash(value: object) -> bytes:
    found = bytes.fromhex(value) if isinstance(value, str) else b""
    if len(found) != len(BEGINNING.hash):
        raise ValueError
    return found


def _text(value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        raise TypeError
    return value
