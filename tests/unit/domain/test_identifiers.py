"""Ids of ours are ordered in time; ids of the application's are safe wherever they are written."""

from __future__ import annotations

import time
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authpipe.domain.errors import InvalidInput
from authpipe.domain.identifiers import check_opaque_id, new_id, parse_id


def test_an_id_has_the_version_and_variant_of_uuid7() -> None:
    """RFC 9562 section 5.7, for every random part."""
    for _ in range(2_000):
        one = new_id()
        assert one.version == 7
        assert one.variant == uuid.RFC_4122


def test_an_id_begins_with_the_time_in_milliseconds() -> None:
    """The first 48 bits are Unix time, between the moments before and after."""
    before = time.time_ns() // 1_000_000
    one = new_id()
    after = time.time_ns() // 1_000_000
    assert before <= one.int >> 80 <= after


def test_ids_of_later_milliseconds_are_greater(monkeypatch: pytest.MonkeyPatch) -> None:
    """As numbers, as text and as bytes, so that an index grows at its end."""
    moments = iter(range(1_700_000_000_000, 1_700_000_000_500))
    monkeypatch.setattr(time, "time_ns", lambda: next(moments) * 1_000_000)
    ids = [new_id() for _ in range(500)]
    assert ids == sorted(ids)
    assert [str(one) for one in ids] == sorted(str(one) for one in ids)
    assert [one.bytes for one in ids] == sorted(one.bytes for one in ids)


def test_ids_within_a_millisecond_keep_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quarter of a microsecond apart is enough, so that events of one transaction read in order."""
    moments = iter(range(1_700_000_000_000_000_000, 1_700_000_000_000_999_000, 250))
    monkeypatch.setattr(time, "time_ns", lambda: next(moments))
    ids = [new_id() for _ in range(3_000)]
    assert ids == sorted(ids)


def test_ids_of_one_moment_differ_in_every_random_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """62 bits vary, the other 66 do not, and none of 5,000 repeats."""
    monkeypatch.setattr(time, "time_ns", lambda: 1_700_000_000_000_000_000)
    ids = [new_id().int for _ in range(5_000)]
    ever_set, always_set = 0, (1 << 128) - 1
    for one in ids:
        ever_set |= one
        always_set &= one
    assert len(set(ids)) == 5_000
    assert (ever_set & ~always_set).bit_count() == 62


def test_an_id_is_read_back() -> None:
    """From the text the API returned."""
    one = new_id()
    assert parse_id(str(one), field="connection_id") == one


@pytest.mark.parametrize("value", ["", "org_acme", "0190", "01900000-0000-7000-8000-00000000000g", "é" * 32])
def test_what_is_no_id_is_refused_with_the_field(value: str) -> None:
    """The error names the field and does not chain what went wrong inside."""
    with pytest.raises(InvalidInput, match="connection_id must be a UUID") as caught:
        parse_id(value, field="connection_id")
    assert caught.value.field == "connection_id"
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    "value",
    ["a", "org_acme", "user-123", "a" * 200, "auth0|5f7c8ec7c33c6c004bbafe82", "a@b.example", "!~()+,"],
)
def test_an_opaque_id_is_returned_unchanged(value: str) -> None:
    """What applications use as ids passes as it is."""
    assert check_opaque_id(value, field="tenant_id") == value


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("", id="empty"),
        pytest.param("a" * 201, id="too long"),
        pytest.param("*", id="the mark of every tenant"),
        pytest.param("org*acme", id="that mark inside"),
        pytest.param("org acme", id="a space"),
        pytest.param("org_acme\n", id="a line feed at the end"),
        pytest.param("org\r\nacme", id="a header break"),
        pytest.param("org\x00acme", id="a NUL"),
        pytest.param("org\x7facme", id="a control character"),
        pytest.param("örg_acme", id="a letter outside ASCII"),
        pytest.param("org_acme\u200b", id="an invisible character"),
        pytest.param("\ud800", id="a lone surrogate"),
    ],
)
def test_an_unsafe_opaque_id_is_refused_with_the_field(value: str) -> None:
    """The error says what would be accepted."""
    with pytest.raises(InvalidInput, match="tenant_id must be 1 to 200 printable ASCII") as caught:
        check_opaque_id(value, field="tenant_id")
    assert caught.value.field == "tenant_id"


@given(st.text())
def test_exactly_printable_ascii_without_space_and_star_is_accepted(value: str) -> None:
    """The pattern says what its words say."""
    allowed = 1 <= len(value) <= 200 and all("!" <= one <= "~" and one != "*" for one in value)
    try:
        accepted = check_opaque_id(value, field="tenant_id") == value
    except InvalidInput:
        accepted = False
    assert accepted == allowed


@pytest.mark.parametrize("code", range(128))
def test_each_ascii_character_is_judged_by_itself(code: int) -> None:
    """All 128 of them."""
    character = chr(code)
    if 0x21 <= code <= 0x7E and character != "*":
        assert check_opaque_id(character, field="user_id") == character
    else:
        with pytest.raises(InvalidInput):
            check_opaque_id(character, field="user_id")
