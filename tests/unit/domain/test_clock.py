from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from authpipe.domain.clock import ManualClock, SystemClock


def test_a_manual_clock_stands_still_until_it_is_moved() -> None:
    """Forward and backward, by exactly what was asked."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    clock = ManualClock(start)
    assert clock.now() == clock.now() == start
    clock.advance(timedelta(seconds=90))
    assert clock.now() == start + timedelta(seconds=90)
    clock.advance(timedelta(days=-1))
    assert clock.now() == start + timedelta(seconds=90, days=-1)


def test_a_manual_clock_tells_utc_whatever_it_was_given() -> None:
    """The same moment, in the time zone every room expects."""
    clock = ManualClock(datetime(2026, 1, 1, 9, tzinfo=timezone(timedelta(hours=9))))
    assert clock.now() == datetime(2026, 1, 1, tzinfo=UTC)
    assert clock.now().tzinfo is UTC


def test_a_manual_clock_refuses_a_time_without_a_zone() -> None:
    """A naive time would compare with nothing."""
    with pytest.raises(ValueError, match="timezone-aware"):
        ManualClock(datetime(2026, 1, 1))  # noqa: DTZ001


def test_the_system_clock_tells_the_machines_time_in_utc() -> None:
    """Aware, and between the moments before and after."""
    before = datetime.now(UTC)
    now = SystemClock().now()
    assert before <= now <= datetime.now(UTC)
    assert now.tzinfo is UTC
