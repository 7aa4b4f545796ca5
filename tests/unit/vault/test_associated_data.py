from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authpipe.vault.associated_data import encode_facts

FACTS = st.lists(st.none() | st.binary(max_size=6), max_size=4)


@given(first=FACTS, second=FACTS)
def test_two_lists_of_facts_never_become_the_same_bytes(
    first: list[bytes | None], second: list[bytes | None]
) -> None:
    """The encoding is injective, over lists of any length."""
    assert (encode_facts(*first) == encode_facts(*second)) == (first == second)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param([b"ab", b"c"], [b"a", b"bc"], id="a moved boundary"),
        pytest.param([None], [b""], id="absent and empty"),
        pytest.param([b"a", None], [b"a"], id="absent and missing"),
        pytest.param([b"\x00"], [None], id="a zero byte and absent"),
        pytest.param([b"a\x01b"], [b"a", b"b"], id="a fact that looks like two without lengths"),
        pytest.param([b"a\x01\x00\x00\x00\x01b"], [b"a", b"b"], id="a fact that looks like two"),
    ],
)
def test_lookalikes_differ(first: list[bytes | None], second: list[bytes | None]) -> None:
    """The pairs an ambiguous encoding would confuse."""
    assert encode_facts(*first) != encode_facts(*second)
