"""Locks that grow, and what counts as one place."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from authpipe.access.sign_in_limits import FORGOTTEN_AFTER, failures_before, lock_after, places

NOW = datetime(2026, 5, 17, tzinfo=UTC)


@pytest.mark.parametrize(
    ("failures", "minutes"),
    [(0, None), (4, None), (5, 1), (6, 2), (7, 4), (10, 32), (11, 60), (50, 60), (10**9, 60)],
)
def test_a_lock_doubles_up_to_an_hour(failures: int, minutes: int | None) -> None:
    """From the fifth failure in a row on."""
    assert lock_after(failures, now=NOW) == (None if minutes is None else NOW + timedelta(minutes=minutes))


def test_failures_are_forgotten_after_a_day() -> None:
    """Five slips in a year lock nobody."""
    assert failures_before(4, None, now=NOW) == 0
    assert failures_before(4, NOW - FORGOTTEN_AFTER + timedelta(seconds=1), now=NOW) == 4
    assert failures_before(4, NOW - FORGOTTEN_AFTER, now=NOW) == 0


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("203.0.113.7", ("203.0.113.7",)),
        ("::ffff:203.0.113.7", ("203.0.113.7",)),
        ("2001:db8:1:2:3:4:5:6", ("2001:db8:1:2::/64", "2001:db8:1::/48")),
        ("2001:db8:1:2:ffff::1", ("2001:db8:1:2::/64", "2001:db8:1::/48")),
        (None, ("unknown",)),
        ("not an address", ("unknown",)),
    ],
)
def test_a_subscriber_is_one_place(address: str | None, expected: tuple[str, ...]) -> None:
    """Whoever has a whole IPv6 network or site does not get a count for each of its addresses."""
    assert places(address) == expected
