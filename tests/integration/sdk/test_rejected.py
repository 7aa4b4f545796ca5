"""``report_rejected``: one request for everyone who got a 401 from the provider."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from authpipe import (
    AsyncAuthpipe,
    Authpipe,
    AuthpipeUnavailable,
    NotFound,
    ProviderUnavailable,
    ReauthorizationRequired,
)

ACME = {"provider": "discord", "tenant_id": "org_acme"}


def report(client, credential):
    return client.do(lambda c: c.report_rejected(credential))


def test_the_rejected_version_is_replaced_under_every_key_it_was_cached_under(client, server):
    """``any`` and ``user`` had the same one: both have the new one, without a further request."""
    old = client.get()
    client.get(credential_for="user")
    server.version = 2
    new = report(client, old)
    assert new.version == 2
    assert client.get() is new
    assert client.get(credential_for="user") is new
    assert server.asked == 3
    seen = server.seen[-1]
    assert (seen.method, seen.path) == ("POST", f"/v1/credentials/{old.credential_id}/rejected")
    assert seen.body == {"tenant_id": "org_acme", "version": 1}
    # The server keeps answers to requests that carry one, and this one holds a secret.
    assert "idempotency-key" not in seen.headers


def test_a_late_report_gets_what_an_earlier_one_brought(client, server):
    """Somebody who still holds the old one does not have it refreshed again."""
    old = client.get()
    server.version = 2
    new = report(client, old)
    assert report(client, old) is new
    assert server.asked == 2


def test_the_same_version_comes_back_when_the_provider_says_it_is_alive(client, server):
    """A 401 for another reason; it is cached again."""
    old = client.get()
    again = report(client, old)
    assert again.version == 1
    assert client.get() is again


def test_a_dead_credential_is_dropped_everywhere(client, server):
    """The report raises, and so does the next call, which repeats the refusal without asking."""
    old = client.get()
    client.get(credential_for="user")
    server.script(
        server.problem(409, "reauthorization_required", reason="rejected", connection_id=old.connection_id)
    )
    with pytest.raises(ReauthorizationRequired) as caught:
        report(client, old)
    assert caught.value.reason == "rejected"
    asked = server.asked
    with pytest.raises(ReauthorizationRequired):
        client.get()
    assert server.asked == asked
    assert not client.cache.entries


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [(503, "provider_unavailable", ProviderUnavailable), (500, "internal", AuthpipeUnavailable),
     (404, "not_found", NotFound)],
)  # fmt: skip
def test_a_report_that_fails_leaves_the_rejected_one_out(client, server, status, code, expected):
    """It is not served again as if nothing had happened."""
    old = client.get()
    server.script(server.problem(status, code))
    with pytest.raises(expected):
        report(client, old)
    assert not client.cache.entries


def test_a_report_is_repeated_when_the_connection_breaks(client, server, until):
    """It has the same effect twice."""
    old = client.get()
    server.script(type(server.credential())(drop=True), server.credential(2))
    assert report(client, old).version == 2


def test_a_read_that_began_before_the_report_does_not_bring_the_old_one_back(make, server):
    """Its answer is of the rejected version: it is asked for again."""
    client = make()
    old = client.get()
    begun, go = threading.Event(), threading.Event()

    def answer(seen):
        if seen.method == "POST":
            server.version = 2
            return server.credential(2)
        version = server.version
        if version == 1:
            begun.set()
            assert go.wait(10)
        return server.credential(version)

    server.answer = answer
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(client.get, credential_for="user")
        assert begun.wait(5)
        report(client, old)
        go.set()
        assert reading.result().version == 2
    assert {entry.credential.version for entry in client.cache.entries.values()} == {2}


def test_a_read_that_began_during_the_report_does_not_bring_the_old_one_back(make, server):
    """The server answered it before its refresh was done, and it arrives last."""
    client = make()
    old = client.get()
    reading, reported = threading.Event(), threading.Event()

    def answer(seen):
        if seen.method == "POST":
            assert reading.wait(10)
            return server.credential(2)
        if not reading.is_set():
            reading.set()
            assert reported.wait(10)
            return server.credential(1)
        return server.credential(2)

    server.answer = answer
    with ThreadPoolExecutor(2) as pool:
        reporting = pool.submit(report, client, old)
        # The first read, and the report.
        assert server.arrived.acquire(timeout=5)
        assert server.arrived.acquire(timeout=5)
        other = pool.submit(client.get, credential_for="user")
        assert reporting.result().version == 2
        reported.set()
        assert other.result().version == 2


def test_twenty_threads_that_report_cause_one_request(server, clock, api_key):
    """All of them get the new one."""
    with Authpipe(server.url, api_key, clock=clock) as client, ThreadPoolExecutor(20) as pool:
        old = client.get_credential(**ACME)
        server.version = 2
        server.gate = threading.Event()
        started = threading.Barrier(21)

        def together():
            started.wait()
            return client.report_rejected(old)

        waiting = [pool.submit(together) for _ in range(20)]
        started.wait()
        assert server.arrived.acquire(timeout=5)
        assert server.arrived.acquire(timeout=5)
        server.gate.set()
        assert {future.result().version for future in waiting} == {2}
    assert server.asked == 2


async def test_many_tasks_that_report_cause_one_request(server, clock, api_key):
    """And a cancelled one takes no other down."""
    async with AsyncAuthpipe(server.url, api_key, clock=clock) as client:
        old = await client.get_credential(**ACME)
        server.version = 2
        server.gate = threading.Event()
        waiting = [asyncio.create_task(client.report_rejected(old)) for _ in range(20)]
        assert await asyncio.to_thread(server.arrived.acquire, timeout=5)
        assert await asyncio.to_thread(server.arrived.acquire, timeout=5)
        waiting[0].cancel()
        server.gate.set()
        results = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert {result.version for result in results[1:]} == {2}
    assert server.asked == 2
