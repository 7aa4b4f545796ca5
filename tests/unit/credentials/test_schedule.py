"""Due times: early enough to be in time, late enough to be worth it, and never all at once."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authpipe.credentials.schedule import refetch_at, refresh_due_at, refresh_margin, retry_at

NOW = datetime(2026, 5, 17, 12, tzinfo=UTC)
lifetimes = st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=3650))
seeds = st.integers(0, 2**32)


@pytest.mark.parametrize(
    ("lifetime", "margin"),
    [
        (timedelta(days=7), timedelta(hours=16, minutes=48)),  # 10 %
        (timedelta(hours=1), timedelta(minutes=6)),  # 10 %
        (timedelta(minutes=30), timedelta(minutes=5)),  # at least five minutes
        (timedelta(minutes=8), timedelta(minutes=4)),  # at most half the life
        (timedelta(seconds=60), timedelta(seconds=30)),
        (timedelta(0), timedelta(0)),
    ],
)
def test_the_margin_is_a_tenth_but_five_minutes_at_least_and_half_at_most(
    lifetime: timedelta, margin: timedelta
) -> None:
    """The whole rule, by example."""
    assert refresh_margin(lifetime) == margin


@given(lifetimes, seeds)
def test_a_credential_is_due_within_its_life(lifetime: timedelta, seed: int) -> None:
    """Never before it was issued, and always before it ends, a one-minute token included."""
    due = refresh_due_at(NOW, NOW + lifetime, spread=random.Random(seed))
    assert NOW + lifetime / 2 - timedelta(microseconds=2) <= due <= NOW + lifetime
    if lifetime >= timedelta(seconds=60):
        assert due < NOW + lifetime - timedelta(seconds=21)


@given(lifetimes, seeds)
def test_due_times_are_spread_before_the_margin(lifetime: timedelta, seed: int) -> None:
    """By up to two fifths of it; where half of the life is the bound, the margin shrinks by as much."""
    margin = refresh_margin(lifetime)
    due = refresh_due_at(NOW, NOW + lifetime, spread=random.Random(seed))
    left = NOW + lifetime - due
    assert margin / 1.4 - timedelta(microseconds=2) <= left <= margin * 1.4 + timedelta(microseconds=2)
    if lifetime >= timedelta(minutes=14):
        assert left >= margin - timedelta(microseconds=2)


def test_tokens_issued_together_are_not_due_together() -> None:
    """A thousand connections of one moment are spread over minutes, the more the longer they live."""
    spread = random.Random(1)
    due = [refresh_due_at(NOW, NOW + timedelta(hours=1), spread=spread) for _ in range(1000)]
    assert max(due) - min(due) > timedelta(seconds=140)
    assert len(set(due)) > 990
    days = [refresh_due_at(NOW, NOW + timedelta(days=1), spread=spread) for _ in range(1000)]
    assert max(days) - min(days) > timedelta(minutes=55)


def test_an_end_before_the_beginning_is_due_at_once() -> None:
    """A provider whose clock is wrong costs a refresh, not an error."""
    assert refresh_due_at(NOW, NOW - timedelta(hours=1), spread=random.Random(1)) <= NOW


@given(
    st.timedeltas(timedelta(seconds=-60), timedelta(days=30)),
    st.timedeltas(timedelta(days=-30), timedelta(days=30)),
)
def test_a_cache_asks_again_after_now_and_before_the_end(left: timedelta, due_in: timedelta) -> None:
    """Wherever the due time stands: long past, or beyond the end after failures."""
    again = refetch_at(NOW, NOW + left, NOW + due_in)
    assert again is not None
    assert NOW <= again <= max(NOW + left, NOW)


def test_a_cache_asks_again_soon_after_the_refresh_was_due() -> None:
    """A quarter into the margin, so that the new token is there and the old one still good."""
    ends, due = NOW + timedelta(minutes=60), NOW + timedelta(minutes=52)
    assert refetch_at(NOW, ends, due) == NOW + timedelta(minutes=54)
    assert refetch_at(NOW + timedelta(minutes=56), ends, due) == NOW + timedelta(minutes=57)


def test_a_cache_never_asks_again_for_what_does_not_expire() -> None:
    """And for what cannot be refreshed, at its end."""
    assert refetch_at(NOW, None, None) is None
    assert refetch_at(NOW, NOW + timedelta(hours=1), None) == NOW + timedelta(hours=1)


@given(st.integers(0, 1000), seeds)
def test_failures_back_off_up_to_a_quarter_of_an_hour(failures: int, seed: int) -> None:
    """Never at once, never longer than the cap, however many there were."""
    wait = retry_at(NOW, failures, retry_after_s=None, spread=random.Random(seed)) - NOW
    assert timedelta(seconds=2.5) <= wait <= timedelta(minutes=15)
    assert wait >= min(timedelta(seconds=2.5) * 2 ** min(failures, 10), timedelta(minutes=7.5))


@given(st.floats(0, 10_000), seeds)
def test_a_provider_that_wishes_to_wait_is_obeyed_up_to_an_hour(wish: float, seed: int) -> None:
    """``Retry-After`` lengthens the wait and never shortens it."""
    wait = retry_at(NOW, 0, retry_after_s=wish, spread=random.Random(seed)) - NOW
    assert wait >= timedelta(seconds=min(wish, 3600)) - timedelta(microseconds=1)
    assert wait <= timedelta(hours=1)


def test_a_negative_wish_changes_nothing() -> None:
    """A date in the past is no permission to hurry."""
    assert retry_at(NOW, 0, retry_after_s=-5, spread=random.Random(1)) == retry_at(
        NOW, 0, retry_after_s=None, spread=random.Random(1)
    )
