"""The one way an event is written: in the transaction of the change it tells of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from authpipe.domain.event import Event, Origin, Outcome
from authpipe.domain.identifiers import new_id
from authpipe.events.types import EventType
from authpipe.store.transaction import Transaction


def fact(
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
    """A fact to be added by :func:`record_all`.  ``data`` must hold no secret."""
    return Event(
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
    event = fact(
        type,
        environment_id=environment_id,
        tenant_id=tenant_id,
        object_kind=object_kind,
        object_id=object_id,
        origin=origin,
        at=at,
        outcome=outcome,
        data=data,
    )
    await transaction.events.add(event)
    return event


async def record_all(transaction: Transaction, facts: Sequence[Event]) -> None:
    """Add many facts at once, as :func:`record` adds one; of several environments in system-wide work."""
    await transaction.events.add_all(facts)
