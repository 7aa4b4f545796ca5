"""From a grant to a connection or installation, in the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from authpipe.catalog.definition import Side, SideName
from authpipe.connect.grant import AccountGrant
from authpipe.credentials.grants import Grant, Granting
from authpipe.credentials.provider import Provider
from authpipe.domain.clock import Clock
from authpipe.domain.connection import Connection, ConnectionStatus, Installation, InstallationStatus
from authpipe.domain.credential import CredentialSource, OwnerKind, StoredCredential
from authpipe.domain.errors import Conflict, ConnectError
from authpipe.domain.event import Origin
from authpipe.domain.identifiers import new_id
from authpipe.domain.provider_config import Attachment
from authpipe.events.record import record
from authpipe.events.types import EventType
from authpipe.store.transaction import Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a grant goes.  ``reconnect_id`` names the object to repair, which keeps its id."""

    tenant_id: str
    user_id: str | None
    label: str | None = None
    installation_id: UUID | None = None
    reconnect_id: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedGrant:
    """A grant whose credentials are encrypted and wait for their owner."""

    grant: AccountGrant
    credentials: Sequence[tuple[StoredCredential, dict[str, object]]]


class Activation:
    """Makes or repairs.  :meth:`seal` comes first, outside the transaction, because encrypting may wait."""

    def __init__(self, *, granting: Granting, clock: Clock) -> None:
        self._granting = granting
        self._clock = clock

    async def seal(
        self, provider: Provider, side_name: SideName, grant: AccountGrant, *, tenant_id: str
    ) -> SealedGrant:
        """Encrypt every secret of the grant for this tenant."""
        side = provider.side(side_name)
        own = side.source is CredentialSource.OWN
        parts = [
            Grant(
                kind=side.credential,
                secret=grant.secret if own else None,
                refresh_token=grant.refresh_token if own else None,
                scopes=grant.scopes,
                facts=grant.facts,
                expires_at=grant.expires_at if own else None,
                refresh_expires_at=grant.refresh_expires_at if own else None,
                refresh=side.refresh,
            ),
            *(Grant(kind=extra.kind, secret=extra.secret, facts=extra.facts) for extra in grant.extras),
        ]
        owner_kind = OwnerKind(side_name.value)
        placeless = new_id()
        return SealedGrant(
            grant=grant,
            credentials=[
                (
                    await self._granting.credential(
                        part,
                        config=provider.config,
                        tenant_id=tenant_id,
                        owner_kind=owner_kind,
                        owner_id=placeless,
                        issued_at=grant.issued_at,
                    ),
                    dict(part.facts),
                )
                for part in parts
            ],
        )

    async def connection(
        self,
        transaction: Transaction,
        provider: Provider,
        sealed: SealedGrant,
        place: Place,
        *,
        origin: Origin,
    ) -> Connection:
        """The connection, new or repaired, with its credentials.

        Raises ``Conflict`` (``connection_exists``, ``installation_required``) and ``ConnectError``
        (``account_mismatch``, ``connection_ended``).
        """
        config, now, grant = provider.config, self._clock.now(), sealed.grant
        user_id = None if config.attachment is Attachment.TENANT else place.user_id
        existing = await self._existing_connection(transaction, provider, grant, place, user_id)
        installation_id = await self._installation_for(
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
                created_at=now,
                updated_at=now,
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
                at=now,
            )
        await self._store(transaction, sealed, place.tenant_id, connection.connection_id)
        await record(
            transaction,
            EventType.CONNECTION_CREATED if existing is None else EventType.CONNECTION_RECONNECTED,
            environment_id=config.environment_id,
            tenant_id=place.tenant_id,
            object_kind="connection",
            object_id=connection.connection_id,
            origin=origin,
            at=now,
            data={
                "provider": config.provider,
                "user_id": connection.user_id,
                "account_id": grant.account_id,
                "scopes": list(grant.scopes),
                "installation_id": None if installation_id is None else str(installation_id),
            },
        )
        return connection

    async def installation(
        self,
        transaction: Transaction,
        provider: Provider,
        sealed: SealedGrant,
        place: Place,
        *,
        origin: Origin,
    ) -> Installation:
        """The installation, new or repaired, with its credentials.

        Raises ``Conflict`` (``installation_claimed``: the workspace belongs to another tenant) and
        ``ConnectError`` (``account_mismatch``, ``installation_ended``).
        """
        config, now, grant = provider.config, self._clock.now(), sealed.grant
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
            created_at=now,
            updated_at=now,
        )
        holder_tenant, holder_id = await transaction.installations.claim(wanted)
        if holder_tenant != place.tenant_id:
            raise Conflict(
                f"this workspace of {provider.definition.name} is already installed for another tenant",
                code="installation_claimed",
            )
        if place.reconnect_id is not None and holder_id != place.reconnect_id:
            raise _mismatch(provider)
        existing = await transaction.installations.lock(config.environment_id, place.tenant_id, holder_id)
        if existing is None and place.reconnect_id is not None:
            raise ConnectError("The installation does not exist any more.", code="installation_ended")
        if existing is None:
            installation = wanted
            await transaction.installations.add(wanted)
            await transaction.connections.adopt(
                config.environment_id,
                place.tenant_id,
                config.provider_config_id,
                installation_id=wanted.installation_id,
                at=now,
            )
        else:
            if existing.external_id != grant.account_id:
                raise _mismatch(provider)
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
                at=now,
            )
        await self._store(transaction, sealed, place.tenant_id, installation.installation_id)
        await record(
            transaction,
            EventType.INSTALLATION_CREATED if existing is None else EventType.INSTALLATION_RECONNECTED,
            environment_id=config.environment_id,
            tenant_id=place.tenant_id,
            object_kind="installation",
            object_id=installation.installation_id,
            origin=origin,
            at=now,
            data={
                "provider": config.provider,
                "external_id": grant.account_id,
                "scopes": list(grant.scopes),
                "installed_by": installation.installed_by,
            },
        )
        return installation

    async def _existing_connection(
        self,
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
                raise _mismatch(provider)
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
        self,
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

    async def _store(
        self, transaction: Transaction, sealed: SealedGrant, tenant_id: str, owner_id: UUID
    ) -> None:
        for credential, facts in sealed.credentials:
            # Only what is replaced: a webhook made by an earlier installation goes on working.
            await transaction.credentials.destroy_kind(
                credential.environment_id, tenant_id, owner_id, credential.kind
            )
            await transaction.credentials.put(replace(credential, owner_id=owner_id), facts=facts)


def _exists(provider: Provider) -> Conflict:
    return Conflict(
        f"another {provider.definition.name} account is connected in this place: "
        "disconnect it first, or connect this one under a label",
        code="connection_exists",
    )


def _mismatch(provider: Provider) -> ConnectError:
    return ConnectError(
        f"This is another {provider.definition.name} account than the one to be repaired.",
        code="account_mismatch",
    )
