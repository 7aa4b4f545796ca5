"""Dotted paths into a document."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authpipe.oauth.paths import read_path

DOCUMENT = {"team": {"id": "T1", "0": "zero"}, "values": [{"name": "first"}, {"name": None}], "n": 0}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("team.id", "T1"),
        ("team.0", "zero"),
        ("values.0.name", "first"),
        ("values.1.name", None),
        ("values.2.name", None),
        ("values.-1.name", None),
        ("values.first", None),
        ("values.²", None),
        ("n", 0),
        ("n.real", None),
        ("team.id.0", None),
        ("missing", None),
        ("", None),
    ],
)
def test_a_path_finds_its_value_or_nothing(path: str, found: object) -> None:
    """Attributes, negative indices and characters of a text are not reachable."""
    assert read_path(DOCUMENT, path) == found


@given(json_values, st.text())
def test_no_path_into_any_document_raises(document: object, path: str) -> None:
    """Definitions are read against whatever a provider answers."""
    read_path(document, path)
