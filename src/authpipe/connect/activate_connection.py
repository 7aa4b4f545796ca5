"""From a grant to a connection, in the caller's transaction."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from uuid import UUID

from authpipe.catalog.definition import Side, SideName
from authpipe.connect.grant import AccountGrant
from authpipe.connect.sealed_grant import Place, SealedGrant, mismatch, store_credentials
from authpipe.credentials.provider import Provider
from authpipe.domain.connection import Connection, ConnectionStatus
from authpipe.domain.errors import Conflict, ConnectError
from authpipe.domain.event import Origin
from authpipe.domain.identifiers import new_id
from authpipe.domain.provider_config import Attachment
from authpipe.events.record import record
from authpipe.events.types import EventType
from authpipe.store.transaction import Transaction


async def activate_connection(
    transaction: Transaction,
    provider: Provider,
    sealed: SealedGrant,
    place: Place,
    *,
    origin: Origin,
    at: datetime,
) -> Connection:
    """The connection, new or repaired, with its credentials.

    Raises ``Conflict`` (``connection_exists``, ``installation_required``) and ``ConnectError``
    (``account_mismatch``, ``connection_ended``).
    """
    config, grant = provider.config, sealed.grant
    user_id = None if config.attachment is Attachment.TENANT else place.user_id
    existing = await _existing(transaction, provider, grant, place, user_id)
    installation_id = await _installation_for(
        transaction, provider, provider.side(SideName.CONNECTION), place, existing
    )
    if existing is None:
        connection = Connection(
            connection_id=new_id(),
            environment_id=config.environment_id,
            tenant_id=place.tenant_id,
            user_id=user_id,
            provider_config_id=config.provider_config_id,
            provider=config.provider,
            installation_id=installation_id,
            status=ConnectionStatus.ACTIVE,
            status_reason=None,
            label=place.label,
            is_primary=False,
            account_id=grant.account_id,
            account_name=grant.account_name,
            scopes=grant.scopes,
            metadata=grant.metadata,
            version=1,
            created_at=at,
            updated_at=at,
        )
        if not await transaction.connections.add(connection):
            raise _exists(provider)
    else:
        connection = await transaction.connections.update(
            replace(
                existing,
                installation_id=installation_id,
                status=ConnectionStatus.ACTIVE,
                status_reason=None,
                account_id=grant.account_id,
                account_name=grant.account_name,
                scopes=grant.scopes,
                metadata={**existing.metadata, **grant.metadata},
            ),
            at=at,
        )
    await store_credentials(transaction, sealed, place.tenant_id, connection.connection_id)
    await record(
        transaction,
        EventType.CONNECTION_CREATED if existing is None else EventType.CONNECTION_RECONNECTED,
        environment_id=config.environment_id,
        tenant_id=place.tenant_id,
        object_kind="connection",
        object_id=connection.connection_id,
        origin=origin,
        at=at,
        data={
            "provider": config.provider,
            "user_id": connection.user_id,
            "account_id": grant.account_id,
            "scopes": list(grant.scopes),
            "installation_id": None if installation_id is None else str(installation_id),
        },
    )
    return connection


async def _existing(
    transaction: Transaction,
    provider: Provider,
    grant: AccountGrant,
    place: Place,
    user_id: str | None,
) -> Connection | None:
    config = provider.config
    if place.reconnect_id is not None:
        existing = await transaction.connections.lock(
            config.environment_id, place.tenant_id, place.reconnect_id
        )
        if existing is None or existing.status is ConnectionStatus.REVOKED:
            raise ConnectError("The connection was disconnected meanwhile.", code="connection_ended")
        # A repair must not quietly put another account behind an id the application knows.
        if existing.account_id is not None and existing.account_id != grant.account_id:
            raise mismatch(provider)
        return existing
    existing = await transaction.connections.for_slot(
        config.environment_id,
        place.tenant_id,
        config.provider_config_id,
        user_id=user_id,
        label=place.label,
    )
    if existing is not None and existing.account_id not in (None, grant.account_id):
        raise _exists(provider)
    return existing


async def _installation_for(
    transaction: Transaction,
    provider: Provider,
    side: Side,
    place: Place,
    existing: Connection | None,
) -> UUID | None:
    """Where a connection stands: the installation named, the one it had, or the tenant's first."""
    if provider.definition.installation is None:
        return None
    live = await transaction.installations.live(
        provider.config.environment_id, place.tenant_id, provider.config.provider_config_id
    )
    ids = [installation.installation_id for installation in live]
    for wished in (place.installation_id, existing.installation_id if existing else None):
        if wished in ids:
            return wished
    if not ids and side.requires_installation:
        raise Conflict(
            f"{provider.definition.name} is not installed for this tenant any more",
            code="installation_required",
        )
    return ids[0] if ids else None


def _exists(provider: Provider) -> Conflict:
    return Conflict(
        f"another {provider.definition.name} account is connected in this place: "
        "disconnect it first, or connect this one under a label",
        code="connection_exists",
    )
