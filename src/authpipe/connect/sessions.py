"""Minting connect sessions: what the application's backend may ask for, checked before a link exists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from authpipe.catalog.definition import SideName
from authpipe.connect.one_time import SESSION_LIFETIME, digest, new_value
from authpipe.connect.scopes import check_scopes, requested_scopes
from authpipe.credentials.provider import Provider, Providers
from authpipe.domain.clock import Clock
from authpipe.domain.connect_session import ConnectSession, ReturnMode, SessionKind, SessionStatus
from authpipe.domain.connection import Connection, ConnectionStatus, Installation, InstallationStatus
from authpipe.domain.errors import Conflict, InvalidInput, NotFound
from authpipe.domain.event import Origin
from authpipe.domain.identifiers import check_opaque_id, new_id
from authpipe.domain.provider_config import Attachment
from authpipe.domain.secret import Secret
from authpipe.events.record import record
from authpipe.events.types import EventType
from authpipe.store.database import Database
from authpipe.telemetry import traces
from authpipe.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionWish:
    """What the backend asks for.  ``return_url`` was checked against the environment's allow-list.

    ``reconnect_id`` names the connection or installation to repair; it decides tenant, user and label.
    """

    provider: str
    tenant_id: str
    user_id: str | None
    kind: SessionKind
    return_url: str
    return_mode: ReturnMode = ReturnMode.REDIRECT
    scopes: Sequence[str] = ()
    label: str | None = None
    installation_id: UUID | None = None
    reconnect_id: UUID | None = None


class ConnectSessions:
    """Creates sessions."""

    def __init__(self, *, database: Database, providers: Providers, clock: Clock, metrics: Metrics) -> None:
        self._database = database
        self._providers = providers
        self._clock = clock
        self._metrics = metrics

    async def create(
        self, environment_id: UUID, wish: SessionWish, *, origin: Origin
    ) -> tuple[ConnectSession, Secret]:
        """A pending session and the token of its link, which is shown this once.

        Raises ``InvalidInput`` (naming the field), ``NotFound`` and ``Conflict``.
        """
        with traces.span("connect.mint", provider=wish.provider) as span:
            session, token = await self._create(environment_id, wish, origin)
            span.set(connect_session_id=session.session_id)
            return session, token

    async def _create(
        self, environment_id: UUID, wish: SessionWish, origin: Origin
    ) -> tuple[ConnectSession, Secret]:
        tenant_id = check_opaque_id(wish.tenant_id, field="tenant_id")
        if wish.user_id is not None:
            check_opaque_id(wish.user_id, field="user_id")
        provider = await self._providers.by_name(environment_id, wish.provider)
        side_name = SideName(wish.kind.value)
        side = provider.side(side_name)
        self._check(provider, wish)
        scopes = requested_scopes(
            provider, side_name, check_scopes(provider, side_name, wish.scopes, field="scopes")
        )
        now = self._clock.now()
        token = new_value()
        session = ConnectSession(
            session_id=new_id(),
            environment_id=environment_id,
            tenant_id=tenant_id,
            user_id=wish.user_id,
            kind=wish.kind,
            provider_config_id=provider.config.provider_config_id,
            provider=provider.config.provider,
            status=SessionStatus.PENDING,
            scopes=scopes,
            label=wish.label,
            installation_id=wish.installation_id,
            reconnect_id=wish.reconnect_id,
            return_mode=wish.return_mode,
            return_url=wish.return_url,
            browser_hash=None,
            error_code=None,
            connection_id=None,
            made_installation_id=None,
            expires_at=now + SESSION_LIFETIME,
            created_at=now,
            updated_at=now,
        )
        async with self._database.tenant(environment_id, tenant_id) as transaction:
            if await transaction.tenants.ensure(environment_id, tenant_id, at=now):
                await record(
                    transaction,
                    EventType.TENANT_CREATED,
                    environment_id=environment_id,
                    tenant_id=tenant_id,
                    object_kind="tenant",
                    object_id=tenant_id,
                    origin=origin,
                    at=now,
                )
            if wish.reconnect_id is not None:
                if wish.kind is SessionKind.CONNECTION:
                    self._check_connection(
                        await transaction.connections.get(environment_id, tenant_id, wish.reconnect_id),
                        provider,
                        wish,
                    )
                else:
                    self._check_installation(
                        await transaction.installations.get(environment_id, tenant_id, wish.reconnect_id),
                        provider,
                    )
            elif wish.kind is SessionKind.CONNECTION:
                live = await transaction.installations.live(
                    environment_id, tenant_id, provider.config.provider_config_id
                )
                if wish.installation_id is not None and wish.installation_id not in {
                    installation.installation_id for installation in live
                }:
                    raise NotFound("installation_id: this tenant has no such installation")
                if side.requires_installation and not live:
                    raise Conflict(
                        f"{provider.definition.name} must be installed for this tenant first: "
                        "start a connect session of kind installation",
                        code="installation_required",
                    )
            await transaction.sessions.add(session, token_hash=digest(token))
            await record(
                transaction,
                EventType.CONNECT_SESSION_CREATED,
                environment_id=environment_id,
                tenant_id=tenant_id,
                object_kind="connect_session",
                object_id=session.session_id,
                origin=origin,
                at=now,
                data={
                    "provider": session.provider,
                    "kind": session.kind.value,
                    "user_id": session.user_id,
                    "scopes": list(scopes),
                },
            )
        self._metrics.connect_sessions.labels(session.provider, "created").inc()
        return session, token

    def _check(self, provider: Provider, wish: SessionWish) -> None:
        config = provider.config
        provider.check_enabled()
        if provider.definition.oauth is not None and config.client_id is None:
            raise Conflict(
                f"the provider config for {config.provider} has no client_id: set it",
                code="provider_config_incomplete",
            )
        if (
            wish.kind is SessionKind.CONNECTION
            and wish.user_id is None
            and config.attachment is Attachment.USER
        ):
            raise InvalidInput(
                f"user_id is needed: connections to {provider.definition.name} belong to users here",
                field="user_id",
            )
        if wish.kind is SessionKind.INSTALLATION and wish.installation_id is not None:
            raise InvalidInput(
                "installation_id places a connection; to repair an installation use reconnect",
                field="installation_id",
            )

    @staticmethod
    def _check_connection(connection: Connection | None, provider: Provider, wish: SessionWish) -> None:
        if connection is None or connection.provider_config_id != provider.config.provider_config_id:
            raise NotFound("this tenant has no such connection to the provider")
        if connection.status is ConnectionStatus.REVOKED:
            raise Conflict("the connection was disconnected: connect anew", code="connection_ended")
        if connection.user_id is not None and connection.user_id != wish.user_id:
            raise InvalidInput("user_id must be that of the connection", field="user_id")

    @staticmethod
    def _check_installation(installation: Installation | None, provider: Provider) -> None:
        if installation is None or installation.provider_config_id != provider.config.provider_config_id:
            raise NotFound("this tenant has no such installation of the provider")
        if installation.status is InstallationStatus.DELETED:
            raise Conflict("the installation was removed: install anew", code="installation_ended")
