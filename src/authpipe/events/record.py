"""The one way an event is written: in the transaction of the change it tells of."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from authpipe.domain.event import Event, Origin, Outcome
from authpipe.domain.identifiers import new_id
from authpipe.events.types import EventType
from authpipe.store.transaction import Transaction


async def record(
    transaction: Transaction,
    type: EventType,  # noqa: A002  # the field's own name
    *,
    environment_id: UUID,
    tenant_id: str | None,
    object_kind: str,
    object_id: UUID | str,
    origin: Origin,
    at: datetime,
    outcome: Outcome = Outcome.SUCCESS,
    data: Mapping[str, Any] | None = None,
) -> Event:
    """Add a fact.  It exists if and only if the transaction commits.  ``data`` must hold no secret."""
    event = Event(
        event_id=new_id(),
        environment_id=environment_id,
        tenant_id=tenant_id,
        type=type.value,
        object_kind=object_kind,
        object_id=str(object_id),
        origin=origin,
        outcome=outcome,
        created_at=at,
        data=data or {},
    )
    await transaction.events.add(event)
    return event
