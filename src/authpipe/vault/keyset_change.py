"""What happened to keysets, as it is told to whoever keeps the record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from authpipe.domain.event import Origin


class KeysetChangeKind(StrEnum):
    """What happened."""

    ROTATED = "rotated"
    REWRAPPED = "rewrapped"
    REENCRYPTED = "reencrypted"
    KEY_DESTROYED = "key_destroyed"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeysetChange:
    """One fact: about the keyset of a tenant, of an environment, or (``REWRAPPED``) many of an environment.

    ``data`` holds ids and counts only.
    """

    kind: KeysetChangeKind
    environment_id: UUID
    tenant_id: str | None
    origin: Origin
    at: datetime
    data: Mapping[str, Any] = field(default_factory=dict)
