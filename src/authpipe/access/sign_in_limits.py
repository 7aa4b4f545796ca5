"""How often signing in may be tried: by operator, and by where the tries come from.

The lock of an operator stops guessing from everywhere, and alone it would let anybody keep an owner out.
Therefore a browser in which the operator signed in before carries a mark that only such browsers have: it
passes the lock, and is counted on its own (OWASP Authentication Cheat Sheet, device cookies).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from ipaddress import IPv6Address, ip_address, ip_network
from uuid import UUID

from authpipe.access.sign_in_refused import SignInReason, SignInRefused
from authpipe.store.transaction import Transaction

#: Failures in a row that lock an operator, and for how long: doubled by each further one.
FAILURES = 5
FIRST_LOCK = timedelta(minutes=1)
LONGEST_LOCK = timedelta(hours=1)
#: A row of failures ends by itself after this.
FORGOTTEN_AFTER = timedelta(hours=24)

#: Tries from one place in one window; from an IPv6 site as many as from so many of its networks.
TRIES = 20
REDIRECTS = 60
WINDOW = timedelta(minutes=15)
_NETWORKS_OF_A_SITE = 5


def failures_before(failures: int, last_failed_at: datetime | None, *, now: datetime) -> int:
    """How many failures in a row still count."""
    if last_failed_at is None or now - last_failed_at >= FORGOTTEN_AFTER:
        return 0
    return failures


def lock_after(failures: int, *, now: datetime) -> datetime | None:
    """Until when so many failures in a row lock the operator; None for too few."""
    if failures < FAILURES:
        return None
    # The exponent is bounded, so that no number of failures is too large to compute with.
    doubled: timedelta = FIRST_LOCK * 2 ** min(failures - FAILURES, 16)
    return now + min(doubled, LONGEST_LOCK)


def places(source_address: str | None) -> tuple[str, ...]:
    """Where a try comes from.

    An IPv6 host has a whole /64, so that counts as one; and so does, less strictly, the /48 around it, which
    is what a subscriber may have.
    """
    if source_address is None:
        return ("unknown",)
    try:
        address = ip_address(source_address)
    except ValueError:
        return ("unknown",)
    if not isinstance(address, IPv6Address):
        return (str(address),)
    if address.ipv4_mapped is not None:
        return (str(address.ipv4_mapped),)
    return tuple(str(ip_network((address.packed, bits), strict=False)) for bits in (64, 48))


def known_browser(operator_id: UUID) -> tuple[str, ...]:
    """The place that all browsers count as in which the operator signed in before."""
    return (f"known:{operator_id}",)


async def count_try(
    transaction: Transaction, sources: Sequence[str], *, now: datetime, at_most: int = TRIES
) -> None:
    """Count a try from ``sources``, a network and its site, before anything is compared, so that none run
    ahead of the count.

    A success gives it back.  Raises ``SignInRefused`` (``sign_in_limited``).
    """
    counts = [
        await transaction.sign_in_sources.count(source, now=now, ends_at=now + WINDOW) for source in sources
    ]
    limits = at_most, at_most * _NETWORKS_OF_A_SITE
    if any(tries > limit for tries, limit in zip(counts, limits, strict=False)):
        raise SignInRefused(
            SignInReason.LIMITED,
            f"Signing in was tried too often from here. Wait {WINDOW.seconds // 60} minutes and try again.",
        )


async def give_try_back(transaction: Transaction, sources: Sequence[str]) -> None:
    """Take a try off again that did not fail."""
    for source in sources:
        await transaction.sign_in_sources.give_back(source)
