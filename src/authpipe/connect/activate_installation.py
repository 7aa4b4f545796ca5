"""From a grant to an installation, in the caller's transaction."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from authpipe.connect.sealed_grant import Place, SealedGrant, mismatch, store_credentials
from authpipe.credentials.provider import Provider
from authpipe.domain.connection import Installation, InstallationStatus
from authpipe.domain.errors import Conflict, ConnectError
from authpipe.domain.event import Origin
from authpipe.domain.identifiers import new_id
from authpipe.events.record import record
from authpipe.events.types import EventType
from authpipe.store.transaction import Transaction


async def activate_installation(
    transaction: Transaction,
    provider: Provider,
    sealed: SealedGrant,
    place: Place,
    *,
    origin: Origin,
    at: datetime,
) -> Installation:
    """The installation, new or repaired, with its credentials.

    Raises ``Conflict`` (``installation_claimed``: the workspace belongs to another tenant) and
    ``ConnectError`` (``account_mismatch``, ``installation_ended``).
    """
    config, grant = provider.config, sealed.grant
    wanted = Installation(
        installation_id=place.reconnect_id or new_id(),
        environment_id=config.environment_id,
        tenant_id=place.tenant_id,
        provider_config_id=config.provider_config_id,
        provider=config.provider,
        external_id=grant.account_id,
        external_name=grant.account_name,
        status=InstallationStatus.ACTIVE,
        status_reason=None,
        label=place.label,
        is_primary=False,
        installed_by=place.user_id,
        scopes=grant.scopes,
        metadata=grant.metadata,
        version=1,
        created_at=at,
        updated_at=at,
    )
    holder_tenant, holder_id = await transaction.installations.claim(wanted)
    if holder_tenant != place.tenant_id:
        raise Conflict(
            f"this workspace of {provider.definition.name} is already installed for another tenant",
            code="installation_claimed",
        )
    if place.reconnect_id is not None and holder_id != place.reconnect_id:
        raise mismatch(provider)
    existing = await transaction.installations.lock(config.environment_id, place.tenant_id, holder_id)
    gone = existing is None or existing.status is InstallationStatus.DELETED
    if gone and place.reconnect_id is not None:
        raise ConnectError("The installation does not exist any more.", code="installation_ended")
    if existing is None:
        installation = wanted
        await transaction.installations.add(wanted)
        adopted = await transaction.connections.adopt(
            config.environment_id,
            place.tenant_id,
            config.provider_config_id,
            installation_id=wanted.installation_id,
            at=at,
        )
        for connection in adopted:
            await record(
                transaction,
                EventType.CONNECTION_UPDATED,
                environment_id=config.environment_id,
                tenant_id=place.tenant_id,
                object_kind="connection",
                object_id=connection.connection_id,
                origin=origin,
                at=at,
                data={
                    "provider": config.provider,
                    "user_id": connection.user_id,
                    "installation_id": str(wanted.installation_id),
                },
            )
    else:
        if existing.external_id != grant.account_id:
            raise mismatch(provider)
        installation = await transaction.installations.update(
            replace(
                existing,
                external_name=grant.account_name,
                status=InstallationStatus.ACTIVE,
                status_reason=None,
                installed_by=place.user_id or existing.installed_by,
                scopes=grant.scopes,
                metadata={**existing.metadata, **grant.metadata},
            ),
            at=at,
        )
    await store_credentials(transaction, sealed, place.tenant_id, installation.installation_id)
    await record(
        transaction,
        EventType.INSTALLATION_CREATED if existing is None else EventType.INSTALLATION_RECONNECTED,
        environment_id=config.environment_id,
        tenant_id=place.tenant_id,
        object_kind="installation",
        object_id=installation.installation_id,
        origin=origin,
        at=at,
        data={
            "provider": config.provider,
            "external_id": grant.account_id,
            "scopes": list(grant.scopes),
            "installed_by": installation.installed_by,
        },
    )
    return installation
