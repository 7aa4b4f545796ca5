"""What only a race would show: stale writes, forgetting during a fetch, a fork; and the margins."""

from __future__ import annotations

import math

import pytest

from authpipe.sdk.cache import CredentialCache, Fetched, Verdict
from authpipe.sdk.errors import AuthpipeUnavailable, ProviderUnavailable, RateLimited

KEY = ("discord", "org_acme", "user_123", "any", None, None, None)
OTHER = ("slack", "org_acme", "user_123", "any", None, None, None)


@pytest.fixture
def cache():
    """A minute of staleness, five seconds between refetches."""
    return CredentialCache(max_staleness_s=60, refetch_retry_s=5, outage_memory_s=60, max_entries=10)


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
    cache.refused(KEY, old)
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
