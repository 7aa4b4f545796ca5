"""Where the stream's thread and tasks begin and end: closing, collection, forks, event loops, exit."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import weakref

import httpx2
import pytest

from authpipe import AsyncAuthpipe, Authpipe

ACME = {"provider": "discord", "tenant_id": "org_acme"}


def _threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("authpipe-")]


def _run(program: str, server, api_key, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(program)],
        env=os.environ | {"URL": server.url, "KEY": api_key} | environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture(autouse=True)
def _streaming(server):
    server.stream_answer = None


def test_one_thread_is_started_with_the_first_entry_and_none_is_left_after_close(server, api_key, until):
    """Many threads that cache at once still make one."""
    assert not _threads()
    client = Authpipe(server.url, api_key)
    assert not _threads()
    callers = [
        threading.Thread(target=client.get_credential, kwargs=ACME | {"user_id": str(number)})
        for number in range(16)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    until(lambda: server.streams)
    assert [thread.name for thread in _threads()] == ["authpipe-stream"]
    assert all(thread.daemon for thread in _threads())
    client.close()
    assert not _threads()
    assert len(server.streams) == 1


def test_closing_while_the_server_does_not_answer_is_prompt(server, api_key, until):
    """The connection stands, the answer to the request for the stream does not come."""
    held = threading.Event()

    def hang(handler, seen):
        held.wait(20)
        handler.close_connection = True

    server._serve_stream = hang
    client = Authpipe(server.url, api_key)
    client.get_credential(**ACME)
    until(lambda: server.stream_requests)
    began = time.monotonic()
    client.close()
    assert time.monotonic() - began < 1
    assert not _threads()
    held.set()


def test_closing_while_connecting_is_prompt(server, api_key, until):
    """Nothing can interrupt the opening of a connection, so nobody waits for it."""
    entered, release = threading.Event(), threading.Event()

    class Connecting(httpx2.HTTPTransport):
        def handle_request(self, request: httpx2.Request) -> httpx2.Response:
            if request.url.path == "/v1/stream":
                entered.set()
                release.wait(20)
                raise httpx2.ConnectError("no route")
            return super().handle_request(request)

    client = Authpipe(server.url, api_key, transport=Connecting())
    client.get_credential(**ACME)
    assert entered.wait(5)
    began = time.monotonic()
    client.close()
    assert time.monotonic() - began < 1
    release.set()
    until(lambda: not _threads())


def test_closing_during_the_pause_after_a_failure_is_prompt(server, api_key, until):
    """The thread sleeps for a minute, and ends at once."""
    server.stream_answer = server.problem(403, "forbidden")
    client = Authpipe(server.url, api_key)
    client.get_credential(**ACME)
    until(lambda: server.stream_requests)
    time.sleep(0.05)
    began = time.monotonic()
    client.close()
    assert time.monotonic() - began < 1
    assert not _threads()


def test_a_client_that_nobody_closes_is_collected_and_its_thread_ends(server, api_key, until):
    """The thread does not hold the client."""
    client = Authpipe(server.url, api_key)
    client.get_credential(**ACME)
    cache, driver = client._core.cache, client._driver
    until(lambda: cache._streams)
    gone = weakref.ref(client)
    del client
    gc.collect()
    assert gone() is None
    until(lambda: not _threads())
    assert server.streams[0].ended.wait(5)
    driver.close()


async def test_an_asyncio_client_that_nobody_closes_is_collected_and_its_task_ends(server, api_key):
    """The task does not hold the client."""
    client = AsyncAuthpipe(server.url, api_key)
    await client.get_credential(**ACME)
    while not client._core.cache._streams:
        await asyncio.sleep(0.01)
    http = client._driver.state().http
    gone = weakref.ref(client)
    del client
    gc.collect()
    assert gone() is None
    while len(asyncio.all_tasks()) > 1:
        await asyncio.sleep(0.01)
    assert await asyncio.to_thread(server.streams[0].ended.wait, 5)
    await http.aclose()


async def test_closing_an_asyncio_client_leaves_no_task(server, api_key):
    """With the stream open."""
    client = AsyncAuthpipe(server.url, api_key)
    await client.get_credential(**ACME)
    while not client._core.cache._streams:
        await asyncio.sleep(0.01)
    began = time.monotonic()
    await client.aclose()
    assert time.monotonic() - began < 1
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_closing_an_asyncio_client_while_connecting_leaves_no_task(server, api_key):
    """The request for the stream has not even been sent."""
    client = AsyncAuthpipe(server.url, api_key)
    await client.get_credential(**ACME)
    assert client._driver.state().stream is not None
    await client.aclose()
    assert asyncio.all_tasks() == {asyncio.current_task()}


def test_a_loop_that_ends_takes_its_stream_along_and_the_next_has_its_own(server, api_key, until):
    """``asyncio.run`` twice with one client that nobody closes."""
    client = AsyncAuthpipe(server.url, api_key)

    async def use(user: str) -> None:
        await client.get_credential(**ACME, user_id=user)
        while not client._core.cache._streams:
            await asyncio.sleep(0.01)

    asyncio.run(use("a"))
    assert server.streams[0].ended.wait(5)
    assert not client._core.cache._streams
    asyncio.run(use("b"))
    assert len(server.streams) == 2
    assert server.streams[1].ended.wait(5)


def test_two_loops_each_have_a_stream_and_a_change_on_either_counts(server, api_key, until):
    """And closing on one loop ends the stream of the other."""
    client = AsyncAuthpipe(server.url, api_key)
    loops = [asyncio.new_event_loop() for _ in range(2)]
    threads = [threading.Thread(target=loop.run_forever, daemon=True) for loop in loops]
    for thread in threads:
        thread.start()

    def on(index: int, work):
        return asyncio.run_coroutine_threadsafe(work, loops[index]).result(20)

    on(0, client.get_credential(**ACME, user_id="a"))
    on(1, client.get_credential(**ACME, user_id="b"))
    until(lambda: len(server.streams) == 2 and len(client._core.cache._streams) == 2)
    for index, stream in enumerate(server.streams):
        on(index, client.get_credential(**ACME))
        stream.change("connection.disconnected", user_id=None)
        until(lambda: not client._core.cache.entries)
    on(0, client.aclose())
    for stream in server.streams:
        assert stream.ended.wait(5)
    for loop, thread in zip(loops, threads, strict=True):
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)
        loop.close()


def test_the_stream_does_not_keep_the_interpreter_alive(server, api_key):
    """A script that closes nothing ends when it ends, without a word on standard error."""
    program = """
        import os, time
        from authpipe import Authpipe
        client = Authpipe(os.environ["URL"], os.environ["KEY"])
        client.get_credential(provider="discord", tenant_id="a")
        while not client._core.cache._streams:
            time.sleep(0.01)
    """
    began = time.monotonic()
    done = _run(program, server, api_key)
    assert (done.returncode, done.stderr) == (0, "")
    assert time.monotonic() - began < 10


def test_a_forked_child_has_a_stream_of_its_own(server, api_key, until):
    """It leaves the parent's open, counts what it inherited as from before its own, and hears changes."""
    program = """
        import os, sys, time
        from authpipe import Authpipe

        ACME = dict(provider="discord", tenant_id="org_acme")

        def wait_until(fact):
            deadline = time.monotonic() + 10
            while not fact():
                assert time.monotonic() < deadline
                time.sleep(0.005)

        client = Authpipe(os.environ["URL"], os.environ["KEY"])
        client.get_credential(**ACME)
        cache = client._core.cache
        wait_until(lambda: cache._streams)
        client.get_credential(**ACME, user_id="parent")
        idle = os.fork()
        if idle == 0:
            client.close()  # and has no stream of its own to end
            os._exit(0)
        assert os.waitpid(idle, 0)[1] == 0
        child = os.fork()
        if child == 0:
            assert not cache._streams and len(cache.entries) == 2
            client.get_credential(**ACME)
            assert client._upkeep.stream._thread is None, "a hit starts nothing"
            client.get_credential(**ACME, user_id="child")
            wait_until(lambda: cache._streams)
            (coverage,) = cache._streams
            assert all(entry.asked_at < coverage.since for entry in cache.entries.values())
            print("child", flush=True)
            wait_until(lambda: not cache.entries)
            client.close()
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert cache._streams, "the child ended the parent's stream"
        wait_until(lambda: not cache.entries)
        client.close()
        sys.exit(os.waitstatus_to_exitcode(status))
    """
    outcome: list[subprocess.CompletedProcess[str]] = []
    running = threading.Thread(target=lambda: outcome.append(_run(program, server, api_key)))
    running.start()
    until(lambda: len(server.streams) == 2, 30)
    parents, childs = server.streams
    # Until the child has read its credential and stands in its stream.
    until(lambda: server.asked == 3, 30)
    time.sleep(0.3)
    childs.change("connection.disconnected", user_id=None)
    assert childs.ended.wait(20)
    assert not parents.ended.is_set()
    parents.change("connection.disconnected", user_id=None)
    running.join(30)
    (done,) = outcome
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs fork")
def test_forks_under_load_never_hang(server, api_key):
    """Fork while the stream's thread is at any point of its work: no lock of it is held in the child."""
    program = """
        import os, sys, threading, time
        from authpipe import Authpipe

        client = Authpipe(os.environ["URL"], os.environ["KEY"])
        client.get_credential(provider="discord", tenant_id="org_acme")
        for number in range(12):
            child = os.fork()
            if child == 0:
                client.get_credential(provider="discord", tenant_id="org_acme", user_id=str(number))
                client.close()
                os._exit(0)
            _, status = os.waitpid(child, 0)
            assert status == 0
        client.close()
    """
    stop = threading.Event()

    def noise():
        while not stop.wait(0.001):
            for stream in server.streams:
                stream.change("connection.updated", tenant_id="org_b")

    noisy = threading.Thread(target=noise)
    noisy.start()
    done = _run(program, server, api_key)
    stop.set()
    noisy.join(5)
    assert done.returncode == 0, done.stderr
