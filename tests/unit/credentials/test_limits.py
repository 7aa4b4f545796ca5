"""The circuit breaker: one provider's trouble stays its own, and ends when the trouble does."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta

import pytest

from authpipe.credentials.limits import NotAsked, ProviderLimits
from authpipe.domain.clock import ManualClock
from authpipe.domain.errors import ProviderUnavailable
from authpipe.domain.identifiers import new_id

CONFIG, OTHER = new_id(), new_id()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(datetime(2026, 5, 17, 12, tzinfo=UTC))


@pytest.fixture
def limits(clock: ManualClock) -> ProviderLimits:
    return ProviderLimits(clock, concurrency=3)


async def admitted(limits: ProviderLimits) -> bool:
    """Whether a call would go out now."""
    try:
        async with limits.slot(CONFIG):
            return True
    except ProviderUnavailable as error:
        refused = error
    assert not refused.sent
    assert refused.retry_after_s is not None
    assert refused.retry_after_s > 0
    return False


async def trial_fails(limits: ProviderLimits) -> None:
    async with limits.slot(CONFIG):
        pass
    limits.failed(CONFIG)


async def test_eight_failures_in_a_row_open_the_circuit(limits: ProviderLimits) -> None:
    """Seven do not; another provider config is not touched."""
    for _ in range(7):
        limits.failed(CONFIG)
    assert await admitted(limits)
    assert limits.paused() == []
    limits.failed(CONFIG)
    assert not await admitted(limits)
    assert limits.paused() == [CONFIG]
    async with limits.slot(OTHER):
        pass


async def test_a_success_in_between_begins_the_count_anew(limits: ProviderLimits) -> None:
    """Failures of one credential among many that work open nothing."""
    for _ in range(20):
        for _ in range(7):
            limits.failed(CONFIG)
        limits.succeeded(CONFIG)
    assert await admitted(limits)


async def test_an_app_wide_failure_opens_it_at_once(limits: ProviderLimits) -> None:
    """Every further call would be refused for the same reason."""
    limits.failed(CONFIG, app_wide=True)
    assert not await admitted(limits)


async def test_after_the_pause_one_trial_goes_out(limits: ProviderLimits, clock: ManualClock) -> None:
    """While it is under way nobody else does; what it brings decides."""
    limits.failed(CONFIG, app_wide=True)
    clock.advance(timedelta(seconds=15))
    assert limits.paused() == []
    async with limits.slot(CONFIG):
        assert not await admitted(limits)
        assert limits.paused() == [CONFIG]
    limits.succeeded(CONFIG)
    assert await admitted(limits)
    async with limits.slot(CONFIG):
        assert await admitted(limits)


async def test_the_pause_doubles_with_each_failed_trial_up_to_five_minutes(
    limits: ProviderLimits, clock: ManualClock
) -> None:
    """15 s, 30 s, 1 min, 2 min, 4 min, 5 min, 5 min; a success begins again at 15 s."""
    limits.failed(CONFIG, app_wide=True)
    for pause in (15, 30, 60, 120, 240, 300, 300):
        clock.advance(timedelta(seconds=pause - 1))
        assert not await admitted(limits)
        clock.advance(timedelta(seconds=1))
        await trial_fails(limits)
    clock.advance(timedelta(seconds=300))
    limits.succeeded(CONFIG)
    limits.failed(CONFIG, app_wide=True)
    clock.advance(timedelta(seconds=15))
    assert await admitted(limits)


async def test_calls_under_way_when_the_provider_goes_down_count_as_one_trial(
    limits: ProviderLimits, clock: ManualClock
) -> None:
    """Thirty-two calls that fail together open the circuit for 15 seconds, not for five minutes."""
    for _ in range(32):
        limits.failed(CONFIG)
    clock.advance(timedelta(seconds=15))
    assert await admitted(limits)


async def test_a_trial_that_is_cancelled_makes_room_for_another(
    limits: ProviderLimits, clock: ManualClock
) -> None:
    """A caller that hangs up must not keep the circuit open for good."""
    limits.failed(CONFIG, app_wide=True)
    clock.advance(timedelta(seconds=15))

    async def trial() -> None:
        async with limits.slot(CONFIG):
            await asyncio.Event().wait()

    task = asyncio.create_task(trial())
    await asyncio.sleep(0)
    assert not await admitted(limits)
    task.cancel()
    await asyncio.wait([task])
    assert await admitted(limits)


async def test_a_wish_to_be_left_alone_longer_is_obeyed(limits: ProviderLimits, clock: ManualClock) -> None:
    """Up to an hour, also when it is heard while the circuit is open."""
    limits.failed(CONFIG, app_wide=True, retry_after_s=100)
    clock.advance(timedelta(seconds=99))
    assert not await admitted(limits)
    limits.failed(CONFIG, retry_after_s=90_000)
    clock.advance(timedelta(seconds=3599))
    assert not await admitted(limits)
    clock.advance(timedelta(seconds=1))
    assert await admitted(limits)


async def test_a_shorter_wish_does_not_end_a_longer_pause(limits: ProviderLimits, clock: ManualClock) -> None:
    """Of two answers that arrive while it is open the longer counts."""
    limits.failed(CONFIG, app_wide=True, retry_after_s=100)
    limits.failed(CONFIG, retry_after_s=1)
    clock.advance(timedelta(seconds=99))
    assert not await admitted(limits)


async def test_a_refusal_of_ours_can_be_told_from_the_providers(limits: ProviderLimits) -> None:
    """Or those who were refused would be counted as failures of the provider."""
    limits.failed(CONFIG, app_wide=True)
    with pytest.raises(NotAsked) as caught:
        async with limits.slot(CONFIG):
            pytest.fail("admitted")
    assert caught.value.code == "provider_unavailable"
    assert caught.value.retryable


async def test_no_more_calls_run_at_once_than_the_limit(limits: ProviderLimits) -> None:
    """The fourth waits for one of three."""
    running = most = 0
    go = asyncio.Event()

    async def call() -> None:
        nonlocal running, most
        async with limits.slot(CONFIG):
            running += 1
            most = max(most, running)
            await go.wait()
            running -= 1

    tasks = [asyncio.create_task(call()) for _ in range(9)]
    for _ in range(5):
        await asyncio.sleep(0)
    assert running == 3
    go.set()
    await asyncio.gather(*tasks)
    assert most == 3


async def test_those_that_wait_for_a_slot_do_not_go_out_once_it_is_open(limits: ProviderLimits) -> None:
    """A queue in front of a provider that went down is not worked off against it."""
    go = asyncio.Event()
    out = 0

    async def call() -> None:
        nonlocal out
        async with limits.slot(CONFIG):
            out += 1
            await go.wait()
            limits.failed(CONFIG, app_wide=True)

    tasks = [asyncio.create_task(call()) for _ in range(9)]
    await asyncio.sleep(0)
    go.set()
    for task in tasks:
        with contextlib.suppress(NotAsked):
            await task
    assert out == 3
