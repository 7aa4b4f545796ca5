"""Which connection or installation a caller means."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from authpipe.credentials.resolve import choose
from authpipe.domain.credential import CredentialFor
from authpipe.domain.errors import AmbiguousConnection, NotConnected


def row(number: int, **changed: Any) -> dict[str, Any]:
    """A user's active connection."""
    return {
        "owner_kind": "connection",
        "owner_id": UUID(int=number),
        "user_id": "user_123",
        "label": None,
        "account_name": f"account {number}",
        "is_primary": False,
        "status": "active",
        **changed,
    }


def tenants(number: int, **changed: Any) -> dict[str, Any]:
    """A connection of the tenant as a whole."""
    return row(number, user_id=None, **changed)


def installation(number: int, **changed: Any) -> dict[str, Any]:
    return row(number, owner_kind="installation", user_id=None, **changed)


@pytest.mark.parametrize(
    ("rows", "chosen"),
    [
        pytest.param([row(1)], 1, id="the only one"),
        pytest.param([installation(1), row(2)], 2, id="the user's own before the installation's"),
        pytest.param([tenants(1), row(2)], 2, id="the user's own before the tenant's"),
        pytest.param([installation(1), tenants(2)], 2, id="the tenant's before the installation's"),
        pytest.param([installation(1)], 1, id="the installation when there is nothing else"),
        pytest.param([row(1), row(2, is_primary=True), row(3)], 2, id="the primary of several"),
        pytest.param(
            [row(1), row(2, is_primary=True, status="needs_reauth")],
            2,
            id="the primary although it is broken",
        ),
        pytest.param([row(1, status="needs_reauth"), row(2)], 2, id="the only one that works"),
        pytest.param(
            [installation(1), row(2, status="needs_reauth")], 2, id="the user's own although it is broken"
        ),
        pytest.param([installation(1), installation(2, is_primary=True)], 2, id="the primary installation"),
    ],
)
def test_the_choice(rows: list[dict[str, Any]], chosen: int) -> None:
    """By rank, then primary, then usable; the order of the rows does not matter."""
    for order in (rows, rows[::-1]):
        found = choose(order, credential_for=CredentialFor.ANY, provider="discord")
        assert found["owner_id"] == UUID(int=chosen)


@pytest.mark.parametrize(
    ("rows", "candidates"),
    [
        pytest.param([row(1), row(2)], [1, 2], id="two that work"),
        pytest.param(
            [row(1), row(2), row(3, status="failed")], [1, 2], id="only those that work are offered"
        ),
        pytest.param(
            [row(1, status="failed"), row(2, status="failed")], [1, 2], id="all, when none of them works"
        ),
        pytest.param([installation(1), installation(2)], [1, 2], id="two installations"),
    ],
)
def test_several_candidates_are_listed(rows: list[dict[str, Any]], candidates: list[int]) -> None:
    """With what a caller needs to choose, and nothing secret."""
    with pytest.raises(AmbiguousConnection, match="label") as caught:
        choose(rows, credential_for=CredentialFor.ANY, provider="discord")
    key = f"{rows[0]['owner_kind']}_id"
    listed = caught.value.public_fields()["candidates"]
    assert [candidate[key] for candidate in listed] == [str(UUID(int=number)) for number in candidates]
    assert set(listed[0]) == {key, "label", "account_name", "is_primary", "status"}


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (CredentialFor.ANY, "discord is not connected in this tenant"),
        (CredentialFor.USER, "not connected for this user"),
        (CredentialFor.INSTALLATION, "is not installed"),
    ],
)
def test_nothing_to_choose_from_says_what_is_missing(wanted: CredentialFor, words: str) -> None:
    """And what to do about it."""
    with pytest.raises(NotConnected, match=words) as caught:
        choose([], credential_for=wanted, provider="discord")
    assert "start a connect session" in caught.value.message
