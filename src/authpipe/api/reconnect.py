"""``…/{id}/reconnect``: a connect session that repairs what is connected and keeps its id."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter
from pydantic import ConfigDict, Field

from authpipe.api import examples
from authpipe.api.caller import CallerDep, ServicesDep
from authpipe.api.connect_sessions import ConnectSessionObject, begin
from authpipe.api.connections import found_connection
from authpipe.api.documented import problems
from authpipe.api.fields import Body, OpaqueId, Scopes, Token
from authpipe.api.installations import found_installation
from authpipe.api.rules import Reach, rule
from authpipe.connect.sessions import SessionWish
from authpipe.domain.access import ApiKeyRole
from authpipe.domain.connect_session import ReturnMode, SessionKind

router = APIRouter()

_MAY_ANSWER = (
    "not_found",
    "provider_disabled",
    "provider_config_incomplete",
    "tenant_erasing",
    "idempotency_in_progress",
    "idempotency_key_reused",
)


class Reconnect(Body):
    """Where the browser that repairs goes afterwards."""

    model_config = ConfigDict(
        json_schema_extra=examples.shown({"return_url": "https://app.example.com/connected"})
    )

    return_url: Token = Field(description="On the environment's `return_urls`.")
    return_mode: ReturnMode = ReturnMode.REDIRECT
    scopes: Scopes = Field(default_factory=list, description="Instead of the provider config's.")
    user_id: OpaqueId | None = Field(
        None,
        description="Who will complete the session; for a user's connection always that user.",
    )


@router.post(
    "/v1/connections/{connection_id}/reconnect",
    status_code=201,
    operation_id="reconnect_connection",
    tags=["Connections"],
    responses=problems(*_MAY_ANSWER, "connection_ended"),
    **rule(ApiKeyRole.SERVER, Reach.TENANT),
)
async def reconnect_connection(
    connection_id: UUID, body: Reconnect, caller: CallerDep, services: ServicesDep
) -> ConnectSessionObject:
    """Make a connect session that repairs this connection; it keeps its id and its place."""
    connection = await found_connection(services, caller, connection_id)
    wish = SessionWish(
        provider=connection.provider,
        tenant_id=connection.tenant_id,
        user_id=body.user_id or connection.user_id,
        kind=SessionKind.CONNECTION,
        return_url=body.return_url,
        return_mode=body.return_mode,
        scopes=tuple(body.scopes),
        label=connection.label,
        reconnect_id=connection_id,
    )
    return await begin(services, caller, wish)


@router.post(
    "/v1/installations/{installation_id}/reconnect",
    status_code=201,
    operation_id="reconnect_installation",
    tags=["Installations"],
    responses=problems(*_MAY_ANSWER, "installation_ended"),
    **rule(ApiKeyRole.SERVER, Reach.TENANT),
)
async def reconnect_installation(
    installation_id: UUID, body: Reconnect, caller: CallerDep, services: ServicesDep
) -> ConnectSessionObject:
    """Make a connect session that repairs this installation; it keeps its id."""
    installation = await found_installation(services, caller, installation_id)
    wish = SessionWish(
        provider=installation.provider,
        tenant_id=installation.tenant_id,
        user_id=body.user_id,
        kind=SessionKind.INSTALLATION,
        return_url=body.return_url,
        return_mode=body.return_mode,
        scopes=tuple(body.scopes),
        label=installation.label,
        reconnect_id=installation_id,
    )
    return await begin(services, caller, wish)
