"""``/v1/events``: what happened, and who caused it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import ConfigDict, Field

from authpipe.api import examples
from authpipe.api.caller import CallerDep, ServicesDep
from authpipe.api.documented import problems
from authpipe.api.fields import Answer, OpaqueId, Token
from authpipe.api.lists import Page, Paging, cut, id_of
from authpipe.api.rules import Reach, rule
from authpipe.domain.access import ApiKeyRole
from authpipe.domain.errors import NotFound
from authpipe.domain.event import ActorKind, Event, Outcome
from authpipe.events.types import EventType

router = APIRouter(prefix="/v1/events", tags=["Events"])


class ActorObject(Answer):
    """Who acted; the id is an API key's where one did."""

    kind: ActorKind
    id: str | None


class EventObject(Answer):
    """An immutable fact.  ``data`` carries ids, statuses and reasons, never a secret."""

    model_config = ConfigDict(json_schema_extra=examples.shown(examples.EVENT))

    object: Literal["event"] = "event"
    id: UUID
    type: str
    tenant_id: str | None
    object_kind: str
    object_id: str
    outcome: Outcome
    actor: ActorObject
    request_id: str | None
    source_address: str | None
    data: Mapping[str, Any]
    created_at: datetime


class EventList(Page[EventObject]):
    """One page of events, newest first."""

    model_config = ConfigDict(json_schema_extra=examples.shown(examples.page_of(examples.EVENT)))


class EventQuery(Paging):
    """Filters; every one that is given must match."""

    tenant_id: OpaqueId | None = None
    type: EventType | None = None
    object_id: Token | None = Field(None, description="The id of a connection, a session, a key, …")


def _object(event: Event) -> EventObject:
    return EventObject(
        id=event.event_id,
        type=event.type,
        tenant_id=event.tenant_id,
        object_kind=event.object_kind,
        object_id=event.object_id,
        outcome=event.outcome,
        actor=ActorObject(kind=event.origin.actor_kind, id=event.origin.actor_id),
        request_id=event.origin.request_id,
        source_address=event.origin.source_address,
        data=event.data,
        created_at=event.created_at,
    )


@router.get("", operation_id="list_events", responses=problems(), **rule(ApiKeyRole.VIEWER, Reach.TENANT))
async def list_events(
    caller: CallerDep, services: ServicesDep, query: Annotated[EventQuery, Query()]
) -> EventList:
    """List events, newest first. A key of one tenant sees that tenant's."""
    tenant_id = caller.narrowed(query.tenant_id)
    async with caller.scope(services.database) as transaction:
        found = await transaction.events.page(
            caller.environment_id,
            tenant_id=tenant_id,
            type=query.type,
            object_id=query.object_id,
            before=id_of(query.cursor),
            limit=query.limit + 1,
        )
    page, following = cut(found, query.limit, lambda event: event.event_id)
    return EventList(data=[_object(event) for event in page], next_cursor=following)


@router.get(
    "/{event_id}",
    operation_id="get_event",
    responses=problems("not_found"),
    **rule(ApiKeyRole.VIEWER, Reach.TENANT),
)
async def get_event(event_id: UUID, caller: CallerDep, services: ServicesDep) -> EventObject:
    """Get an event."""
    async with caller.scope(services.database) as transaction:
        event = await transaction.events.get(caller.environment_id, event_id)
    if event is None:
        raise NotFound("no such event in this environment")
    return _object(event)
