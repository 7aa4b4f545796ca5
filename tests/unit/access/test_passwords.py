"""Hashing: the parameters, the cost of everything, and no more of it at a time than fits."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest
from argon2 import PasswordHasher, extract_parameters
from argon2.low_level import Type

from authpipe.access import passwords
from authpipe.access.passwords import Passwords
from authpipe.access.sign_in_refused import SignInReason, SignInRefused
from authpipe.domain.errors import InvalidInput
from authpipe.domain.secret import Secret

WORD = Secret("maple cobalt otter 92")


@pytest.fixture
def hashing() -> Iterator[Passwords]:
    made = Passwords()
    yield made
    made.close()


async def test_hashes_are_argon2id_with_the_parameters_of_the_rfc(hashing: Passwords) -> None:
    """RFC 9106 section 4, second recommended option; two hashes of one password differ by their salt."""
    first, second = await hashing.hash(WORD), await hashing.hash(WORD)
    assert first != second
    told = extract_parameters(first)
    assert (told.type, told.time_cost, told.memory_cost, told.parallelism) == (Type.ID, 3, 65_536, 4)
    assert (told.hash_len, told.salt_len) == (32, 16)


async def test_a_password_matches_its_own_hash_alone(hashing: Passwords) -> None:
    """Another password, no hash, and what is no hash all say no."""
    stored = await hashing.hash(WORD)
    assert (await hashing.verify(stored, WORD)).matches
    assert not (await hashing.verify(stored, Secret("maple cobalt otter 93"))).matches
    assert not (await hashing.verify(None, WORD)).matches
    assert not (await hashing.verify("not a hash", WORD)).matches
    assert not (await hashing.verify(stored, Secret("x" * 1025))).matches


@pytest.mark.parametrize("work", ["verify", "hash_chosen"])
async def test_nothing_that_is_sent_stalls_the_loop(hashing: Passwords, work: str) -> None:
    """Composing costs the square of the combining marks in a row: more than a password can have is not."""
    await hashing.verify(None, WORD)
    hostile = Secret("a" + "\u0300" * 50_000 + "\u0316" * 50_000)
    longest, done = 0.0, False

    async def beat() -> None:
        nonlocal longest
        last = time.perf_counter()
        while not done:
            await asyncio.sleep(0.002)
            now = time.perf_counter()
            longest, last = max(longest, now - last), now

    beating = asyncio.create_task(beat())
    await asyncio.sleep(0.01)
    if work == "verify":
        assert not (await hashing.verify(None, hostile)).matches
    else:
        with pytest.raises(InvalidInput, match="at most 1024 bytes"):
            await hashing.hash_chosen(hostile, account_words=())
    await asyncio.sleep(0.01)
    done = True
    await beating
    assert longest < 0.5


async def test_a_password_is_checked_off_the_loop(
    hashing: Passwords, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the threads that hash it."""
    checked = []
    monkeypatch.setattr(
        passwords, "check_password", lambda *_, **__: checked.append(threading.current_thread().name)
    )
    stored = await hashing.hash_chosen(WORD, account_words=())
    assert [name.partition("_")[0] for name in checked] == ["passwords"]
    assert (await hashing.verify(stored, WORD)).matches


async def test_a_hash_with_other_parameters_is_outdated(hashing: Passwords) -> None:
    """It still matches, so that it can be replaced at the next sign-in."""
    old = PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1).hash(WORD.reveal())
    verdict = await hashing.verify(old, WORD)
    assert (verdict.matches, verdict.outdated) == (True, True)
    assert not (await hashing.verify(await hashing.hash(WORD), WORD)).outdated


async def test_nobody_costs_as_much_as_somebody(hashing: Passwords) -> None:
    """The same work is done where there is no hash to compare with."""
    stored = await hashing.hash(WORD)
    await hashing.verify(None, WORD)

    async def took(subject: str | None) -> float:
        times = []
        for _ in range(5):
            begun = time.process_time()
            await hashing.verify(subject, Secret("wrong wrong wrong"))
            times.append(time.process_time() - begun)
        return min(times)

    somebody, nobody = await took(stored), await took(None)
    assert 0.5 < nobody / somebody < 2


async def test_a_flood_is_turned_away_and_the_loop_goes_on(hashing: Passwords) -> None:
    """Two at a time, a bounded number that waits, and an answer at once for the rest."""
    tries = [asyncio.create_task(hashing.verify(None, WORD)) for _ in range(60)]
    beats = 0
    while not all(each.done() for each in tries):
        await asyncio.sleep(0.005)
        beats += 1
    refused = [each.exception() for each in tries if each.exception() is not None]
    assert len(refused) == 60 - 34
    assert all(isinstance(each, SignInRefused) and each.reason is SignInReason.BUSY for each in refused)
    assert beats > 20
    assert passwords.MEMORY_KIB * 2 <= 131_072
