"""The query of a callback is read strictly, and leniently where a provider is known to err."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authpipe.catalog.loader import load_catalog
from authpipe.catalog.quirks import MAX_CALLBACK_QUERY, parse_callback_query
from authpipe.domain.errors import InvalidInput

CATALOG = load_catalog()
STRICT = CATALOG.get("discord")
LENIENT = CATALOG.get("drift")

names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)
pairs = st.lists(
    st.tuples(names, st.text(st.characters(exclude_categories=("Cs",)), max_size=20)), max_size=6
)


@given(pairs)
def test_every_encoded_query_is_read_back(sent: list[tuple[str, str]]) -> None:
    """Order, repetitions and blank values are kept, by both readers."""
    query = urlencode(sent)
    assert parse_callback_query(STRICT, query) == sent
    assert parse_callback_query(LENIENT, query) == sent


@given(st.lists(st.tuples(names, st.text("abc123-_", max_size=9)), min_size=1, max_size=6))
def test_parameters_joined_by_question_marks_are_read_as_joined_by_ampersands(
    sent: list[tuple[str, str]],
) -> None:
    """The quirk's whole effect."""
    assert parse_callback_query(LENIENT, urlencode(sent).replace("&", "?")) == sent


def test_the_callback_of_drifts_documentation_is_read() -> None:
    """The second parameter follows a question mark."""
    assert parse_callback_query(LENIENT, "code=abc?state=xyz") == [("code", "abc"), ("state", "xyz")]


def test_a_question_mark_that_begins_no_parameter_stays_in_the_value() -> None:
    """It is an ordinary character of a query."""
    assert parse_callback_query(LENIENT, "code=a?b&state=x") == [("code", "a?b"), ("state", "x")]


def test_without_the_quirk_a_question_mark_is_an_ordinary_character() -> None:
    """No other provider's callback is read leniently."""
    assert parse_callback_query(STRICT, "code=abc?state=xyz") == [("code", "abc?state=xyz")]


@pytest.mark.parametrize("definition", [STRICT, LENIENT], ids=["strict", "lenient"])
def test_an_empty_query_has_no_parameters(definition: object) -> None:
    """Nothing sent is nothing read."""
    assert parse_callback_query(definition, "") == []  # type: ignore[arg-type]


@pytest.mark.parametrize("query", ["canary", "a=1&&b=2", "a=%ff", "&".join(["a=1"] * 65)])
def test_a_malformed_query_is_refused_without_repeating_it(query: str) -> None:
    """The message holds no code, whatever was in the query."""
    with pytest.raises(InvalidInput) as caught:
        parse_callback_query(LENIENT, query)
    assert "canary" not in str(caught.value)
    assert caught.value.field == "query"
    assert caught.value.__cause__ is None


def test_a_query_may_have_the_greatest_length_and_no_more() -> None:
    """The bound is 8 KiB."""
    assert MAX_CALLBACK_QUERY == 8192
    longest = "a=" + "x" * (MAX_CALLBACK_QUERY - 2)
    assert parse_callback_query(STRICT, longest) == [("a", longest[2:])]
    with pytest.raises(InvalidInput):
        parse_callback_query(STRICT, longest + "x")
