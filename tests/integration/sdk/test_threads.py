"""The blocking client among threads and after a fork."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from authpipe import Authpipe, NotConnected

ACME = {"provider": "discord", "tenant_id": "org_acme"}


@pytest.fixture
def shared(server, clock, api_key):
    """One blocking client."""
    with Authpipe(server.url, api_key, clock=clock, timeout_s=5.0) as client:
        yield client


def _refetch_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "authpipe-background"]


def test_many_threads_missing_the_same_key_cause_one_request(shared, server, until):
    """All of them get the one answer."""
    server.gate = threading.Event()
    with ThreadPoolExecutor(24) as pool:
        waiting = [pool.submit(shared.get_credential, **ACME) for _ in range(24)]
        assert server.arrived.acquire(timeout=5)
        server.gate.set()
        results = {id(future.result()) for future in waiting}
    assert len(results) == 1
    assert server.asked == 1


def test_different_keys_do_not_wait_for_each_other(shared, server):
    """While one request hangs, another key is fetched and served."""
    server.gate = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        hanging = pool.submit(shared.get_credential, **ACME)
        assert server.arrived.acquire(timeout=5)
        gate, server.gate = server.gate, None
        assert shared.get_credential(provider="slack", tenant_id="org_acme").version == 1
        assert not hanging.done()
        gate.set()
        hanging.result()


def test_threads_that_share_a_failure_each_raise_their_own_exception(shared, server):
    """One request, one error, no shared traceback."""
    server.script(server.problem(404, "not_connected"))
    server.gate = threading.Event()

    def attempt() -> BaseException:
        with pytest.raises(NotConnected) as caught:
            shared.get_credential(**ACME)
        return caught.value

    started = threading.Barrier(9)

    def together() -> BaseException:
        started.wait()
        return attempt()

    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(together) for _ in range(8)]
        started.wait()
        assert server.arrived.acquire(timeout=5)
        server.gate.set()
        errors = [future.result() for future in waiting]
    assert len({id(error) for error in errors}) == 8
    assert all(error.request_id == "req_1" for error in errors)


def test_an_interrupted_leader_hands_over_to_the_next_thread(shared, server):
    """KeyboardInterrupt in the thread that fetches does not fail the others."""
    flights = shared._flights
    key = ("discord", "org_acme", None, "any", None, None, None)
    entered, go = threading.Event(), threading.Event()

    def interrupted():
        entered.set()
        assert go.wait(5)
        raise KeyboardInterrupt

    def lead():
        with pytest.raises(KeyboardInterrupt):
            flights.share(key, interrupted)

    with ThreadPoolExecutor(2) as pool:
        leader = pool.submit(lead)
        assert entered.wait(5)
        follower = pool.submit(shared.get_credential, **ACME)
        go.set()
        leader.result()
        assert follower.result().version == 1


def test_no_thread_is_started_before_the_first_refetch_and_none_is_left_after_close(
    server, clock, api_key, until
):
    """A client that only reads fresh entries has no thread at all."""
    before = len(_refetch_threads())
    client = Authpipe(server.url, api_key, clock=clock)
    client.get_credential(**ACME)
    client.get_credential(**ACME)
    assert len(_refetch_threads()) == before
    clock.advance(61)
    client.get_credential(**ACME)
    until(lambda: not client._core.cache._refetching)
    assert len(_refetch_threads()) == before + 1
    client.close()
    assert len(_refetch_threads()) == before


def test_a_bug_in_a_refetch_does_not_end_the_thread(shared, clock, caplog, until):
    """It is logged, and the next refetch runs."""
    shared.get_credential(**ACME)
    shared._upkeep.background.submit(lambda: 1 / 0)
    until(lambda: "unexpectedly" in caplog.text)
    clock.advance(61)
    shared.get_credential(**ACME)
    until(lambda: shared._look_up(("discord", "org_acme", None, "any", None, None, None)).asked_at > 5_060)


FORK = """
    import os, sys, threading
    from authpipe import Authpipe

    class Clock:
        now = 1000.0
        def elapsed(self): return self.now
        def wall(self): return 1_800_000_000.0

    clock = Clock()
    client = Authpipe(os.environ["URL"], os.environ["KEY"], clock=clock)
    first = client.get_credential(provider="discord", tenant_id="a")
    clock.now += 61
    client.get_credential(provider="discord", tenant_id="a")  # starts the parent's thread
    pool = client._driver._http
    # A thread of the parent holds every lock at the moment of the fork.
    locks = [client._core.cache._lock, client._driver._lock, client._flights._lock]
    locks += [client._upkeep.background._lock, client._upkeep.stream._lock]
    for lock in locks:
        lock.acquire()
    child = os.fork()
    if child == 0:
        assert client._driver._http is None
        assert client._upkeep.background._thread is None
        assert client.get_credential(provider="discord", tenant_id="a").version >= 1
        assert client.get_credential(provider="discord", tenant_id="b").version >= 1
        clock.now += 10  # the parent's refetch is not the child's: it starts its own
        client.get_credential(provider="discord", tenant_id="a")
        assert client._upkeep.background._thread.is_alive()
        client.close()
        os._exit(0)
    for lock in locks:
        lock.release()
    _, status = os.waitpid(child, 0)
    assert client._driver._http is pool
    assert client.get_credential(provider="discord", tenant_id="c").version >= 1
    client.close()
    sys.exit(os.waitstatus_to_exitcode(status))
"""


def test_a_client_made_before_a_fork_works_in_parent_and_child(server, api_key):
    """The child has locks, connections and a thread of its own, and keeps the cached credentials."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(FORK)],
        env=os.environ | {"URL": server.url, "KEY": api_key},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
