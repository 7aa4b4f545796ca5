"""Storing a credential without a browser: a key the application already has, or a webhook secret."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from authpipe.catalog.definition import SideName
from authpipe.connect.activate_connection import activate_connection
from authpipe.connect.identify import Identification
from authpipe.connect.key_form import read_key_fields
from authpipe.connect.sealed_grant import Place, Sealing
from authpipe.credentials.grants import Grant, Granting
from authpipe.credentials.provider import Providers
from authpipe.domain.clock import Clock
from authpipe.domain.connection import Connection, Installation, InstallationStatus
from authpipe.domain.credential import CredentialKind, OwnerKind
from authpipe.domain.errors import Conflict, ConnectError, InvalidInput, NotFound, ProviderUnavailable
from authpipe.domain.event import Origin
from authpipe.domain.identifiers import check_opaque_id
from authpipe.domain.provider_config import Attachment
from authpipe.domain.secret import Secret
from authpipe.events.record import record
from authpipe.events.types import EventType
from authpipe.store.database import Database


class DirectStorage:
    """For backends that hold a customer's key already; it is probed as one entered by hand is."""

    def __init__(
        self,
        *,
        database: Database,
        providers: Providers,
        identification: Identification,
        sealing: Sealing,
        granting: Granting,
        clock: Clock,
    ) -> None:
        self._database = database
        self._providers = providers
        self._identification = identification
        self._sealing = sealing
        self._granting = granting
        self._clock = clock

    async def key(
        self,
        environment_id: UUID,
        *,
        provider: str,
        tenant_id: str,
        user_id: str | None,
        label: str | None,
        fields: Mapping[str, Secret],
        origin: Origin,
    ) -> Connection:
        """The connection a key makes, new or with the key replaced.

        Raises ``InvalidInput`` (naming the field), ``Conflict``, ``NotFound``, ``ProviderUnavailable``.
        """
        check_opaque_id(tenant_id, field="tenant_id")
        if user_id is not None:
            check_opaque_id(user_id, field="user_id")
        joined = await self._providers.by_name(environment_id, provider)
        side = joined.side(SideName.CONNECTION)
        joined.check_enabled()
        if not side.key_fields:
            raise InvalidInput(
                f"{joined.definition.name} is connected through a connect session, not with a key",
                field="provider",
            )
        if user_id is None and joined.config.attachment is Attachment.USER:
            raise InvalidInput("user_id is needed: connections belong to users here", field="user_id")
        secret, facts = read_key_fields(side, fields)
        try:
            grant = await self._identification.of_key(
                joined, SideName.CONNECTION, secret, facts, received_at=self._clock.now()
            )
        except ConnectError as error:
            if error.code == "provider_unavailable":
                raise ProviderUnavailable(error.message, detail=error.detail) from None
            raise InvalidInput(error.message, field="fields") from None
        await self._ensure_tenant(environment_id, tenant_id, origin)
        sealed = await self._sealing.seal(joined, SideName.CONNECTION, grant, tenant_id=tenant_id)
        now = self._clock.now()
        async with self._database.tenant(environment_id, tenant_id) as transaction:
            await transaction.tenants.keep(environment_id, tenant_id)
            return await activate_connection(
                transaction,
                joined,
                sealed,
                Place(tenant_id=tenant_id, user_id=user_id, label=label),
                origin=origin,
                at=now,
            )

    async def _ensure_tenant(self, environment_id: UUID, tenant_id: str, origin: Origin) -> None:
        """A tenant's keyset is made for a tenant that exists."""
        now = self._clock.now()
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

    async def webhook_secret(
        self, environment_id: UUID, installation_id: UUID, secret: Secret, *, origin: Origin
    ) -> Installation:
        """Keep a webhook's address or secret beside an installation, in place of an earlier one.

        Raises ``NotFound`` and ``Conflict`` (``installation_ended``, ``tenant_erasing``).
        """
        if not secret:
            raise InvalidInput("secret is empty", field="secret")
        async with self._database.environment(environment_id) as transaction:
            installation = await transaction.installations.find(environment_id, installation_id)
        if installation is None:
            raise NotFound("no such installation in this environment")
        provider = await self._providers.by_id(environment_id, installation.provider_config_id)
        now = self._clock.now()
        credential = await self._granting.credential(
            Grant(kind=CredentialKind.WEBHOOK_SECRET, secret=secret, facts={}),
            config=provider.config,
            tenant_id=installation.tenant_id,
            owner_kind=OwnerKind.INSTALLATION,
            owner_id=installation_id,
            issued_at=now,
        )
        async with self._database.tenant(environment_id, installation.tenant_id) as transaction:
            # Held, so that it cannot be removed while the secret is written.
            held = await transaction.installations.lock(
                environment_id, installation.tenant_id, installation_id
            )
            if held is None or held.status is InstallationStatus.DELETED:
                raise Conflict("the installation was removed", code="installation_ended")
            await transaction.credentials.destroy_kind(
                environment_id, installation.tenant_id, installation_id, CredentialKind.WEBHOOK_SECRET
            )
            await transaction.credentials.put(credential, facts={})
            await record(
                transaction,
                EventType.CREDENTIAL_STORED,
                environment_id=environment_id,
                tenant_id=installation.tenant_id,
                object_kind="credential",
                object_id=credential.credential_id,
                origin=origin,
                at=now,
                data={
                    "provider": installation.provider,
                    "installation_id": str(installation_id),
                    "kind": CredentialKind.WEBHOOK_SECRET.value,
                },
            )
        return installation
