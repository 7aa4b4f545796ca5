"""The bytes that are hashed are no other event's."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authpipe.domain.errors import InvalidInput
from authpipe.events.chain_hash import BEGINNING, FIELDS, Head, encode_record, link, read_head

VALUES = st.one_of(st.none(), st.text(st.characters(), max_size=12))
RECORDS = st.lists(VALUES, min_size=len(FIELDS), max_size=len(FIELDS)).map(tuple)


@given(RECORDS, RECORDS)
def test_different_events_have_different_bytes(first: tuple[str | None], second: tuple[str | None]) -> None:
    """And the same event always the same."""
    assert (encode_record(first) == encode_record(second)) == (first == second)


def test_boundaries_and_nulls_do_not_move() -> None:
    """Text of one column never passes for text of the next; null differs from the empty text."""
    empty = ("",) * len(FIELDS)
    cases = {encode_record(case) for case in (("ab", "c"), ("a", "bc"), ("abc", ""), ("", "abc"))}
    assert len(cases) == 4
    assert encode_record((None, *empty[1:])) != encode_record(empty)
    assert encode_record((None, "")) != encode_record(("", None))


def test_the_bytes_are_as_documented() -> None:
    """Domain separator, previous hash, position, then each column with its length."""
    head = link(Head(6, b"\x07" * 32), ("é", None, ""))
    expected = hashlib.sha256(
        b"authpipe audit chain 1\x00" + b"\x07" * 32 + b"\0\0\0\0\0\0\0\x07"
        b"\x01\x00\x00\x00\x02\xc3\xa9" + b"\x00" + b"\x01\x00\x00\x00\x00"
    ).digest()
    assert head == Head(7, expected)
    assert Head(0, bytes(32)) == BEGINNING


@given(RECORDS, st.integers(0, 2**62))
def test_position_and_past_are_in_the_hash(record: tuple[str | None], position: int) -> None:
    """The same event elsewhere, or after something else, is another link."""
    here = link(Head(position, bytes(32)), record)
    assert here.hash != link(Head(position + 1, bytes(32)), record).hash
    assert here.hash != link(Head(position, b"\x01" + bytes(31)), record).hash


def test_a_head_is_read_as_it_is_written() -> None:
    """From a log line or a note."""
    head = Head(12, bytes(range(32)))
    assert read_head(str(head)) == head
    assert read_head(f" {head}\n".upper()) == head


@pytest.mark.parametrize("text", ["", "12", "12:", ":" + "0" * 64, "1:" + "0" * 63, "-1:" + "0" * 64, "x"])
def test_what_is_no_head_is_refused(text: str) -> None:
    """With a word on what would be one."""
    with pytest.raises(InvalidInput, match="POSITION:HASH"):
        read_head(text)
