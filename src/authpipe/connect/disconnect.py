"""Ending connections and installations: upstream first, then the credentials, then the record of it."""

from __future__ import annotations

import asyncio
from uuid import UUID

from authpipe.catalog.definition import RemovalEffect
from authpipe.connect.abandon import Abandonment, Upstreamed
from authpipe.credentials.contexts import refresh_context, secret_context
from authpipe.credentials.provider import Provider, Providers
from authpipe.credentials.refresh import LEASE
from authpipe.credentials.upstream import Held
from authpipe.domain.clock import Clock
from authpipe.domain.connection import Connection, ConnectionStatus, Installation, InstallationStatus
from authpipe.domain.credential import CredentialKind, CredentialSource, StoredCredential
from authpipe.domain.errors import ConfigurationError, NotFound, VaultError
from authpipe.domain.event import Origin, Outcome
from authpipe.events.record import record
from authpipe.events.types import EventType
from authpipe.store.database import Database
from authpipe.telemetry.logs import get_logger
from authpipe.vault.vault import Vault

_log = get_logger(__name__)

#: Seconds to wait for a refresh under way: ending it in the middle would leave new tokens nobody knows of.
_WAIT_FOR_REFRESH_S = 25.0
_POLL_S = 0.1


class Disconnection:
    """Disconnects.  What the provider does not confirm is recorded and stops nothing."""

    def __init__(
        self,
        *,
        database: Database,
        providers: Providers,
        vault: Vault,
        abandonment: Abandonment,
        clock: Clock,
    ) -> None:
        self._database = database
        self._providers = providers
        self._vault = vault
        self._abandonment = abandonment
        self._clock = clock

    async def connection(self, environment_id: UUID, connection_id: UUID, *, origin: Origin) -> Connection:
        """End a connection.  Doing it twice changes nothing.  Raises ``NotFound``."""
        async with self._database.environment(environment_id) as transaction:
            connection = await transaction.connections.find(environment_id, connection_id)
        if connection is None:
            raise NotFound("no such connection in this environment")
        if connection.status is ConnectionStatus.REVOKED:
            return connection
        provider = await self._providers.by_id(environment_id, connection.provider_config_id)
        credential = await self._hold(environment_id, connection.tenant_id, connection_id)
        upstream = Upstreamed.UNSUPPORTED
        if credential is not None:
            upstream = await self._revoke(provider, connection, credential)
        now = self._clock.now()
        async with self._database.tenant(environment_id, connection.tenant_id) as transaction:
            ended = await transaction.connections.set_status(
                environment_id,
                connection.tenant_id,
                connection_id,
                status=ConnectionStatus.REVOKED,
                reason="disconnected",
                at=now,
            )
            await transaction.credentials.destroy_owned(environment_id, connection.tenant_id, connection_id)
            if ended is not None:
                await record(
                    transaction,
                    EventType.CONNECTION_DISCONNECTED,
                    environment_id=environment_id,
                    tenant_id=connection.tenant_id,
                    object_kind="connection",
                    object_id=connection_id,
                    origin=origin,
                    at=now,
                    data={
                        "provider": connection.provider,
                        "user_id": connection.user_id,
                        "upstream": upstream.value,
                    },
                )
        return ended or connection

    async def installation(
        self, environment_id: UUID, installation_id: UUID, *, origin: Origin
    ) -> Installation:
        """Remove an installation; its users' connections follow the definition.  Raises ``NotFound``."""
        async with self._database.environment(environment_id) as transaction:
            installation = await transaction.installations.find(environment_id, installation_id)
        if installation is None:
            raise NotFound("no such installation in this environment")
        if installation.status is InstallationStatus.DELETED:
            return installation
        provider = await self._providers.by_id(environment_id, installation.provider_config_id)
        credential = await self._hold(environment_id, installation.tenant_id, installation_id)
        upstream = Upstreamed.UNSUPPORTED
        if credential is not None:
            upstream = await self._uninstall(provider, installation, credential)
        now = self._clock.now()
        place = (environment_id, installation.tenant_id, installation_id)
        async with self._database.tenant(environment_id, installation.tenant_id) as transaction:
            await transaction.installations.lock_claim(installation)
            ended = await transaction.installations.set_status(
                *place, status=InstallationStatus.DELETED, reason="disconnected", at=now
            )
            await transaction.credentials.destroy_owned(*place)
            if ended is not None:
                await transaction.installations.release(installation)
                await record(
                    transaction,
                    EventType.INSTALLATION_DELETED,
                    environment_id=environment_id,
                    tenant_id=installation.tenant_id,
                    object_kind="installation",
                    object_id=installation_id,
                    origin=origin,
                    at=now,
                    data={
                        "provider": installation.provider,
                        "external_id": installation.external_id,
                        "upstream": upstream.value,
                    },
                )
                side = provider.definition.connection
                if side is not None and side.on_installation_removed is RemovalEffect.NEED_REAUTH:
                    for connection in await transaction.connections.need_reauth_under(
                        *place, reason="installation_removed", at=now
                    ):
                        await record(
                            transaction,
                            EventType.CONNECTION_NEEDS_REAUTH,
                            environment_id=environment_id,
                            tenant_id=connection.tenant_id,
                            object_kind="connection",
                            object_id=connection.connection_id,
                            origin=origin,
                            at=now,
                            outcome=Outcome.FAILURE,
                            data={"provider": connection.provider, "reason": "installation_removed"},
                        )
        return ended or installation

    async def _hold(self, environment_id: UUID, tenant_id: str, owner_id: UUID) -> StoredCredential | None:
        """The owner's main credential, leased so that no refresh runs while it is being ended."""
        deadline = asyncio.get_running_loop().time() + _WAIT_FOR_REFRESH_S
        while True:
            now = self._clock.now()
            async with self._database.tenant(environment_id, tenant_id) as transaction:
                owned = await transaction.credentials.owned(environment_id, tenant_id, owner_id)
                main = [
                    credential for credential in owned if credential.kind is not CredentialKind.WEBHOOK_SECRET
                ]
                if not main:
                    return None
                held = await transaction.credentials.claim_one(
                    environment_id, tenant_id, main[0].credential_id, now=now, lease_until=now + LEASE
                )
            if held is not None:
                return held
            if asyncio.get_running_loop().time() > deadline:
                return main[0]
            await asyncio.sleep(_POLL_S)

    async def _revoke(
        self, provider: Provider, connection: Connection, credential: StoredCredential
    ) -> Upstreamed:
        held = await self._held(provider, credential, account_id=connection.account_id)
        if held is None:
            return Upstreamed.FAILED
        return await self._abandonment.authorization(
            provider, held, account_id=connection.account_id, apart_from=connection.connection_id
        )

    async def _uninstall(
        self, provider: Provider, installation: Installation, credential: StoredCredential
    ) -> Upstreamed:
        held = await self._held(provider, credential, external_id=installation.external_id)
        return Upstreamed.FAILED if held is None else await self._abandonment.workspace(provider, held)

    async def _held(
        self,
        provider: Provider,
        credential: StoredCredential,
        *,
        external_id: str | None = None,
        account_id: str | None = None,
    ) -> Held | None:
        """The credential in memory, or None when it cannot be read: that must not keep it from ending."""
        place = (credential.environment_id, credential.tenant_id, credential.credential_id)
        try:
            if credential.source is CredentialSource.PROVIDER_CONFIG:
                return Held(secret=await self._providers.app_credential(provider), external_id=external_id)
            if credential.secret_ciphertext is None:
                return None
            refresh = None
            if credential.refresh_ciphertext is not None:
                refresh = await self._vault.decrypt(credential.refresh_ciphertext, refresh_context(*place))
            return Held(
                secret=await self._vault.decrypt(credential.secret_ciphertext, secret_context(*place)),
                refresh_token=refresh,
                external_id=external_id,
                account_id=account_id,
            )
        except (VaultError, ConfigurationError) as error:
            _log.warning("a credential could not be revoked upstream", error=error.code, detail=error.detail)
            return None
