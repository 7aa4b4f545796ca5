"""What only a race would show: stale writes, forgetting during a fetch, a fork; and the margins."""

from __future__ import annotations

import math

import pytest

from authpipe.sdk.cache import Coverage, CredentialCache, Verdict
from authpipe.sdk.changes import Change
from authpipe.sdk.entry import Fetched
from authpipe.sdk.errors import (
    AuthpipeUnavailable,
    NotConnected,
    ProviderUnavailable,
    RateLimited,
    ReauthorizationRequired,
)

KEY = ("discord", "org_acme", "user_123", "any", None, None, None)
OTHER = ("slack", "org_acme", "user_123", "any", None, None, None)


@pytest.fixture
def cache():
    """A minute of staleness, five seconds between refetches."""
    return CredentialCache(
        max_staleness_s=60, refetch_retry_s=5, outage_memory_s=60, max_entries=10, negative_s=2
    )


@pytest.fixture
def put(cache, make_credential):
    """Store a credential for KEY."""

    def store(now=0.0, *, key=KEY, asked_at=None, life_s=None, refetch_in_s=None, generation=None, **fields):
        fetched = Fetched(
            credential=make_credential(**fields),
            asked_at=now if asked_at is None else asked_at,
            life_s=life_s,
            refetch_in_s=refetch_in_s,
        )
        cache.store(key, fetched, now, generation=cache.generation if generation is None else generation)
        return cache.entries.get(key)

    return store


def test_a_slower_older_answer_does_not_replace_a_newer_one(cache, put):
    """What was asked for earlier loses, whenever it arrives."""
    put(10.0, asked_at=9.0, version=2)
    put(11.0, asked_at=3.0, version=1)
    assert cache.entries[KEY].credential.version == 2


def test_what_was_being_fetched_while_its_connection_was_disconnected_is_not_stored(cache, put):
    """The answer was on its way when ``forget`` was called."""
    generation = cache.generation
    cache.forget(["c1"])
    put(generation=generation)
    assert not cache.entries


def test_forgetting_drops_connections_and_installations_by_id(cache, put):
    """And leaves the others; forgetting nothing costs nothing."""
    put(key=KEY, connection_id="c1")
    put(key=OTHER, connection_id="c2", installation_id="i1")
    generation = cache.generation
    cache.forget([None])
    assert cache.generation == generation
    cache.forget(["c1"])
    assert list(cache.entries) == [OTHER]
    cache.forget([None, "i1"])
    assert not cache.entries


def test_a_refusal_drops_only_the_entry_it_was_about(cache, put):
    """A newer entry stored meanwhile stays."""
    old = put(1.0)
    put(2.0, version=2)
    cache.refused(KEY, old, NotConnected("no"), 3.0, generation=cache.generation)
    assert cache.entries[KEY].credential.version == 2


def test_nothing_is_stored_after_close(cache, put):
    """A late answer does not bring a secret back."""
    cache.close()
    put()
    assert not cache.entries


@pytest.mark.parametrize(("life_s", "margin"), [(3600, 5.0), (50, 5.0), (20, 2.0), (1, 0.1)], ids=str)
def test_the_margin_before_expiry_is_small_and_bounded(put, life_s, margin):
    """Five seconds, at most a tenth of the remaining life: tokens of a minute are cached too."""
    entry = put(life_s=life_s)
    assert entry.expires - entry.wait_from == pytest.approx(margin)


def test_a_credential_that_does_not_expire_is_due_by_staleness_alone(put):
    """No margin, no end."""
    entry = put(now=7.0)
    assert (entry.fresh_until, entry.wait_from, entry.expires) == (67.0, math.inf, math.inf)


def test_life_counts_from_before_the_request_was_sent(put):
    """An answer that took 10 s has 10 s less to live here."""
    entry = put(now=20.0, asked_at=10.0, life_s=30)
    assert entry.expires == 40.0
    assert entry.fresh_until <= entry.wait_from < 40.0


def test_only_one_caller_is_told_to_refetch(cache, put):
    """Until that refetch has ended, and then only after a rest."""
    put()
    assert cache.judge(KEY, 61)[0] is Verdict.SERVE_AND_REFETCH
    assert cache.judge(KEY, 61)[0] is Verdict.SERVE
    assert cache.judge(KEY, 67)[0] is Verdict.SERVE
    cache.refetch_ended(KEY)
    assert cache.judge(KEY, 68)[0] is Verdict.SERVE
    assert cache.judge(KEY, 73)[0] is Verdict.SERVE_AND_REFETCH


@pytest.mark.parametrize(
    ("error", "other_rests"),
    [
        (AuthpipeUnavailable("away"), True),
        (RateLimited("slow down", retry_after_s=2), True),
        (ProviderUnavailable("provider"), False),
    ],
    ids=["server away", "rate limited", "provider away"],
)
def test_an_outage_of_the_server_rests_every_key_one_of_the_provider_only_its_own(
    cache, put, error, other_rests
):
    """A slack entry is asked for again although discord does not answer."""
    entry = put()
    put(key=OTHER)
    cache.judge(KEY, 61)
    cache.unanswered(entry, error, 61)
    cache.refetch_ended(KEY)
    expected = Verdict.SERVE if other_rests else Verdict.SERVE_AND_REFETCH
    assert cache.judge(OTHER, 62)[0] is expected


def test_a_wished_pause_is_kept(cache, put):
    """Retry-After of 40 s: not asked again before."""
    entry = put()
    cache.judge(KEY, 61)
    cache.unanswered(entry, RateLimited("slow down", retry_after_s=40), 61)
    cache.refetch_ended(KEY)
    assert cache.judge(KEY, 100)[0] is Verdict.SERVE
    assert cache.judge(KEY, 102)[0] is Verdict.SERVE_AND_REFETCH


def test_an_outage_is_forgotten_when_nobody_has_looked_for_a_while(cache, put):
    """A failure of yesterday is no reason to serve yesterday's credential without asking."""
    entry = put()
    cache.unanswered(entry, AuthpipeUnavailable("away"), 70)
    assert cache.judge(KEY, 125)[0] is not Verdict.WAIT
    assert cache.judge(KEY, 131)[0] is Verdict.WAIT


def test_after_a_fork_a_held_lock_and_a_refetch_under_way_are_gone(cache, put):
    """They belonged to threads that do not exist in the child; the entries do."""
    put()
    cache.judge(KEY, 61)
    cache._lock.acquire()
    cache.after_fork()
    assert cache.judge(KEY, 67)[0] is Verdict.SERVE_AND_REFETCH


def test_an_entry_in_use_during_an_outage_is_not_the_first_to_go(cache, put):
    """Being found due counts as use, although nothing new is stored."""
    entry = put()
    put(key=OTHER)
    cache.unanswered(None, AuthpipeUnavailable("away"), 61)
    assert cache.judge(KEY, 62) == (Verdict.SERVE, entry)
    assert list(cache.entries) == [OTHER, KEY]


CHANGE = {
    "type": "connection.needs_reauth",
    "tenant_id": "org_acme",
    "provider": "discord",
    "user_id": "user_123",
    "connection_id": "c1",
    "installation_id": None,
    "credential_id": "k1",
}


@pytest.fixture
def change(cache):
    """Tell the cache of a change of the credential in KEY."""
    return lambda now=0.0, **over: cache.change(Change(**(CHANGE | over)), now)


@pytest.fixture
def stream(cache):
    """A stream that is live from 99 on."""
    coverage = Coverage()
    cache.stream_begins(coverage, 99.0)
    return coverage


def test_a_live_stream_makes_a_due_entry_fresh_again_without_a_request(cache, put, stream):
    """For max_staleness from when the stream was last heard, however old the answer is."""
    entry = put(100.0)
    assert entry.fresh_until == 160.0
    stream.heard_at = 155.0
    assert cache.judge(KEY, 161.0) == (Verdict.SERVE, entry)
    assert entry.fresh_until == 215.0
    stream.heard_at = 5_000.0
    assert cache.judge(KEY, 5_001.0) == (Verdict.SERVE, entry)


def test_a_stream_vouches_for_nothing_that_was_asked_for_before_it(cache, put, stream):
    """A change may have come between that answer and the stream's beginning."""
    put(100.0, asked_at=98.9)
    stream.heard_at = 155.0
    assert cache.judge(KEY, 161.0)[0] is Verdict.SERVE_AND_REFETCH


def test_a_silent_stream_vouches_for_nothing(cache, put, stream):
    """Nobody has to notice: what it confirmed ends max_staleness after it was last heard."""
    put(100.0)
    stream.heard_at = 155.0
    cache.judge(KEY, 161.0)
    assert cache.judge(KEY, 214.0)[0] is Verdict.SERVE
    assert cache.judge(KEY, 216.0)[0] is Verdict.SERVE_AND_REFETCH


def test_a_stream_does_not_outlast_the_servers_wish_or_the_life(cache, put, stream):
    """``refetch_at`` and expiry come before everything."""
    put(100.0, life_s=3600, refetch_in_s=30)
    stream.heard_at = 130.0
    assert cache.judge(KEY, 131.0)[0] is Verdict.SERVE_AND_REFETCH
    put(100.0, key=OTHER, life_s=40)
    assert cache.judge(OTHER, 139.0)[0] is Verdict.WAIT


def test_what_a_stream_vouched_for_holds_after_its_end(cache, put, stream):
    """An entry used last an hour ago is as good as of the moment the stream was last heard."""
    put(100.0)
    stream.heard_at = 3_700.0
    cache.stream_ends(stream)
    assert cache.judge(KEY, 3_710.0)[0] is Verdict.SERVE
    assert cache.judge(KEY, 3_761.0)[0] is Verdict.SERVE_AND_REFETCH


def test_a_new_stream_says_nothing_of_entries_from_before_it(cache, put, stream):
    """What happened in between is unknown."""
    put(100.0)
    cache.stream_ends(stream)
    cache.stream_begins(stream, 110.0)
    stream.heard_at = 165.0
    assert cache.judge(KEY, 161.0)[0] is Verdict.SERVE_AND_REFETCH


def test_two_streams_each_vouch_for_what_came_after_them(cache, put, stream):
    """A client on two event loops: the end of one leaves the other's word."""
    second = Coverage()
    cache.stream_begins(second, 105.0)
    put(102.0)
    put(106.0, key=OTHER)
    cache.stream_ends(stream)
    second.heard_at = 160.0
    assert cache.judge(KEY, 165.0)[0] is Verdict.SERVE_AND_REFETCH
    assert cache.judge(OTHER, 167.0)[0] is Verdict.SERVE


def test_with_no_staleness_allowed_a_stream_changes_nothing(make_credential):
    """max_staleness_s=0 is a wish to ask every time."""
    strict = CredentialCache(max_staleness_s=0, refetch_retry_s=5, outage_memory_s=60, max_entries=10)
    coverage = Coverage()
    strict.stream_begins(coverage, 1.0)
    fetched = Fetched(credential=make_credential(), asked_at=2.0, life_s=None, refetch_in_s=None)
    strict.store(KEY, fetched, 2.0, generation=0)
    coverage.heard_at = 3.0
    assert strict.judge(KEY, 3.0)[0] is Verdict.WAIT


def test_after_a_fork_no_stream_vouches_for_anything(cache, put, stream):
    """The parent's is not the child's."""
    put(100.0)
    stream.heard_at = 155.0
    cache.after_fork()
    assert cache.judge(KEY, 161.0)[0] is Verdict.SERVE_AND_REFETCH


def test_a_change_drops_an_entry_and_what_is_being_fetched(cache, put, change):
    """The answer on its way may be from before it, and is to be asked for again."""
    put()
    put(key=OTHER, provider="slack")
    generation = cache.generation
    change()
    assert list(cache.entries) == [OTHER]
    put(generation=generation)
    assert list(cache.entries) == [OTHER]
    put(generation=generation, connection_id="c9", credential_id="k9", key=(*KEY[:2], "user_b", *KEY[3:]))
    assert len(cache.entries) == 2


def test_only_a_refreshed_entry_in_use_is_worth_fetching_ahead(cache, put, change):
    """A revoked one is not, nor one nobody has asked for lately."""
    put(0.0)
    assert change(59.0, type="credential.refreshed") == [KEY]
    put(0.0)
    assert change(61.0, type="credential.refreshed") == []
    put(0.0)
    assert change(1.0) == []


def test_a_change_ends_refusals_of_its_tenant_and_provider(cache, change):
    """And keeps one from being noted that was on its way."""
    generation = cache.generation
    for key in (KEY, OTHER):
        cache.refused(key, None, NotConnected("no"), 0.0, generation=generation)
    assert cache.refusal(KEY, 1.0)
    change(type="connection.created")
    assert cache.refusal(KEY, 1.0) is None
    assert cache.refusal(OTHER, 1.0)
    cache.refused(KEY, None, NotConnected("no"), 1.0, generation=generation)
    assert cache.refusal(KEY, 1.0) is None


def test_a_refusal_of_one_connection_leaves_the_others_refusals(cache):
    """A loop over a hundred dead connections asks about each of them once."""
    dead = ReauthorizationRequired("dead", connection_id="c1")
    cache.refused(KEY, None, dead, 0.0, generation=cache.generation)
    cache.refused(OTHER, None, dead, 0.0, generation=cache.generation)
    assert cache.refusal(KEY, 1.0)
    assert cache.refusal(OTHER, 1.0)


def test_a_rejected_version_does_not_come_back(cache, put):
    """Neither from memory nor from a fetch under way; a newer one may."""
    put(version=6)
    put(key=OTHER, version=7)
    generation = cache.generation
    newer, keys = cache.reject("k1", 7, 1.0)
    assert (newer, set(keys)) == (None, {KEY, OTHER})
    put(generation=generation, version=7)
    assert not cache.entries
    put(generation=generation, version=8)
    assert cache.reject("k1", 7, 1.0)[0].version == 8


def test_a_later_version_wins_over_a_later_question(cache, put):
    """The answer to a report was asked for before a read that brought the old version."""
    put(2.0, version=7)
    put(1.0, version=8)
    assert cache.entries[KEY].credential.version == 8


def test_the_index_by_place_follows_the_entries(cache, put, change):
    """What is evicted, dropped or forgotten leaves nothing behind."""
    for number in range(25):
        put(float(number), key=("discord", f"t{number}", *KEY[2:]), tenant_id=f"t{number}")
    assert set(cache._by_place) == {key[:2] for key in cache.entries}
    cache.change(Change(**(CHANGE | {"tenant_id": "t24", "type": "tenant.erased"})), 30.0)
    cache.forget(["c1"])
    assert not cache._by_place
