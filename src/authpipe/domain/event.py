"""Events: immutable facts, and who caused them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID


class ActorKind(StrEnum):
    """Who acted."""

    API_KEY = "api_key"
    OPERATOR = "operator"
    BROWSER = "browser"
    WORKER = "worker"
    PROVIDER = "provider"
    COMMAND_LINE = "command_line"


class Outcome(StrEnum):
    """How it ended."""

    SUCCESS = "success"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Who caused an event and through which request; carried down from the edge that knows."""

    actor_kind: ActorKind
    actor_id: str | None = None
    request_id: str | None = None
    source_address: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A fact Authpipe recorded.  ``data`` carries ids, statuses and reasons, never a secret."""

    event_id: UUID
    environment_id: UUID
    tenant_id: str | None
    type: str
    object_kind: str
    object_id: str
    origin: Origin
    outcome: Outcome
    created_at: datetime
    data: Mapping[str, Any] = field(default_factory=dict)
