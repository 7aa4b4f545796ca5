"""Calls at a time: as many as a provider bears, few when it complains, and slowly more when it is back."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from authpipe.credentials.slots import Slots
from authpipe.domain.clock import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(datetime(2026, 5, 17, 12, tzinfo=UTC))


async def fill(slots: Slots) -> tuple[asyncio.Task[None]]:
    """Take every slot there is, and let one more wait."""
    for _ in range(slots.limit):
        await slots.acquire()
    waiting = asyncio.create_task(slots.acquire())
    await asyncio.sleep(0)
    assert not waiting.done()
    return (waiting,)


async def test_no_more_calls_go_out_than_there_are_slots(clock: ManualClock) -> None:
    """One that waits gets the slot that becomes free, in turn."""
    slots = Slots(clock, first=2, most=2)
    (first,) = await fill(slots)
    second = asyncio.create_task(slots.acquire())
    await asyncio.sleep(0)
    slots.release()
    await asyncio.sleep(0)
    assert (first.done(), second.done()) == (True, False)
    slots.release()
    await asyncio.sleep(0)
    assert second.done()


async def test_a_provider_that_keeps_up_gets_more_but_not_without_end(clock: ManualClock) -> None:
    """One more for each round of answers while all slots are in use."""
    slots = Slots(clock, first=4, most=16)
    for _ in range(5):
        await slots.acquire()
        slots.answered()
        slots.release()
    assert slots.limit == 4, "a provider that is asked little shows nothing"
    for _ in range(200):
        taken = slots.limit
        (waiting,) = await fill(slots)
        slots.answered()
        for _ in range(taken):
            slots.release()
        await waiting
        slots.release()
    assert slots.limit == 16


async def test_complaints_of_one_moment_halve_it_once(clock: ManualClock) -> None:
    """And never to nothing."""
    slots = Slots(clock, first=32, most=128)
    for _ in range(10):
        slots.complained()
    assert slots.limit == 16
    for _ in range(10):
        clock.advance(timedelta(seconds=1))
        slots.complained()
    assert slots.limit == 1


async def test_a_provider_that_is_back_gets_twice_as_many_every_five_seconds(clock: ManualClock) -> None:
    """From two up to what it had; trouble on the way begins it anew."""
    slots = Slots(clock, first=32, most=128)
    slots.begin_again()
    seen = []
    for _ in range(6):
        seen.append(slots.limit)
        clock.advance(timedelta(seconds=5))
    assert seen == [2, 4, 8, 16, 32, 32]
    slots.begin_again()
    clock.advance(timedelta(seconds=10))
    assert slots.limit == 8
    slots.complained()
    assert slots.limit == 2


async def test_one_that_gives_up_waiting_loses_no_slot(clock: ManualClock) -> None:
    """Neither before nor at the moment it was given one."""
    slots = Slots(clock, first=1, most=1)
    (first,) = await fill(slots)
    second = asyncio.create_task(slots.acquire())
    await asyncio.sleep(0)
    second.cancel()
    slots.release()
    first.cancel()
    await asyncio.wait([first, second])
    await asyncio.wait_for(slots.acquire(), 1)
