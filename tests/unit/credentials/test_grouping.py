"""Writes in groups: nobody waits for company, and nobody suffers for it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from authpipe.credentials.grouping import LARGEST, Grouping


class Writer:
    """Writes numbers; what it does with some of them a test decides."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.singles: list[int] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.left_alone: set[int] = set()
        self.poison: set[int] = set()
        self.outage = False
        self.grouping: Grouping[int, str] = Grouping(self.together, self.singly)

    async def together(self, items: Sequence[int]) -> list[str | None]:
        self.groups.append(list(items))
        await self.gate.wait()
        if self.outage:
            raise ConnectionResetError
        if self.poison & set(items):
            raise ValueError("poison")
        return [None if item in self.left_alone else f"group {item}" for item in items]

    async def singly(self, item: int) -> str:
        self.singles.append(item)
        await self.gate.wait()
        if item in self.poison:
            raise ValueError("poison")
        return f"single {item}"

    async def busy(self) -> list[asyncio.Task[str]]:
        """Two writes under way, as many as there may be."""
        self.gate.clear()
        tasks = [asyncio.create_task(self.grouping.write(-number)) for number in (1, 2)]
        while len(self.singles) + len(self.groups) < 1:
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        return tasks

    async def write(self, *items: int) -> list[str | BaseException]:
        """All of them while the writer is busy; then it goes on."""
        before = await self.busy()
        tasks = [asyncio.create_task(self.grouping.write(item)) for item in items]
        await asyncio.sleep(0)
        self.gate.set()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*before, return_exceptions=True)
        return outcomes


async def test_one_that_comes_alone_is_written_at_once() -> None:
    """By itself, and without a moment's waiting for others."""
    writer = Writer()
    assert await writer.grouping.write(1) == "single 1"
    assert (writer.groups, writer.singles) == ([], [1])


async def test_those_that_come_meanwhile_are_written_together() -> None:
    """As one group, in the order they came."""
    writer = Writer()
    assert await writer.write(1, 2, 3) == ["group 1", "group 2", "group 3"]
    assert [1, 2, 3] in writer.groups


async def test_a_group_is_bounded() -> None:
    """What is more goes into the next."""
    writer = Writer()
    outcomes = await writer.write(*range(3 * LARGEST))
    assert outcomes == [f"group {number}" for number in range(3 * LARGEST)]
    assert max(len(group) for group in writer.groups) == LARGEST


async def test_one_that_the_group_left_alone_is_written_singly() -> None:
    """The others have their outcome from the group."""
    writer = Writer()
    writer.left_alone = {2}
    assert await writer.write(1, 2, 3) == ["group 1", "single 2", "group 3"]


async def test_one_that_poisons_the_group_fails_by_itself() -> None:
    """The others are written one by one."""
    writer = Writer()
    writer.poison = {2}
    first, second, third = await writer.write(1, 2, 3)
    assert (first, third) == ("single 1", "single 3")
    assert isinstance(second, ValueError)


async def test_an_outage_is_told_to_all_and_tried_no_hundred_times() -> None:
    """Nobody is written singly while the database is away."""
    writer = Writer()
    writer.outage = True
    outcomes = await writer.write(1, 2, 3)
    assert all(isinstance(outcome, ConnectionResetError) for outcome in outcomes)
    assert not {1, 2, 3} & set(writer.singles)


async def test_a_caller_that_hangs_up_takes_nothing_back_from_the_others() -> None:
    """Its item is written all the same."""
    writer = Writer()
    before = await writer.busy()
    tasks = [asyncio.create_task(writer.grouping.write(number)) for number in (1, 2)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    await asyncio.wait([tasks[0]])
    writer.gate.set()
    assert await tasks[1] == "group 2"
    with pytest.raises(asyncio.CancelledError):
        await tasks[0]
    await asyncio.gather(*before)
    assert [1, 2] in writer.groups
