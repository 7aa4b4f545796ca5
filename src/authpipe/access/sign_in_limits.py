"""How often signing in may be tried: by operator, and by where the tries come from.

The lock of an operator stops guessing from everywhere, and alone it would let anybody keep an owner out.
Therefore a browser in which the operator signed in before carries a mark that only such browsers have: it
passes the lock, and is counted on its own (OWASP Authentication Cheat Sheet, device cookies).
"""

from __future__ import annotations

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

#: Tries from one place in one window.
TRIES = 20
REDIRECTS = 60
WINDOW = timedelta(minutes=15)


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


def place(source_address: str | None) -> str:
    """Where a try comes from.  An IPv6 subscriber has a whole /64, so it counts as one."""
    if source_address is None:
        return "unknown"
    try:
        address = ip_address(source_address)
    except ValueError:
        return "unknown"
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ip_network((address.packed, 64), strict=False))


def known_browser(operator_id: UUID) -> str:
    """The place that all browsers count as in which the operator signed in before."""
    return f"known:{operator_id}"


async def count_try(transaction: Transaction, source: str, *, now: datetime, at_most: int = TRIES) -> None:
    """Count a try from ``source`` before anything is compared, so that none run ahead of the count.

    A success gives it back.  Raises ``SignInRefused`` (``sign_in_limited``).
    """
    tries = await transaction.sign_in_sources.count(source, now=now, ends_at=now + WINDOW)
    if tries > at_most:
        raise SignInRefused(
            SignInReason.LIMITED,
            f"Signing in was tried too often from here. Wait {WINDOW.seconds // 60} minutes and try again.",
        )
