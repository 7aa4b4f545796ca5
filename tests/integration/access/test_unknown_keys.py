"""Keys nobody was given: they cost next to nothing, and stand in nobody's way."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from authpipe.access import authentication
from authpipe.access.authentication import Authenticator
from authpipe.access.key_text import new_key
from authpipe.access.lookup_limits import Allowance, LookupLimits
from authpipe.access.refusals import Refusals
from authpipe.credentials.changes import Changes
from authpipe.domain.clock import ManualClock, SystemClock
from authpipe.domain.environment import ApiKey
from authpipe.domain.errors import AuthpipeError, RateLimited, Unauthenticated
from authpipe.domain.secret import Secret
from authpipe.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from conftest import CountingDatabase

HERE, THERE = "203.0.113.7", "198.51.100.1"


async def outcome(authenticator: Authenticator, text: Secret | None, source: str | None = HERE) -> str:
    """``ok``, or the code of the refusal."""
    try:
        await authenticator.authenticate(text, source=source)
    except AuthpipeError as error:
        return error.code
    return "ok"


async def flood(authenticator: Authenticator, source: str = HERE, number: int = 100) -> list[str]:
    return await asyncio.gather(*(outcome(authenticator, new_key(), source) for _ in range(number)))


@pytest.fixture
def limits() -> LookupLimits:
    """Of a process that has one unknown key looked up at once, and then twenty a second."""
    return LookupLimits(SystemClock(), per_process=Allowance(burst=1, per_second=20.0))


@pytest.fixture
async def crowded(
    counting: CountingDatabase,
    listening: Changes,
    clock: ManualClock,
    metrics: Metrics,
    limits: LookupLimits,
) -> AsyncIterator[Authenticator]:
    made = Authenticator(
        database=counting, changes=listening, clock=clock, refusals=Refusals(metrics), limits=limits
    )
    listening.start()
    await asyncio.wait_for(listening.listening(), 10)
    yield made
    await made.close()


def charge(limits: LookupLimits, number: int) -> None:
    """So many fruitless lookups from everywhere."""
    for each in range(number):
        limits.charge(f"192.0.2.{each}")


async def test_a_flood_of_invented_keys_is_cut_off(
    authenticator: Authenticator, counting: CountingDatabase
) -> None:
    """Its first keys are looked up, four at a time at most; the others cost the database nothing."""
    answers = await flood(authenticator)
    assert counting.most_lookups == 4
    # Three were on their way when the twentieth was found to be no good.
    assert 20 <= counting.lookups <= 23
    assert answers.count("unauthenticated") == counting.lookups
    assert answers.count("rate_limited") == 100 - counting.lookups
    before = counting.lookups
    assert set(await flood(authenticator)) == {"rate_limited"}
    assert counting.lookups == before


async def test_who_is_cut_off_is_told_when_to_come_back(
    authenticator: Authenticator, key: tuple[ApiKey, Secret], clock: ManualClock
) -> None:
    """A good key that is not known here is answered so as well: it is not told apart from the others."""
    await flood(authenticator)
    with pytest.raises(RateLimited) as limited:
        await authenticator.authenticate(key[1], source=HERE)
    assert 0 < limited.value.retry_after_s <= 5
    clock.advance(timedelta(seconds=limited.value.retry_after_s))
    assert await outcome(authenticator, key[1]) == "ok"


async def test_other_addresses_are_not_cut_off(
    authenticator: Authenticator, key: tuple[ApiKey, Secret]
) -> None:
    """Each has its own allowance."""
    await flood(authenticator)
    assert await outcome(authenticator, key[1], THERE) == "ok"


async def test_a_good_key_that_is_known_is_never_cut_off(
    authenticator: Authenticator,
    key: tuple[ApiKey, Secret],
    counting: CountingDatabase,
    clock: ManualClock,
) -> None:
    """Not from the same address, not when it must be looked up again, and not when everything must be."""
    assert await outcome(authenticator, key[1]) == "ok"
    await flood(authenticator)
    assert await outcome(authenticator, new_key()) == "rate_limited"
    assert await outcome(authenticator, key[1]) == "ok"
    before = counting.lookups
    authenticator._known.forget_all()  # what a lost connection causes
    assert await outcome(authenticator, key[1]) == "ok"
    assert counting.lookups == before + 1
    assert await outcome(authenticator, new_key()) == "rate_limited"
    clock.advance(timedelta(seconds=61))
    await flood(authenticator)
    assert await outcome(authenticator, key[1]) == "ok"


async def test_nobody_locks_out_keys_that_are_not_known_yet(
    authenticator: Authenticator, key: tuple[ApiKey, Secret], clock: ManualClock
) -> None:
    """After a restart that is every key: a site with a /48 sends all it can, and elsewhere nobody notices."""
    answers = []
    for number in range(600):
        answers.append(await outcome(authenticator, new_key(), f"2001:db8:1:{number:x}::1"))
    assert answers.count("unauthenticated") == 100
    assert await outcome(authenticator, key[1], THERE) == "ok"


async def test_a_flood_from_everywhere_makes_unknown_keys_wait(
    crowded: Authenticator, limits: LookupLimits, key: tuple[ApiKey, Secret]
) -> None:
    """A good one is late, and let in."""
    charge(limits, 5)
    began = time.monotonic()
    assert await outcome(crowded, key[1]) == "ok"
    assert 0.2 < time.monotonic() - began < 1


async def test_nobody_waits_for_longer_than_a_second(
    crowded: Authenticator, limits: LookupLimits, key: tuple[ApiKey, Secret]
) -> None:
    """Then the answer is to come back; a key that was good before waits for nothing of that."""
    assert await outcome(crowded, key[1]) == "ok"
    charge(limits, 200)
    crowded._known.forget_all()
    began = time.monotonic()
    unknown = asyncio.gather(*(outcome(crowded, new_key(), f"203.0.113.{number}") for number in range(20)))
    await asyncio.sleep(0)
    assert await outcome(crowded, key[1]) == "ok"
    assert time.monotonic() - began < 0.8
    assert set(await unknown) == {"rate_limited"}
    assert 0.9 < time.monotonic() - began < 3


async def test_no_more_wait_than_will_be_looked_up(
    crowded: Authenticator, limits: LookupLimits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are told at once."""
    monkeypatch.setattr(authentication, "_MOST_WAITING", 5)
    charge(limits, 200)
    tries = [asyncio.create_task(outcome(crowded, new_key(), f"203.0.113.{number}")) for number in range(20)]
    await asyncio.sleep(0.2)
    assert sum(each.done() for each in tries) == 15
    assert set(await asyncio.gather(*tries)) == {"rate_limited"}


async def test_good_keys_cost_no_allowance(
    authenticator: Authenticator, key: tuple[ApiKey, Secret], clock: ManualClock
) -> None:
    """However often they are looked up."""
    for _ in range(50):
        clock.advance(timedelta(seconds=61))
        assert await outcome(authenticator, key[1]) == "ok"
    assert await outcome(authenticator, new_key()) == "unauthenticated"


async def test_a_refusal_costs_less_than_a_millisecond(
    authenticator: Authenticator, key: tuple[ApiKey, Secret]
) -> None:
    """A malformed key, one that was refused a moment ago, one that is not looked up any more."""
    refused = new_key()
    assert await outcome(authenticator, refused) == "unauthenticated"
    await flood(authenticator)
    kinds = {
        "malformed": [Secret(f"apk_nonsense_{number}") for number in range(300)],
        "refused before": [refused] * 300,
        "not looked up": [new_key() for _ in range(300)],
    }
    medians = {}
    for kind, texts in kinds.items():
        times = []
        for text in texts:
            began = time.perf_counter()
            assert await outcome(authenticator, text) != "ok"
            times.append(time.perf_counter() - began)
        medians[kind] = statistics.median(times)
    assert max(medians.values()) < 0.001, medians


async def test_refusals_are_counted_by_their_reason(
    authenticator: Authenticator,
    key: tuple[ApiKey, Secret],
    clock: ManualClock,
    metrics: Metrics,
    listening: Changes,
) -> None:
    """The caller is not told; whoever watches the metrics is."""
    unknown = new_key()
    await outcome(authenticator, None)
    await outcome(authenticator, Secret("nonsense"))
    await outcome(authenticator, unknown)
    await outcome(authenticator, unknown)
    await outcome(authenticator, key[1])
    clock.advance(timedelta(hours=1))
    await outcome(authenticator, key[1])
    counted = {
        reason: metrics.refused_requests.labels(reason)._value.get()
        for reason in ("malformed", "unknown", "revoked", "expired", "limited")
    }
    assert counted == {"malformed": 2, "unknown": 2, "revoked": 0, "expired": 1, "limited": 0}
    await flood(authenticator)
    assert metrics.refused_requests.labels("limited")._value.get() > 70


async def test_no_part_of_a_refused_key_is_logged(authenticator: Authenticator) -> None:
    """That an address is not listened to is; its keys are not, not even their beginnings."""
    texts = [new_key() for _ in range(40)]
    with capture_logs() as lines:
        for text in texts:
            await outcome(authenticator, text)
    assert [line["source_address"] for line in lines if "not looked up" in line["event"]] == [HERE]
    assert not any(text.reveal().split("_")[1] in str(lines) for text in texts)


async def test_every_refusal_is_the_same_error(authenticator: Authenticator) -> None:
    """Also of a request without a key."""
    with pytest.raises(Unauthenticated):
        await authenticator.authenticate(None)
