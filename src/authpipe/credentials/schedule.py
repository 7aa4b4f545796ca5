"""When things are due: pure functions of times, in one place."""

from __future__ import annotations

import random
from datetime import datetime, timedelta

#: How long before expiry a credential counts as due, at the least.
MINIMUM_MARGIN = timedelta(minutes=5)
#: The share of a lifetime that the margin is, when that is more.
MARGIN_SHARE = 0.10
#: A short-lived token must not be due from the start: at most this share of its life is margin.
LARGEST_SHARE = 0.5
#: Due times are spread over this share of the margin before it.  Tokens of one moment that live an hour are
#: due within two and a half minutes, those that live a day within an hour.
SPREAD_SHARE = 0.4

_FIRST_RETRY = timedelta(seconds=5)
LONGEST_RETRY = timedelta(minutes=15)


def refresh_margin(lifetime: timedelta) -> timedelta:
    """``max(5 min, 10 %)`` of the lifetime, and never more than half of it."""
    return min(max(MINIMUM_MARGIN, lifetime * MARGIN_SHARE), lifetime * LARGEST_SHARE)


def refresh_due_at(issued_at: datetime, expires_at: datetime, *, spread: random.Random) -> datetime:
    """When a worker should refresh a credential issued and expiring at these times.

    At the margin or somewhat before it, but not in the first half of its life: there the margin gives way.
    """
    lifetime = max(expires_at - issued_at, timedelta(0))
    earliest = min(refresh_margin(lifetime) * (1 + SPREAD_SHARE), lifetime * LARGEST_SHARE)
    return expires_at - earliest * spread.uniform(1 / (1 + SPREAD_SHARE), 1.0)


def refetch_at(now: datetime, expires_at: datetime | None, due_at: datetime | None) -> datetime | None:
    """When a cache should ask again: a quarter into the margin, once a refresh has likely happened.

    After that time, or when failures have moved the refresh beyond expiry: a quarter of what is left.  None
    for a credential that does not expire.
    """
    if expires_at is None or due_at is None:
        return expires_at
    likely = due_at + (expires_at - due_at) / 4
    return likely if now < likely < expires_at else now + max(expires_at - now, timedelta(0)) / 4


def retry_at(now: datetime, failures: int, *, retry_after_s: float | None, spread: random.Random) -> datetime:
    """When to try again after ``failures`` transient failures in a row: doubling, jittered, capped at 15 min.

    The provider's own ``Retry-After`` is obeyed, up to an hour.
    """
    delay = min(_FIRST_RETRY * 2 ** min(failures, 16), LONGEST_RETRY) * spread.uniform(0.5, 1.0)
    if retry_after_s is not None:
        delay = max(delay, timedelta(seconds=min(max(retry_after_s, 0.0), 3600.0)))
    due: datetime = now + delay
    return due
