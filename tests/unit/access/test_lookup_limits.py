"""How many unknown keys are looked up, for one address and for all."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from authpipe.access.lookup_limits import Allowance, LookupLimits
from authpipe.domain.clock import ManualClock

HERE = "203.0.113.7"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(datetime(2026, 1, 1, tzinfo=UTC))


@pytest.fixture
def limits(clock: ManualClock) -> LookupLimits:
    return LookupLimits(
        clock,
        per_address=Allowance(burst=2, per_second=1.0),
        per_site=Allowance(burst=4, per_second=2.0),
        per_process=Allowance(burst=5, per_second=2.0),
        addresses=3,
    )


def test_an_address_that_was_wrong_too_often_waits(limits: LookupLimits, clock: ManualClock) -> None:
    """For as long as it is told, and then for one lookup."""
    limits.charge(HERE)
    assert limits.wait_s(HERE) == 0
    limits.charge(HERE)
    assert limits.wait_s(HERE) == 1
    assert limits.wait_s("203.0.113.8") == 0
    clock.advance(timedelta(seconds=1))
    assert limits.wait_s(HERE) == 0
    limits.charge(HERE)
    assert limits.wait_s(HERE) == 1


def test_all_addresses_together_keep_the_process_waiting(limits: LookupLimits, clock: ManualClock) -> None:
    """A flood from everywhere cuts no other address off; the process takes its time."""
    for number in range(5):
        limits.charge(f"203.0.113.{number}")
    assert limits.wait_s("198.51.100.1") == 0
    assert limits.process_wait_s() == 0.5
    clock.advance(timedelta(seconds=0.5))
    assert limits.process_wait_s() == 0


def test_the_networks_of_an_ipv6_site_have_a_limit_together(limits: LookupLimits, clock: ManualClock) -> None:
    """Whoever has a /48 has 65536 networks to send from."""
    for number in range(4):
        limits.charge(f"2001:db8:1:{number:x}::1")
    assert limits.wait_s("2001:db8:1:ffff::1") == 0.5
    assert limits.wait_s("2001:db8:2::1") == 0
    clock.advance(timedelta(seconds=0.5))
    assert limits.wait_s("2001:db8:1:ffff::1") == 0


def test_what_was_saved_up_is_bounded(limits: LookupLimits, clock: ManualClock) -> None:
    """A quiet day does not allow a flood at its end."""
    limits.charge(HERE)
    clock.advance(timedelta(days=1))
    limits.charge(HERE)
    limits.charge(HERE)
    assert limits.wait_s(HERE) == 1


def test_a_clock_that_is_set_back_takes_nothing(limits: LookupLimits, clock: ManualClock) -> None:
    """And the address does not wait for the hour to come again."""
    limits.charge(HERE)
    clock.advance(timedelta(hours=-1))
    assert limits.wait_s(HERE) == 0
    limits.charge(HERE)
    clock.advance(timedelta(seconds=1))
    assert limits.wait_s(HERE) == 0


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("fe80::1%eth0", "fe80::2", True),
        ("::ffff:203.0.113.7", "203.0.113.7", True),
        ("203.0.113.7", "203.0.113.8", False),
        (None, "", True),
        (None, "no address", True),
    ],
)
def test_who_counts_as_one(limits: LookupLimits, one: str | None, other: str | None, *, same: bool) -> None:
    """An IPv4 address; an IPv6 network of 64 bits; everybody whose address is not known."""
    limits.charge(one)
    limits.charge(one)
    assert (limits.wait_s(other) > 0) is same


def test_the_number_of_addresses_is_bounded(clock: ManualClock) -> None:
    """The one that was quiet for longest is forgotten."""
    limits = LookupLimits(clock, per_address=Allowance(burst=1, per_second=1.0), addresses=3)
    for number in (1, 2, 3, 1, 4):
        limits.charge(f"203.0.113.{number}")
    waiting = [number for number in (1, 2, 3, 4) if limits.wait_s(f"203.0.113.{number}") > 0]
    assert waiting == [1, 3, 4]
