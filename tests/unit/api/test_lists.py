"""Cursors: opaque, and either one of ours or refused."""

from __future__ import annotations

import contextlib
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as some

from authpipe.api.lists import cursor_to, cut, id_of, place_of
from authpipe.domain.errors import InvalidInput


@given(some.text(alphabet=some.characters(codec="utf-8"), max_size=300))
def test_a_place_comes_back(place: str) -> None:
    """Whatever the place is called, the cursor is plain ASCII."""
    cursor = cursor_to(place)
    assert cursor.isascii()
    assert place_of(cursor) == place


@given(some.text(max_size=60))
def test_anything_else_is_an_invalid_input(cursor: str) -> None:
    """No text makes another error."""
    for read in (place_of, id_of):
        with contextlib.suppress(InvalidInput):
            read(cursor)


def test_the_beginning_has_no_cursor() -> None:
    """None is no place."""
    assert place_of(None) is None
    assert id_of(None) is None


def test_a_cursor_of_another_list_is_refused() -> None:
    """A tenant's id is no place in a list of connections."""
    with pytest.raises(InvalidInput):
        id_of(cursor_to("org_acme"))
    known = uuid.uuid4()
    assert id_of(cursor_to(str(known))) == known


def test_one_more_than_asked_for_tells_of_a_next_page() -> None:
    """Exactly as many is the last page."""
    assert cut([1, 2, 3], 3, str) == ([1, 2, 3], None)
    page, following = cut([1, 2, 3, 4], 3, str)
    assert page == [1, 2, 3]
    assert place_of(following) == "3"
