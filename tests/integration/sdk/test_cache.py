"""What the cache serves, when it asks again, and what it does while the server is away."""

from __future__ import annotations

import threading
import time

import pytest

from authpipe import (
    AmbiguousConnection,
    AuthenticationFailed,
    AuthpipeError,
    AuthpipeUnavailable,
    NotConnected,
    ReauthorizationRequired,
)

DAY = 86_400.0


def test_the_first_call_asks_and_the_second_is_answered_from_memory(client, server, api_key):
    """One request, with the key in a header and only the given arguments in the query."""
    first = client.get(credential_for="user", label="work")
    assert client.get(credential_for="user", label="work") is first
    assert server.asked == 1
    seen = server.seen[0]
    assert (seen.method, seen.path) == ("GET", "/v1/credentials")
    assert seen.query == {
        "provider": "discord",
        "tenant_id": "org_acme",
        "user_id": "user_123",
        "credential_for": "user",
        "label": "work",
    }
    assert seen.headers["authorization"] == f"Bearer {api_key}"


def test_the_result_has_every_field_and_is_read_only(client, server, secret):
    """Aware time, tuple of scopes, metadata frozen at every level, unknown fields ignored."""
    server.script(server.credential(3, life_s=3600))
    got = client.get()
    assert got.credential == secret + "3"
    assert dict(got.headers) == {"Authorization": f"Bearer {secret}3"}
    assert got.expires_at.timestamp() == server.clock.wall_s + 3600
    assert got.expires_at.utcoffset().total_seconds() == 0
    assert got.scopes == ("identify", "guilds")
    assert got.metadata["guild_id"] == "42"
    assert (got.version, got.kind, got.provider, got.tenant_id) == (3, "oauth_token", "discord", "org_acme")
    for change in (
        lambda: got.metadata.update(x=1),
        lambda: got.metadata["nested"].update(x=1),
        lambda: got.metadata["nested"]["list"].append(1),
        lambda: got.headers.update(x=1),
        lambda: setattr(got, "credential", "other"),
    ):
        with pytest.raises(AttributeError):
            change()


@pytest.mark.parametrize(
    "other",
    [
        {"provider": "slack"},
        {"tenant_id": "org_b"},
        {"user_id": "user_b"},
        {"user_id": None},
        {"credential_for": "installation"},
        {"installation_id": "i1"},
        {"label": "work"},
        {"kind": "api_key"},
    ],
    ids=lambda other: next(iter(other)),
)
def test_different_arguments_never_share_an_answer(client, server, other):
    """Every argument is part of the key."""
    client.get()
    client.get(**other)
    assert server.asked == 2


def test_a_due_entry_is_served_at_once_and_replaced_in_the_background(client, server, clock):
    """The call that finds the entry due gets the old one without waiting; the next gets the new one."""
    old = client.get()
    clock.advance(59)
    assert client.get() is old
    assert server.asked == 1
    server.version = 2
    clock.advance(2)
    assert client.get() is old
    client.settle()
    assert server.asked == 2
    assert client.get().version == 2
    assert server.asked == 2


def test_many_calls_on_a_due_entry_cause_one_request(client, server, clock):
    """While the refetch hangs, every call is answered from memory and no second request is made."""
    old = client.get()
    clock.advance(61)
    server.gate = threading.Event()
    for _ in range(20):
        assert client.get() is old
        clock.advance(1)
    server.gate.set()
    client.settle()
    assert server.asked == 2


def test_the_servers_refetch_wish_comes_before_the_staleness_bound(client, server, clock):
    """``refetch_at`` in 20 s makes the entry due after 20 s."""
    server.script(server.credential(1, life_s=100, refetch_in_s=20), server.credential(2, life_s=3600))
    client.get()
    clock.advance(17)
    client.get()
    assert server.asked == 1
    clock.advance(4)
    assert client.get().version == 1
    client.settle()
    assert client.get().version == 2


def test_a_refetch_wish_in_the_past_is_not_a_storm(client, server, clock):
    """A late server is asked again every few seconds, not with every call."""
    server.answer = lambda seen: server.credential(1, life_s=600, refetch_in_s=-30)
    for _ in range(50):
        client.get()
        client.settle()
        clock.advance(0.1)
    assert server.asked <= 2


def test_an_entry_unused_for_long_is_waited_for(client, server, clock):
    """Twice max_staleness old: a revocation would have gone unnoticed, so the caller waits for the truth."""
    client.get()
    clock.advance(121)
    server.version = 2
    assert client.get().version == 2


def test_an_entry_unused_for_long_that_was_revoked_is_not_served(client, server, clock):
    """The first call after a long pause raises, instead of handing out the dead credential once more."""
    client.get()
    clock.advance(121)
    server.script(server.problem(409, "reauthorization_required", reason="revoked", connection_id="c1"))
    with pytest.raises(ReauthorizationRequired):
        client.get()


@pytest.mark.parametrize("life_s", [None, 30 * DAY], ids=["never expires", "expires later"])
def test_an_entry_unused_for_long_is_served_when_the_server_is_away(client, server, clock, life_s):
    """Unexpired beats unavailable, and the second call does not even try to wait."""
    server.script(server.credential(1, life_s=life_s))
    old = client.get()
    clock.advance(DAY)
    server.go_away()
    assert client.get() is old
    asked = server.asked
    assert client.get() is old
    client.settle()
    assert server.asked == asked


def test_an_outage_of_hours_never_blocks_or_raises_for_a_credential_in_use(client, server, clock):
    """One background probe every few seconds for the whole client, no waiting caller; then the new one."""
    client.get()
    client.get(user_id="user_b")
    server.go_away()
    asked = server.asked
    before = clock.elapsed()
    while clock.elapsed() - before < 1200:
        clock.advance(30)
        assert client.get().version == 1
        assert client.get(user_id="user_b").version == 1
        client.settle()
    probes = (server.asked - asked) / 2  # each probe is two attempts
    assert probes <= 1200 / 30 + 1
    server.version = 2
    server.come_back()
    clock.advance(30)
    client.get()
    client.settle()
    assert client.get().version == 2


def test_no_caller_is_made_to_wait_while_the_server_is_known_to_be_away(client, server, clock):
    """With a server that accepts and never answers, a cached read of an old entry still returns at once."""
    old = client.get()
    server.go_away()
    for _ in range(2):
        clock.advance(61)
        client.get()
        client.settle()
    server.gate = threading.Event()
    clock.advance(59)
    began = time.monotonic()
    assert client.get() is old
    assert time.monotonic() - began < 1
    server.gate.set()
    client.settle()


@pytest.mark.parametrize(
    "reply",
    [
        lambda server: server.problem(500, "internal"),
        lambda server: server.problem(429, "rate_limited", headers={"Retry-After": "7"}),
        lambda server: server.problem(503, "provider_unavailable", retry_after_s=9),
        lambda server: server.credential(credential=None),
        lambda server: server.credential(expires_at="2026-01-01"),
        lambda server: type(server.credential())(status=404, body=b"<html>no such host</html>"),
        lambda server: type(server.credential())(status=302, body=b"", headers={"Location": "http://x/"}),
        lambda server: type(server.credential())(status=200, body=b"<html>welcome</html>"),
        lambda server: type(server.credential())(status=200, body=b"[" * 100_000),
        lambda server: type(server.credential())(status=401, body=b'{"message": "from a proxy"}'),
    ],
    ids=[
        "500", "429", "provider", "no secret", "naive time", "404 page", "redirect", "page", "deep",
        "foreign 401",
    ],
)  # fmt: skip
def test_whatever_is_no_definite_answer_leaves_the_cached_one_in_place(client, server, clock, reply):
    """Only an Authpipe server's own no counts: not a proxy's page, not an outage, not nonsense."""
    old = client.get()
    clock.advance(61)
    server.script(reply(server))
    assert client.get() is old
    client.settle()
    assert server.asked > 1
    clock.advance(30)
    assert client.get() is old


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (409, "reauthorization_required", ReauthorizationRequired),
        (404, "not_connected", NotConnected),
        (409, "ambiguous_connection", AmbiguousConnection),
        (401, "unauthenticated", AuthenticationFailed),
    ],
)
def test_a_definite_no_in_the_background_drops_the_entry(client, server, clock, status, code, expected):
    """The call that triggers the refetch still gets the old one; the next raises."""
    old = client.get()
    clock.advance(61)
    server.script(server.problem(status, code))
    assert client.get() is old
    client.settle()
    with pytest.raises(expected):
        client.get()
    assert not client.cache.entries


def test_a_revocation_learnt_under_one_key_drops_the_connection_under_every_key(client, server, clock):
    """``any`` and ``user`` name the same connection: one answer speaks for both."""
    connection = client.get().connection_id
    client.get(credential_for="user")
    client.get(credential_for="installation", user_id=None)
    clock.advance(61)
    server.script(server.problem(409, "reauthorization_required", reason="revoked", connection_id=connection))
    client.get()
    client.settle()
    assert not client.cache.entries


def test_an_expired_entry_is_waited_for(client, server, clock):
    """Past its life no cached credential is returned."""
    server.script(server.credential(1, life_s=40), server.credential(2, life_s=3600))
    client.get()
    clock.advance(40)
    assert client.get().version == 2


def test_an_expired_entry_is_not_served_when_the_server_is_away(client, server, clock):
    """Nothing unexpired to serve: AuthpipeUnavailable, never a dead token."""
    server.script(server.credential(1, life_s=40))
    client.get()
    server.go_away()
    clock.advance(41)
    with pytest.raises(AuthpipeUnavailable):
        client.get()


def test_just_before_expiry_a_caller_waits_for_the_new_one(client, server, clock):
    """Within the margin (a tenth of the life, at most 5 s) the old one might expire on its way."""
    server.script(server.credential(1, life_s=50), server.credential(2, life_s=3600))
    client.get()
    clock.advance(46)
    assert client.get().version == 2


def test_just_before_expiry_the_old_one_is_still_served_when_the_server_is_away(client, server, clock):
    """Unexpired is unexpired, up to the second that ``Date`` cannot resolve."""
    server.script(server.credential(1, life_s=50))
    old = client.get()
    server.go_away()
    clock.advance(46)
    assert client.get() is old
    clock.advance(2.5)
    assert client.get() is old
    clock.advance(1)
    with pytest.raises(AuthpipeUnavailable):
        client.get()


@pytest.mark.parametrize("off", [-DAY, DAY], ids=["slow", "fast"])
def test_a_wrong_local_clock_neither_shortens_nor_lengthens_a_life(client, server, clock, off):
    """Life is measured against the answer's own Date, so only the server's clock counts."""
    server.answer = lambda seen: server.credential(server.asked, life_s=40 + off, date=off)
    client.get()
    clock.advance(30)
    assert client.get().version == 1
    clock.advance(10)
    assert client.get().version == 2


def test_a_step_of_the_wall_clock_changes_nothing(client, server, clock):
    """Deadlines live on the elapsed clock."""
    server.script(server.credential(1, life_s=40), server.credential(2))
    client.get()
    clock.wall_s += 10 * DAY
    assert client.get().version == 1
    clock.wall_s -= 20 * DAY
    clock.elapsed_s += 41
    assert client.get().version == 2


def test_without_a_date_the_local_clock_is_used(client, server, clock):
    """An answer stripped of Date still expires."""
    server.script(server.credential(1, life_s=40, date=None), server.credential(2))
    client.get()
    clock.advance(34)
    assert client.get().version == 1
    clock.advance(7)
    assert client.get().version == 2


def test_an_answer_that_is_already_expired_is_not_cached(client, server):
    """The server may know better than its own expiry; every call asks it."""
    server.answer = lambda seen: server.credential(1, life_s=-5)
    client.get()
    client.get()
    assert server.asked == 2


def test_with_no_staleness_allowed_every_call_asks(make, server):
    """max_staleness_s=0 keeps entries only for outages."""
    client = make(max_staleness_s=0)
    client.get()
    server.version = 2
    assert client.get().version == 2
    server.go_away()
    assert client.get().version == 2


def test_the_number_of_entries_is_bounded_and_those_in_use_stay(make, server, clock):
    """Eviction takes what was least recently fetched or found due."""
    client = make(max_entries=3)
    for user in ("a", "b", "c"):
        client.get(user_id=user)
    clock.advance(61)
    client.get(user_id="a")
    client.settle()
    client.get(user_id="d")
    assert [key[2] for key in client.cache.entries] == ["c", "a", "d"]


@pytest.mark.parametrize("action", ["disconnect", "refresh"])
def test_what_this_client_changes_is_forgotten_at_once(client, server, action):
    """After disconnect or refresh through the client, the next read asks the server."""
    connection_id = client.get().connection_id
    made = {"id": connection_id, "provider": "discord", "tenant_id": "org_acme", "status": "revoked"}
    credential = server.credential(2)
    server.answer = lambda seen: type(credential)(body=made) if seen.method == "POST" else credential
    client.do(lambda c: getattr(c.connections, action)(connection_id))
    assert client.get().version == 2


def test_with_nothing_cached_and_the_server_away_it_says_so(make, server):
    """AuthpipeUnavailable names the remedy."""
    client = make(timeout_s=1.0)
    server.stop()
    with pytest.raises(AuthpipeUnavailable, match="check AUTHPIPE_URL"):
        client.get()


def test_a_closed_client_refuses_and_holds_no_credential(make):
    """Closing drops the secrets; closing again is harmless."""
    client = make()
    client.get()
    if client.kind == "sync":
        client.client.close()
        client.client.close()
    else:
        client.do(lambda c: c.aclose())
        client.do(lambda c: c.aclose())
    assert not client.cache.entries
    with pytest.raises(RuntimeError, match="closed"):
        client.get()


def test_a_close_during_a_refetch_stores_nothing(make, server, clock):
    """A fetch under way when the client closes does not bring a secret back into memory."""
    client = make()
    client.get()
    clock.advance(61)
    server.gate = threading.Event()
    client.get()
    if client.kind == "sync":
        assert server.arrived.acquire(timeout=5)
        assert server.arrived.acquire(timeout=5)
        threading.Timer(0.05, server.gate.set).start()
        client.client.close()
    else:
        client.do(lambda c: c.aclose())
    assert not client.cache.entries


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (409, "reauthorization_required", ReauthorizationRequired),
        (404, "not_connected", NotConnected),
        (409, "ambiguous_connection", AmbiguousConnection),
    ],
)
def test_a_definite_no_is_repeated_for_two_seconds_without_asking(
    client, server, clock, status, code, expected
):
    """Each caller gets an exception of its own; other arguments ask; then the server is asked again."""
    server.script(server.problem(status, code), server.credential(1))
    errors = []
    for _ in range(3):
        with pytest.raises(expected) as caught:
            client.get()
        errors.append(caught.value)
    assert len({id(error) for error in errors}) == 3
    assert server.asked == 1
    client.get(user_id="user_b")
    assert server.asked == 2
    clock.advance(2)
    assert client.get().version == 1


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (500, "internal"),
        (429, "rate_limited"),
        (401, "unauthenticated"),
        (403, "forbidden"),
        (422, "invalid_input"),
    ],
)
def test_no_other_error_is_repeated(client, server, status, code):
    """An outage, a limit, a refused key and a wrong request are asked about anew."""
    server.script(server.problem(status, code))
    for _ in range(2):
        with pytest.raises(AuthpipeError):
            client.get()
    asked = server.asked
    server.come_back()
    assert client.get().version == 1
    assert server.asked == asked + 1


def test_refusals_are_not_kept_where_that_is_switched_off(make, server):
    """``negative_s=0``: a NotConnected does not stand in the way of the connection made a moment later."""
    client = make(negative_s=0)
    server.script(server.problem(404, "not_connected"), server.credential(1))
    with pytest.raises(NotConnected):
        client.get()
    assert client.get().version == 1


def test_refusals_are_bounded_in_number(make, server):
    """No more of them than of entries."""
    client = make(max_entries=3)
    server.script(server.problem(404, "not_connected"))
    for number in range(10):
        with pytest.raises(NotConnected):
            client.get(user_id=f"user_{number}")
    assert len(client.cache._refusals) == 3


def test_what_this_client_connects_ends_the_refusal(client, server):
    """A completed connect session is followed by a credential, not by the NotConnected of a second ago."""
    server.script(server.problem(404, "not_connected"))
    with pytest.raises(NotConnected):
        client.get()
    connection = {"id": "c1", "provider": "discord", "tenant_id": "org_acme", "status": "active"}
    done = {"id": "s1", "status": "completed", "connection": connection}
    credential = server.credential(1)
    server.answer = lambda seen: type(credential)(body=done) if seen.method == "POST" else credential
    client.do(lambda c: c.connect_sessions.complete("s1", completion_code="x", tenant_id="org_acme"))
    assert client.get().version == 1


def test_a_refused_key_drops_everything_that_was_read_with_it(client, server, clock):
    """One answer of 401 speaks for every entry: the key is revoked."""
    client.get()
    client.get(user_id="user_b")
    clock.advance(61)
    server.script(server.problem(401, "unauthenticated"))
    client.get()
    client.settle()
    assert not client.cache.entries
