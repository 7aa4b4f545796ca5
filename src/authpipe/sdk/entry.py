"""One cached credential and its points in time, all on the elapsed clock."""

from __future__ import annotations

import math
from dataclasses import dataclass

from authpipe.sdk.credential import Credential

# Long enough for the caller's own request to arrive before expiry, at most a tenth of what is left, so that
# tokens that live a minute are still cached.
EXPIRY_MARGIN_S = 5.0
EXPIRY_MARGIN_SHARE = 0.1

NEVER = -math.inf


@dataclass(slots=True, kw_only=True)
class Fetched:
    """A credential with its remaining life and the wished refetch, in seconds from ``asked_at``.

    None means that it does not expire, or that the server has no wish.
    """

    credential: Credential
    asked_at: float
    life_s: float | None
    refetch_in_s: float | None


class Entry:
    """One cached credential; ``cache`` explains its points in time."""

    __slots__ = (
        "asked_at",
        "confirmed_at",
        "credential",
        "due_at",
        "expires",
        "fresh_until",
        "used_at",
        "wait_from",
    )

    def __init__(
        self,
        credential: Credential,
        *,
        asked_at: float,
        confirmed_at: float,
        due_at: float,
        wait_from: float,
        expires: float,
        used_at: float,
    ) -> None:
        self.credential = credential
        self.asked_at = asked_at
        self.confirmed_at = confirmed_at
        self.due_at = due_at
        self.wait_from = wait_from
        self.expires = expires
        self.used_at = used_at
        self.fresh_until = NEVER

    @property
    def unconfirmed(self) -> bool:
        """It comes from a snapshot, and no server has said since that it stands."""
        return self.confirmed_at == NEVER


def entry_of(fetched: Fetched, now: float, *, refetch_retry_s: float) -> Entry:
    """The entry for an answer that arrived at ``now``; the caller sets ``fresh_until``."""
    expires = math.inf if fetched.life_s is None else fetched.asked_at + fetched.life_s
    due_at = wait_from = waited_for_from(expires, now)
    if fetched.refetch_in_s is not None:
        # The wish is already past when the server's own refresh is late: ask again soon, not at once.
        due_at = min(due_at, max(fetched.asked_at + fetched.refetch_in_s, now + refetch_retry_s))
    return Entry(
        fetched.credential,
        asked_at=fetched.asked_at,
        confirmed_at=fetched.asked_at,
        due_at=due_at,
        wait_from=wait_from,
        expires=expires,
        used_at=now,
    )


def entry_from_snapshot(credential: Credential, now: float, *, asked_at: float, expires: float) -> Entry:
    """The entry for a credential that an earlier process was given at ``asked_at``."""
    wait_from = waited_for_from(expires, now)
    return Entry(
        credential,
        asked_at=asked_at,
        confirmed_at=NEVER,
        due_at=wait_from,
        wait_from=wait_from,
        expires=expires,
        used_at=NEVER,
    )


def waited_for_from(expires: float, now: float) -> float:
    """From when callers wait for a successor."""
    return expires - min(EXPIRY_MARGIN_S, EXPIRY_MARGIN_SHARE * max(0.0, expires - now))


def newer_version(one: Credential, other: Credential) -> bool:
    """Whether ``one`` is a later version of the same credential as ``other``."""
    return one.credential_id == other.credential_id and one.version > other.version
