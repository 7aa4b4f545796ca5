"""The steps of a refresh, and how one ends."""

from __future__ import annotations

from enum import StrEnum


class Step(StrEnum):
    """The points of a refresh between which a crash has different consequences."""

    CLAIMED = "claimed"
    SENT = "sent"
    ANSWERED = "answered"
    SPOOLED = "spooled"
    COMMITTED = "committed"


class Refreshed(StrEnum):
    """How an attempt ended.

    ``spooled``: the answer is on disk and the database away.  ``superseded``: newer secrets were stored
    meanwhile.  ``postponed``: a transient failure, or the operator has to act; the attempt will be repeated.
    ``condemned``: a human must authorize again.
    """

    REFRESHED = "refreshed"
    SPOOLED = "spooled"
    SUPERSEDED = "superseded"
    POSTPONED = "postponed"
    CONDEMNED = "condemned"


#: The reasons with which a refresh gives a connection up, and which a late answer therefore takes back.
REVOKED = "revoked"
OUTCOME_UNKNOWN = "refresh_outcome_unknown"
GIVEN_UP = frozenset({REVOKED, OUTCOME_UNKNOWN})
#: The reason when the provider refuses a credential that nothing but a person can replace.
REJECTED = "rejected"
