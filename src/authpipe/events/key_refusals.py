"""A good API key that was used where it may not be, as events that a flood of such uses cannot multiply."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

from authpipe.domain.event import Event, Origin, Outcome
from authpipe.domain.identifiers import new_id
from authpipe.events.types import EventType

#: Requests an event tells of one by one; what comes beyond is counted.
LISTED = 50


class RefusedKey(NamedTuple):
    """Uses that differ in nothing of this share an event; what a caller chooses freely is no part of it."""

    environment_id: UUID
    api_key_id: UUID
    reason: str
    source_address: str | None


class RefusedUses:
    """What one key was refused since the last write."""

    def __init__(self) -> None:
        self._count = 0
        self._listed: list[tuple[datetime, Origin, str, str | None]] = []

    def add(self, at: datetime, origin: Origin, route: str, tenant_id: str | None) -> None:
        """One more.  ``tenant_id`` is the tenant it named, as far as is known."""
        self._count += 1
        if len(self._listed) < LISTED:
            self._listed.append((at, origin, route, tenant_id))

    def event(self, key: RefusedKey) -> Event:
        """On record in the environment and in no tenant of it, who must not learn of the key."""
        first_at, origin, _, _ = self._listed[0]
        requests: list[dict[str, Any]] = [
            {
                "request_id": each.request_id,
                "at": at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
                "route": route,
                "tenant_id": tenant_id,
            }
            for at, each, route, tenant_id in self._listed
        ]
        return Event(
            event_id=new_id(),
            environment_id=key.environment_id,
            tenant_id=None,
            type=EventType.API_KEY_REFUSED.value,
            object_kind="api_key",
            object_id=str(key.api_key_id),
            origin=Origin(
                actor_kind=origin.actor_kind,
                actor_id=origin.actor_id,
                request_id=origin.request_id if self._count == 1 else None,
                source_address=origin.source_address,
            ),
            outcome=Outcome.FAILURE,
            created_at=first_at,
            data={"reason": key.reason, "count": self._count, "requests": requests},
        )
