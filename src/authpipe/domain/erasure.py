"""Erasing a tenant: what was done, counted, and the certificate of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from authpipe.domain.event import Origin


class ErasureStep(StrEnum):
    """What an erasure is at, in the order in which it comes."""

    API_KEYS = "api_keys"
    CANDIDATES = "candidates"
    CONNECTIONS = "connections"
    INSTALLATIONS = "installations"
    KEYSET = "keyset"
    ROWS = "rows"


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasureCounts:
    """What was destroyed, and what became of the grants at their providers.

    Of every grant one of four things is true: it was revoked, it was left because another tenant stands on
    it, there was nothing to revoke or no way to (``not_revocable``), or it could not be revoked in time.
    """

    connections: int = 0
    installations: int = 0
    credentials: int = 0
    connect_sessions: int = 0
    remembered_answers: int = 0
    api_keys: int = 0
    data_keys: int = 0
    revoked_upstream: int = 0
    left_shared: int = 0
    not_revocable: int = 0
    not_revoked: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasure:
    """An erasure under way, held by whoever has its lease.

    ``step`` is done up to and including the id ``after``; ``origin`` is who asked for it.
    """

    environment_id: UUID
    tenant_id: str
    origin: Origin
    step: ErasureStep
    after: UUID | None
    counts: ErasureCounts
    lease: UUID | None
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasureCertificate:
    """The evidence that a tenant is gone; ``event_id`` is the audit record that says the same."""

    environment_id: UUID
    tenant_id: str
    event_id: UUID
    began_at: datetime
    finished_at: datetime
    counts: ErasureCounts
