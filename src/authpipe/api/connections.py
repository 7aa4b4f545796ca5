"""``/v1/connections``: what tenants and users have connected."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, cast
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import ConfigDict, Field

from authpipe.api import examples, owned
from authpipe.api.caller import Caller, CallerDep, ServicesDep
from authpipe.api.documented import problems
from authpipe.api.fields import Answer, Body, Line, OpaqueId, Token
from authpipe.api.lists import Page, Paging, cut, id_of
from authpipe.api.rules import Reach, rule
from authpipe.api.services import ApiServices
from authpipe.connect.amend import Amendments
from authpipe.domain.access import ApiKeyRole
from authpipe.domain.connection import Connection, ConnectionStatus
from authpipe.domain.errors import NotFound

router = APIRouter(prefix="/v1/connections", tags=["Connections"])


class ConnectionObject(Answer):
    """The durable link of a tenant, or of one user of it, to an account at a provider."""

    model_config = ConfigDict(json_schema_extra=examples.shown(examples.CONNECTION))

    object: Literal["connection"] = "connection"
    id: UUID
    provider: str
    provider_config_id: UUID
    tenant_id: str
    user_id: str | None = Field(description="Null when it belongs to the tenant as a whole.")
    installation_id: UUID | None = Field(description="The installation it stands under.")
    status: ConnectionStatus
    status_reason: str | None
    label: str | None
    is_primary: bool
    account_id: str | None
    account_name: str | None
    scopes: list[str]
    metadata: Mapping[str, Any] = Field(description="What the provider told of the account.")
    created_at: datetime
    updated_at: datetime


class ConnectionDetail(ConnectionObject):
    """A connection with the facts of its credentials, without their secrets."""

    model_config = ConfigDict(json_schema_extra=examples.shown(examples.CONNECTION_DETAIL))

    credential_expires_at: datetime | None = Field(description="Of the main credential.")
    credentials: list[owned.CredentialFacts]


class ConnectionList(Page[ConnectionObject]):
    """One page of connections."""

    model_config = ConfigDict(json_schema_extra=examples.shown(examples.page_of(examples.CONNECTION)))


class ConnectionQuery(Paging):
    """Filters; every one that is given must match."""

    tenant_id: OpaqueId | None = None
    user_id: OpaqueId | None = None
    provider: Token | None = None
    status: ConnectionStatus | None = None
    installation_id: UUID | None = None


class AmendConnection(Body):
    """What to change; what is left out stays."""

    model_config = ConfigDict(json_schema_extra=examples.shown({"label": "work", "is_primary": True}))

    label: Line | None = Field(None, description="Null removes it.")
    is_primary: bool = Field(
        False, strict=True, description="The one that is taken where several match; ends the others' mark."
    )


def connection_object(connection: Connection) -> ConnectionObject:
    """As it stands in lists and inside other objects."""
    return ConnectionObject(**_fields(connection))


def _fields(connection: Connection) -> dict[str, Any]:
    return {
        "id": connection.connection_id,
        "provider": connection.provider,
        "provider_config_id": connection.provider_config_id,
        "tenant_id": connection.tenant_id,
        "user_id": connection.user_id,
        "installation_id": connection.installation_id,
        "status": connection.status,
        "status_reason": connection.status_reason,
        "label": connection.label,
        "is_primary": connection.is_primary,
        "account_id": connection.account_id,
        "account_name": connection.account_name,
        "scopes": list(connection.scopes),
        "metadata": connection.metadata,
        "created_at": connection.created_at,
        "updated_at": connection.updated_at,
    }


async def found_connection(services: ApiServices, caller: Caller, connection_id: UUID) -> Connection:
    """The connection.  Raises ``NotFound``, also for one the caller's key does not reach."""
    async with caller.scope(services.database) as transaction:
        connection = await transaction.connections.find(caller.environment_id, connection_id)
    if connection is None:
        raise NotFound("no such connection in this environment")
    return connection


async def _detail(services: ApiServices, connection: Connection) -> ConnectionDetail:
    stored = await owned.credentials_of(services, connection)
    return ConnectionDetail(
        **_fields(connection),
        credential_expires_at=stored[0].expires_at if stored else None,
        credentials=[owned.facts_of(each) for each in stored],
    )


@router.get(
    "", operation_id="list_connections", responses=problems(), **rule(ApiKeyRole.VIEWER, Reach.TENANT)
)
async def list_connections(
    caller: CallerDep, services: ServicesDep, query: Annotated[ConnectionQuery, Query()]
) -> ConnectionList:
    """List connections, oldest first."""
    tenant_id = caller.narrowed(query.tenant_id)
    async with caller.scope(services.database) as transaction:
        found = await transaction.connections.page(
            caller.environment_id,
            tenant_id=tenant_id,
            user_id=query.user_id,
            provider=query.provider,
            status=query.status,
            installation_id=query.installation_id,
            after=id_of(query.cursor),
            limit=query.limit + 1,
        )
    page, following = cut(found, query.limit, lambda connection: connection.connection_id)
    return ConnectionList(data=[connection_object(each) for each in page], next_cursor=following)


@router.get(
    "/{connection_id}",
    operation_id="get_connection",
    responses=problems("not_found"),
    **rule(ApiKeyRole.VIEWER, Reach.TENANT),
)
async def get_connection(connection_id: UUID, caller: CallerDep, services: ServicesDep) -> ConnectionDetail:
    """Get a connection with the facts of its credentials."""
    return await _detail(services, await found_connection(services, caller, connection_id))


@router.patch(
    "/{connection_id}",
    operation_id="update_connection",
    responses=problems("not_found", "connection_ended", "label_taken", "conflict"),
    **rule(ApiKeyRole.SERVER, Reach.TENANT),
)
async def update_connection(
    connection_id: UUID, body: AmendConnection, caller: CallerDep, services: ServicesDep
) -> ConnectionDetail:
    """Change a connection's label or make it the primary one."""
    amendments = cast("Amendments", {name: getattr(body, name) for name in body.model_fields_set})
    await found_connection(services, caller, connection_id)
    changed = await services.amendment.connection(
        caller.environment_id, connection_id, amendments, origin=caller.origin
    )
    return await _detail(services, changed)


@router.post(
    "/{connection_id}/refresh",
    operation_id="refresh_connection",
    responses=problems(
        "not_found",
        "not_refreshable",
        "connection_ended",
        "tenant_erasing",
        "reauthorization_required",
        "provider_unavailable",
        "idempotency_in_progress",
    ),
    **rule(ApiKeyRole.SERVER, Reach.TENANT),
)
async def refresh_connection(
    connection_id: UUID, caller: CallerDep, services: ServicesDep
) -> ConnectionDetail:
    """Refresh the connection's credential now, whatever its due time."""
    connection = await found_connection(services, caller, connection_id)
    await owned.refresh(services, connection, origin=caller.origin)
    connection = await found_connection(services, caller, connection_id)
    if connection.status is not ConnectionStatus.ACTIVE:
        raise owned.must_reauthorize(connection)
    return await _detail(services, connection)


@router.post(
    "/{connection_id}/disconnect",
    operation_id="disconnect_connection",
    responses=problems("not_found", "idempotency_in_progress"),
    **rule(ApiKeyRole.SERVER, Reach.TENANT),
)
async def disconnect_connection(
    connection_id: UUID, caller: CallerDep, services: ServicesDep
) -> ConnectionDetail:
    """End a connection: revoked at the provider where that harms nobody else, the credential destroyed.

    The record stays, with the status `revoked`. Doing it twice changes nothing.
    """
    await found_connection(services, caller, connection_id)
    ended = await services.disconnection.connection(
        caller.environment_id, connection_id, origin=caller.origin
    )
    return await _detail(services, ended)
