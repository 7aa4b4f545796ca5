"""``/v1/connect-sessions``: permission for one browser to connect, and the application's confirmation."""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from uuid import UUID

from fastapi import APIRouter
from pydantic import ConfigDict, Field

from authpipe.api import examples
from authpipe.api.caller import Caller, CallerDep, ServicesDep
from authpipe.api.connections import ConnectionObject, connection_object
from authpipe.api.documented import problems
from authpipe.api.fields import Answer, Body, Line, OpaqueId, Scopes, SecretText, Token
from authpipe.api.installations import InstallationObject, installation_object
from authpipe.api.rules import Reach, rule
from authpipe.api.services import ApiServices
from authpipe.connect.sessions import SessionWish
from authpipe.domain.access import ApiKeyRole
from authpipe.domain.connect_session import ConnectSession, ReturnMode, SessionKind, SessionStatus
from authpipe.domain.connection import Connection, Installation
from authpipe.domain.errors import InvalidInput, NotFound
from authpipe.domain.secret import Secret
from authpipe.store.transaction import Transaction

router = APIRouter(prefix="/v1/connect-sessions", tags=["Connect sessions"])

_RETURN_URL = "Where the browser goes afterwards: on the environment's `return_urls`."


class CreateConnectSession(Body):
    """Who may connect what."""

    model_config = ConfigDict(json_schema_extra=examples.shown(examples.CREATE_SESSION))

    provider: Token
    tenant_id: OpaqueId
    user_id: OpaqueId | None = Field(None, description="Needed where connections belong to users.")
    kind: SessionKind
    return_url: Token = Field(description=_RETURN_URL)
    return_mode: ReturnMode = Field(
        ReturnMode.REDIRECT,
        description="`popup` posts a message to the origin of `return_url`, which must be on the "
        "environment's `origins`.",
    )
    scopes: Scopes = Field(default_factory=list, description="Instead of the provider config's.")
    label: Line | None = Field(None, description="Tells several connections of one user apart.")
    installation_id: UUID | None = Field(
        None,
        description="With `kind` `connection`: the installation to stand under. With `kind` `installation`: "
        "the one to repair.",
    )
    connection_id: UUID | None = Field(None, description="The connection to repair; it keeps its id.")


class CompleteConnectSession(Body):
    """What the browser brought back, and whose application session it was brought back in."""

    model_config = ConfigDict(json_schema_extra=examples.shown(examples.COMPLETE))

    completion_code: SecretText
    tenant_id: OpaqueId = Field(description="From your own session, never from the browser's request.")
    user_id: OpaqueId | None = None


class ConnectSessionObject(Answer):
    """Short-lived, single-use permission for one browser to make or repair one thing."""

    model_config = ConfigDict(json_schema_extra=examples.shown(examples.SESSION))

    object: Literal["connect_session"] = "connect_session"
    id: UUID
    status: SessionStatus
    url: str | None = Field(
        description="Where to send the browser, good for one opening. Told once, when the session is made."
    )
    provider: str
    provider_config_id: UUID
    tenant_id: str
    user_id: str | None
    kind: SessionKind
    scopes: list[str]
    label: str | None
    installation_id: UUID | None
    reconnect_id: UUID | None
    return_url: str
    return_mode: ReturnMode
    error: str | None = Field(description="Why it failed.")
    connection: ConnectionObject | None = Field(description="What it made, once completed.")
    installation: InstallationObject | None
    expires_at: datetime
    created_at: datetime
    updated_at: datetime


def session_object(
    session: ConnectSession,
    *,
    url: str | None = None,
    connection: Connection | None = None,
    installation: Installation | None = None,
) -> ConnectSessionObject:
    """The session with what it made."""
    return ConnectSessionObject(
        id=session.session_id,
        status=session.status,
        url=url,
        provider=session.provider,
        provider_config_id=session.provider_config_id,
        tenant_id=session.tenant_id,
        user_id=session.user_id,
        kind=session.kind,
        scopes=list(session.scopes),
        label=session.label,
        installation_id=session.installation_id,
        reconnect_id=session.reconnect_id,
        return_url=session.return_url,
        return_mode=session.return_mode,
        error=session.error_code,
        connection=None if connection is None else connection_object(connection),
        installation=None if installation is None else installation_object(installation),
        expires_at=session.expires_at,
        created_at=session.created_at,
        updated_at=session.updated_at,
    )


async def begin(services: ApiServices, caller: Caller, wish: SessionWish) -> ConnectSessionObject:
    """A new session with its link, once its way back is allowed."""
    await services.environments.check_return(caller.environment_id, wish.return_url, wish.return_mode)
    session, token = await services.sessions.create(caller.environment_id, wish, origin=caller.origin)
    return session_object(session, url=_link(services, token))


def _link(services: ApiServices, token: Secret) -> str:
    return f"{services.public_url}/connect/{token.reveal()}"


async def _found(transaction: Transaction, caller: Caller, session_id: UUID) -> ConnectSession:
    session = await transaction.sessions.find(caller.environment_id, session_id)
    if session is None:
        raise NotFound("no such connect session in this environment")
    return session


def _reconnects(body: CreateConnectSession) -> UUID | None:
    if body.kind is SessionKind.INSTALLATION:
        if body.connection_id is not None:
            raise InvalidInput(
                "connection_id repairs a connection: kind must be 'connection'", field="connection_id"
            )
        return body.installation_id
    return body.connection_id


@router.post(
    "",
    status_code=201,
    operation_id="create_connect_session",
    responses=problems(
        "not_found",
        "provider_disabled",
        "provider_config_incomplete",
        "unsupported_kind",
        "installation_required",
        "connection_ended",
        "installation_ended",
        "tenant_erasing",
        "idempotency_in_progress",
        "idempotency_key_reused",
    ),
    **rule(ApiKeyRole.SERVER, Reach.TENANT),
)
async def create_connect_session(
    body: CreateConnectSession, caller: CallerDep, services: ServicesDep
) -> ConnectSessionObject:
    """Allow one browser to make, or repair, one connection or installation; send it to `url`.

    The link is good for one opening within 10 minutes.
    """
    caller.confine(body.tenant_id)
    wish = SessionWish(
        provider=body.provider,
        tenant_id=body.tenant_id,
        user_id=body.user_id,
        kind=body.kind,
        return_url=body.return_url,
        return_mode=body.return_mode,
        scopes=tuple(body.scopes),
        label=body.label,
        installation_id=body.installation_id if body.kind is SessionKind.CONNECTION else None,
        reconnect_id=_reconnects(body),
    )
    return await begin(services, caller, wish)


@router.get(
    "/{session_id}",
    operation_id="get_connect_session",
    responses=problems("not_found"),
    **rule(ApiKeyRole.VIEWER, Reach.TENANT),
)
async def get_connect_session(
    session_id: UUID, caller: CallerDep, services: ServicesDep
) -> ConnectSessionObject:
    """Get a connect session as it stands, with what it made."""
    connection = installation = None
    async with caller.scope(services.database) as transaction:
        session = await _found(transaction, caller, session_id)
        if session.connection_id is not None:
            connection = await transaction.connections.find(caller.environment_id, session.connection_id)
        if session.made_installation_id is not None:
            installation = await transaction.installations.find(
                caller.environment_id, session.made_installation_id
            )
    return session_object(session, connection=connection, installation=installation)


@router.post(
    "/{session_id}/complete",
    operation_id="complete_connect_session",
    responses=problems(
        "not_found",
        "completion_code_invalid",
        "completion_mismatch",
        "session_not_ready",
        "session_failed",
        "session_completed",
        "session_expired",
        "account_mismatch",
        "connection_exists",
        "connection_ended",
        "installation_claimed",
        "installation_ended",
        "tenant_erasing",
        "installation_required",
        "idempotency_in_progress",
        "idempotency_key_reused",
    ),
    **rule(ApiKeyRole.SERVER, Reach.TENANT),
)
async def complete_connect_session(
    session_id: UUID, body: CompleteConnectSession, caller: CallerDep, services: ServicesDep
) -> ConnectSessionObject:
    """Confirm, inside your own user's session, that this user finished; only then is anything connected.

    `tenant_id` and `user_id` must be those the session was made for. Otherwise nothing is connected, what
    the provider granted is given back, and the session is over.
    """
    caller.confine(body.tenant_id)
    # Of a session of another tenant nothing may be touched, as a completion that does not match would.
    async with caller.scope(services.database) as transaction:
        await _found(transaction, caller, session_id)
    completed = await services.completion.complete(
        caller.environment_id,
        session_id,
        completion_code=body.completion_code,
        tenant_id=body.tenant_id,
        user_id=body.user_id,
        origin=caller.origin,
    )
    return session_object(
        completed.session, connection=completed.connection, installation=completed.installation
    )
