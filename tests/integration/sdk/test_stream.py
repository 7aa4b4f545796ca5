"""The change stream: what it drops, what it spares the server, and what its loss costs."""

from __future__ import annotations

import threading
import time

import pytest

from authpipe import AuthenticationFailed, NotConnected, ReauthorizationRequired

REVOKED = "connection.needs_reauth"


def test_no_stream_is_opened_before_something_is_cached(make, server):
    """Neither by making a client nor by a request that was refused."""
    server.stream_answer = None
    client = make()
    server.script(server.problem(404, "not_connected"))
    with pytest.raises(NotConnected):
        client.get()
    time.sleep(0.1)
    assert not server.stream_requests


def test_the_stream_is_asked_for_with_the_key_and_uncompressed(live, server, api_key):
    """One request, as the HTML specification has event streams asked for."""
    live()
    (seen,) = server.stream_requests
    assert seen.headers["authorization"] == f"Bearer {api_key}"
    assert seen.headers["accept"] == "text/event-stream"
    assert seen.headers["accept-encoding"] == "identity"
    assert "last-event-id" not in seen.headers


@pytest.mark.parametrize("how", ["argument", "environment"])
def test_the_stream_can_be_switched_off(make, server, monkeypatch, how):
    """Then the cache polls."""
    server.stream_answer = None
    if how == "environment":
        monkeypatch.setenv("AUTHPIPE_STREAM", "off")
    client = make(**({"stream": False} if how == "argument" else {}))
    client.get()
    time.sleep(0.1)
    assert not server.stream_requests


def test_a_change_drops_the_entry_at_once(live, server, until):
    """A revocation told by the stream is raised by the next call, with the entry as fresh as can be."""
    client, stream = live()
    server.script(server.problem(409, "reauthorization_required", reason="revoked", connection_id="c1"))
    stream.change(REVOKED)
    until(lambda: not client.cache.entries)
    with pytest.raises(ReauthorizationRequired):
        client.get()


def test_a_change_of_something_else_leaves_the_entry(live, server, until):
    """Another tenant's change costs nothing."""
    client, stream = live()
    generation = client.cache.generation
    stream.change(REVOKED, tenant_id="org_b")
    until(lambda: client.cache.generation > generation)
    asked = server.asked
    client.get()
    assert server.asked == asked


def test_a_change_during_a_fetch_makes_it_ask_again(live, server, until):
    """The answer on its way was from before the revocation: neither kept nor returned."""
    client, stream = live()
    stream.change(REVOKED)
    until(lambda: not client.cache.entries)
    begun, told = threading.Event(), threading.Event()

    def answer(seen):
        if not begun.is_set():
            begun.set()
            assert told.wait(10)
            return server.credential(1)
        return server.problem(409, "reauthorization_required", reason="revoked", connection_id="c1")

    server.answer = answer
    generation = client.cache.generation

    def revoke():
        assert begun.wait(10)
        stream.change(REVOKED)
        until(lambda: client.cache.generation > generation)
        told.set()

    revoking = threading.Thread(target=revoke)
    revoking.start()
    with pytest.raises(ReauthorizationRequired):
        client.get()
    revoking.join(10)


def test_a_refreshed_entry_in_use_is_fetched_again_before_anybody_asks(live, server, until):
    """The superseded token is gone at once, and the next caller mostly does not wait for the new one."""
    client, stream = live()
    server.version = 2
    stream.change("credential.refreshed")
    until(lambda: [entry.credential.version for entry in client.cache.entries.values()] == [2, 2])
    asked = server.asked
    assert client.get().version == 2
    assert server.asked == asked


def test_a_caller_joins_the_fetch_that_is_made_ahead(live, server, until):
    """One request, whoever comes first."""
    client, stream = live()
    stream.change(REVOKED)
    until(lambda: not client.cache.entries)
    client.get()
    asked = server.asked
    server.version = 2
    server.gate = threading.Event()
    stream.change("credential.refreshed")
    until(lambda: server.asked == asked + 1)
    threading.Timer(0.1, server.gate.set).start()
    assert client.get().version == 2
    assert server.asked == asked + 1


def test_a_change_ends_a_refusal(live, server, until):
    """Connected in another process: known here before the two seconds are over."""
    client, stream = live()
    server.script(server.problem(404, "not_connected"))
    with pytest.raises(NotConnected):
        client.get(user_id="user_b")
    server.come_back()
    generation = client.cache.generation
    stream.change("connection.created", user_id="user_b", connection_id="c-new", credential_id=None)
    until(lambda: client.cache.generation > generation)
    assert client.get(user_id="user_b").version == 1


@pytest.mark.parametrize(
    ("kind", "over"),
    [("provider_config.updated", {"tenant_id": None}), ("tenant.erased", {"provider": None})],
)
def test_a_change_of_a_whole_provider_or_tenant_drops_all_of_it(live, until, kind, over):
    """And nothing else."""
    client, stream = live()
    client.get(provider="slack", tenant_id="org_b")
    ids = dict.fromkeys(("user_id", "connection_id", "installation_id", "credential_id"))
    stream.change(kind, **(ids | over))
    until(lambda: [key[0] for key in client.cache.entries] == ["slack"])


def test_while_the_stream_is_live_nothing_is_asked_again(live, server, clock, hears):
    """An hour of use is one request, the one that filled the cache."""
    client, stream = live()
    asked = server.asked
    for _ in range(60):
        clock.advance(60)
        hears(client, stream)
        assert client.get().version == 1
    assert server.asked == asked


def test_an_entry_from_before_the_stream_is_asked_for_once_more(live, server, clock, hears):
    """A change may have come between that answer and the stream's beginning."""
    client, stream = live()
    asked = server.asked
    for _ in range(5):
        clock.advance(61)
        hears(client, stream)
        client.get(user_id="first")
        client.settle()
    assert server.asked == asked + 1


def test_a_lost_stream_bounds_how_stale_an_entry_gets(live, server, clock, hears, until):
    """Good for max_staleness after the stream was last heard; from then on polled as without one."""
    client, stream = live()
    asked = server.asked
    clock.advance(600)
    hears(client, stream)
    server.stream_answer = server.problem(404, "not_found")
    stream.close()
    until(lambda: not client.cache._streams)
    clock.advance(59)
    client.get()
    assert server.asked == asked
    server.version = 2
    clock.advance(2)
    assert client.get().version == 1
    client.settle()
    assert client.get().version == 2


def test_a_silent_stream_is_lost_and_opened_again(make, server, quickly, until):
    """Two and a half heartbeats without a byte."""
    server.stream_answer = None
    server.heartbeat_s = 0.2
    client = make()
    client.get()
    until(lambda: server.streams)
    # The first connection does not know the heartbeat before it is made.
    server.streams[0].close()
    until(lambda: len(server.streams) == 2)
    began = time.monotonic()
    until(lambda: len(server.streams) == 3)
    assert 0.3 < time.monotonic() - began < 3
    assert server.streams[1].ended.wait(5)


def test_what_changed_while_the_stream_was_lost_is_told_afterwards(live, server, quickly, until):
    """The next connection says where the last one ended, and what is then replayed counts."""
    client, stream = live()
    generation = client.cache.generation
    stream.change("connection.updated", "e-17", tenant_id="org_b")
    until(lambda: client.cache.generation > generation)
    stream.close()
    until(lambda: len(server.streams) == 2)
    assert server.streams[1].last_event_id == "e-17"
    server.script(server.problem(409, "reauthorization_required", reason="revoked", connection_id="c1"))
    server.streams[1].change(REVOKED, "e-18")
    until(lambda: not client.cache.entries)
    with pytest.raises(ReauthorizationRequired):
        client.get()


def test_a_change_that_is_told_again_drops_nothing_again(live, server, quickly, until):
    """A resumed stream repeats the last half minute, which must not make callers wait."""
    client, stream = live()
    stream.change(REVOKED, "e-17")
    until(lambda: not client.cache.entries)
    client.get()
    asked = server.asked
    stream.close()
    until(lambda: len(server.streams) == 2)
    generation = client.cache.generation
    server.streams[1].change(REVOKED, "e-17")
    server.streams[1].change(REVOKED, "e-18", tenant_id="org_b")
    until(lambda: client.cache.generation > generation)
    client.get()
    assert server.asked == asked


def test_a_reset_leaves_entries_their_bounded_time(live, server, clock, hears, until):
    """As if the stream had been lost and opened at that moment."""
    client, stream = live()
    asked = server.asked
    clock.advance(600)
    hears(client, stream)
    generation = client.cache.generation
    stream.event("reset", "e-reset")
    until(lambda: client.cache.generation > generation)
    clock.advance(59)
    hears(client, stream)
    client.get()
    assert server.asked == asked
    clock.advance(2)
    hears(client, stream)
    client.get()
    client.settle()
    assert server.asked == asked + 1
    clock.advance(61)
    hears(client, stream)
    client.get()
    assert server.asked == asked + 1


@pytest.mark.parametrize(
    "raw",
    [
        b"data: " + b"x" * 70_000,
        b"event: change\ndata: {not json}\n\n",
        b"event: change\ndata: []\n\n",
        b'event: change\ndata: {"type": 7}\n\n',
        b'event: change\ndata: {"type": "x", "tenant_id": 7}\n\n',
        b"event: change\ndata: " + b"[" * 50_000 + b"\n\n",
        b"event: hello\ndata: nonsense\n\n",
    ],
    ids=["endless line", "no json", "no object", "no type", "wrong type", "deep", "hello"],
)
def test_a_malformed_stream_is_lost_and_opened_again(live, server, quickly, until, raw):
    """Which change it was meant to tell is unknown, so nothing of before is vouched for any more."""
    client, stream = live()
    stream.send(raw)
    until(lambda: len(server.streams) == 2)
    assert stream.ended.wait(5)
    assert server.streams[1].last_event_id is None or b"\n" not in raw
    assert client.get().version == 1


def test_what_a_later_version_sends_is_passed_over(live, until):
    """Unknown events, unknown fields, unknown comments."""
    client, stream = live()
    generation = client.cache.generation
    stream.send(b": hello there\nretry: 100\nwhat: ever\n\nevent: other\ndata: {\n\n")
    stream.change(REVOKED, tenant_id="org_b", more={"a": 1})
    until(lambda: client.cache.generation > generation)
    assert len(client.cache.entries) == 2


@pytest.mark.parametrize(
    "reply",
    [
        lambda server: server.problem(403, "forbidden"),
        lambda server: server.problem(404, "not_found"),
        lambda server: server.problem(429, "rate_limited", headers={"Retry-After": "1"}),
        lambda server: server.problem(503, "shutting_down"),
        lambda server: server.credential(),
        lambda server: type(server.credential())(status=401, body=b"<html>a proxy</html>"),
        lambda server: type(server.credential())(drop=True),
    ],
    ids=["403", "404", "429", "503", "json", "foreign 401", "dropped"],
)
def test_a_server_without_the_stream_is_polled(make, server, clock, until, reply):
    """Nothing but the stream is missing."""
    server.stream_answer = reply(server)
    client = make()
    client.get()
    until(lambda: server.stream_requests)
    clock.advance(61)
    server.version = 2
    assert client.get().version == 1
    client.settle()
    assert client.get().version == 2


def test_a_revoked_key_drops_everything_at_once(live, server, quickly, until, caplog):
    """The server ends the stream and refuses the next: no cached credential outlives the key."""
    client, stream = live()
    server.stream_answer = server.problem(401, "unauthenticated")
    server.script(server.problem(401, "unauthenticated"))
    stream.close()
    until(lambda: not client.cache.entries)
    with pytest.raises(AuthenticationFailed):
        client.get()
    assert "the API key is refused" in caplog.text
    asked = len(server.stream_requests)
    time.sleep(0.2)
    assert len(server.stream_requests) == asked, "a key that is refused is not tried again and again"


def test_the_stream_begins_again_when_the_key_is_good_after_all(live, server, quickly, until):
    """A server restored from a backup refused it for a moment."""
    client, stream = live()
    refused = server.problem(401, "unauthenticated")
    server.stream_answer = refused
    stream.close()
    until(lambda: not client.cache.entries)
    server.stream_answer = None
    until(lambda: (client.get(user_id=str(time.monotonic())), len(server.streams) == 2)[1])


def test_a_stream_that_opens_ends_a_known_outage(live, server, clock, quickly, until):
    """The server is back: what is due is asked for again at once, not after the pause."""
    client, stream = live()
    server.go_away()
    server.stream_answer = type(server.credential())(drop=True)
    stream.close()
    clock.advance(61)
    client.get()
    client.settle()
    assert client.cache._failed_at is not None
    server.come_back()
    server.stream_answer = None
    until(lambda: client.cache._failed_at is None)


def test_closing_ends_the_stream_promptly(live):
    """With the connection open and nothing being sent."""
    client, stream = live()
    began = time.monotonic()
    client.close()
    assert time.monotonic() - began < 1
    assert stream.ended.wait(5)
