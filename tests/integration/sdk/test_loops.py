"""The asyncio client among tasks and event loops."""

from __future__ import annotations

import asyncio
import threading

import pytest

from authpipe import AsyncAuthpipe, NotConnected

ACME = {"provider": "discord", "tenant_id": "org_acme"}


@pytest.fixture
def build(server, clock, api_key):
    """Make an asyncio client; the test closes it."""
    return lambda **more: AsyncAuthpipe(server.url, api_key, clock=clock, timeout_s=5.0, **more)


async def _arrival(server) -> None:
    assert await asyncio.to_thread(server.arrived.acquire, timeout=5)


async def test_many_tasks_missing_the_same_key_cause_one_request(build, server):
    """All of them get the one answer."""
    async with build() as client:
        results = await asyncio.gather(*(client.get_credential(**ACME) for _ in range(50)))
    assert len({id(result) for result in results}) == 1
    assert server.asked == 1


async def test_tasks_that_share_a_failure_each_raise_their_own_exception(build, server):
    """One request, one error, no shared traceback."""
    server.script(server.problem(404, "not_connected"))
    async with build() as client:
        errors = await asyncio.gather(
            *(client.get_credential(**ACME) for _ in range(8)), return_exceptions=True
        )
    assert all(isinstance(error, NotConnected) for error in errors)
    assert len({id(error) for error in errors}) == 8
    assert server.asked == 1


async def test_a_cancelled_caller_takes_nobody_else_down(build, server):
    """The first caller is cancelled; the second still gets the answer of the same request."""
    server.gate = threading.Event()
    async with build() as client:
        first = asyncio.create_task(client.get_credential(**ACME))
        await _arrival(server)
        second = asyncio.create_task(client.get_credential(**ACME))
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        server.gate.set()
        assert (await second).version == 1
    assert server.asked == 1


async def test_closing_cancels_what_is_under_way(build, server):
    """No task is left behind, and whoever waits is cancelled."""
    server.gate = threading.Event()
    client = build()
    waiting = asyncio.create_task(client.get_credential(**ACME))
    await _arrival(server)
    await client.aclose()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert asyncio.all_tasks() == {asyncio.current_task()}


def test_a_hit_does_not_yield_to_the_event_loop(build):
    """A cached read finishes in one step of its coroutine, with no loop running at all."""
    client = build()
    with asyncio.Runner() as runner:
        runner.run(client.get_credential(**ACME))
        step = client.get_credential(**ACME)
        with pytest.raises(StopIteration) as stop:
            step.send(None)
        assert stop.value.value.version == 1
        runner.run(client.aclose())


def test_a_second_loop_works_after_the_first_has_closed(build, server, clock):
    """``asyncio.run`` twice with one client: the cache carries over, the connections do not."""
    client = build()
    asyncio.run(client.get_credential(**ACME))
    assert asyncio.run(client.get_credential(**ACME)).version == 1
    assert server.asked == 1
    asyncio.run(client.get_credential(provider="slack", tenant_id="t"))
    clock.advance(61)

    async def due() -> int:
        await client.get_credential(**ACME)
        await asyncio.gather(*client._driver.state().tasks)
        version = (await client.get_credential(**ACME)).version
        await client.aclose()
        return version

    server.version = 2
    assert asyncio.run(due()) == 2


def test_a_loop_that_ended_during_a_refetch_does_not_block_later_ones(build, server, clock):
    """The refetch dies with its loop; the next loop starts another."""
    client = build()
    asyncio.run(client.get_credential(**ACME))
    assert server.arrived.acquire(timeout=5)
    clock.advance(61)
    server.gate = threading.Event()

    async def ends_early() -> None:
        await client.get_credential(**ACME)
        await _arrival(server)

    asyncio.run(ends_early())
    server.gate.set()
    server.version = 2
    clock.advance(6)

    async def due() -> int:
        await client.get_credential(**ACME)
        await asyncio.gather(*client._driver.state().tasks)
        version = (await client.get_credential(**ACME)).version
        await client.aclose()
        return version

    assert asyncio.run(due()) == 2


def test_two_loops_in_two_threads_share_one_client(build, server):
    """Each loop has its own connections; both see the cache."""
    client = build()
    failures: list[BaseException] = []
    both = threading.Barrier(2)

    def work(name: str) -> None:
        async def many() -> None:
            for number in range(20):
                await client.get_credential(provider=name, tenant_id=f"t{number}")
                await client.get_credential(**ACME)

        try:
            both.wait(5)
            asyncio.run(many())
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in ("slack", "github")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not failures
    assert len(client._core.cache.entries) == 41
    asyncio.run(client.aclose())


async def test_a_slow_answer_ends_with_the_deadline(server, api_key):
    """The whole request is bounded, not each read of it."""
    from authpipe import AuthpipeUnavailable

    server.gate = threading.Event()
    async with AsyncAuthpipe(server.url, api_key, timeout_s=0.2) as client:
        with pytest.raises(AuthpipeUnavailable, match=r"timed out|Timeout"):
            await client.get_credential(**ACME)
