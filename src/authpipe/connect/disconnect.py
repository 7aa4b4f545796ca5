"""Ending connections and installations: upstream first, then the credentials, then the record of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import datetime
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
from authpipe.store.transaction import Transaction
from authpipe.telemetry.logs import get_logger
from authpipe.vault.vault import Vault

_log = get_logger(__name__)

#: Seconds to wait for a refresh under way: ending it in the middle would leave new tokens nobody knows of.
_WAIT_FOR_REFRESH_S = 25.0
_POLL_S = 0.1
#: How often the credential may turn out to be another one than was revoked before it is ended all the same.
_MOST_ROUNDS = 5


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
        tried = _Tried()
        while True:
            tried.add(*await self.revoke(connection))
            with contextlib.suppress(_Reconnected):
                return await self._end_connection(connection, tried, origin)

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
        tried = _Tried()
        while True:
            tried.add(*await self.uninstall(installation))
            with contextlib.suppress(_Reconnected):
                return await self._end_installation(installation, tried, origin)

    async def revoke(self, connection: Connection) -> tuple[Upstreamed, StoredCredential | None]:
        """End a connection's authorization at the provider, and tell which credential that was.

        Nothing is changed here, but no refresh of the credential begins for the length of a lease, unless
        this fails.  Raises ``VaultUnavailable`` while the credential cannot be read.
        """
        provider = await self._providers.by_id(connection.environment_id, connection.provider_config_id)
        credential = await self._hold(
            connection.environment_id, connection.tenant_id, connection.connection_id
        )
        if credential is None:
            return Upstreamed.UNSUPPORTED, None
        async with self._given_back_on_failure(credential):
            held = await self._held(provider, credential, account_id=connection.account_id)
            if held is None:
                return Upstreamed.FAILED, credential
            done = await self._abandonment.authorization(
                provider, held, account_id=connection.account_id, apart_from=connection.connection_id
            )
        return done, credential

    async def uninstall(self, installation: Installation) -> tuple[Upstreamed, StoredCredential | None]:
        """Remove the app from an installation's workspace; otherwise as :meth:`revoke`."""
        provider = await self._providers.by_id(installation.environment_id, installation.provider_config_id)
        credential = await self._hold(
            installation.environment_id, installation.tenant_id, installation.installation_id
        )
        if credential is None:
            return Upstreamed.UNSUPPORTED, None
        async with self._given_back_on_failure(credential):
            held = await self._held(provider, credential, external_id=installation.external_id)
            if held is None:
                return Upstreamed.FAILED, credential
            return await self._abandonment.workspace(provider, held), credential

    async def _end_connection(self, connection: Connection, tried: _Tried, origin: Origin) -> Connection:
        now = self._clock.now()
        place = (connection.environment_id, connection.tenant_id, connection.connection_id)
        async with self._database.tenant(*place[:2]) as transaction:
            ended = await transaction.connections.set_status(
                *place, status=ConnectionStatus.REVOKED, reason="disconnected", at=now
            )
            tried.check(await transaction.credentials.destroy_owned(*place))
            if ended is not None:
                await record(
                    transaction,
                    EventType.CONNECTION_DISCONNECTED,
                    environment_id=connection.environment_id,
                    tenant_id=connection.tenant_id,
                    object_kind="connection",
                    object_id=connection.connection_id,
                    origin=origin,
                    at=now,
                    data={
                        "provider": connection.provider,
                        "user_id": connection.user_id,
                        "upstream": tried.outcome.value,
                    },
                )
        return ended or connection

    async def _end_installation(
        self, installation: Installation, tried: _Tried, origin: Origin
    ) -> Installation:
        provider = await self._providers.by_id(installation.environment_id, installation.provider_config_id)
        now = self._clock.now()
        place = (installation.environment_id, installation.tenant_id, installation.installation_id)
        async with self._database.tenant(*place[:2]) as transaction:
            await transaction.installations.lock_claim(installation)
            ended = await transaction.installations.set_status(
                *place, status=InstallationStatus.DELETED, reason="disconnected", at=now
            )
            tried.check(await transaction.credentials.destroy_owned(*place))
            if ended is not None:
                await transaction.installations.release(installation)
                await record(
                    transaction,
                    EventType.INSTALLATION_DELETED,
                    environment_id=installation.environment_id,
                    tenant_id=installation.tenant_id,
                    object_kind="installation",
                    object_id=installation.installation_id,
                    origin=origin,
                    at=now,
                    data={
                        "provider": installation.provider,
                        "external_id": installation.external_id,
                        "upstream": tried.outcome.value,
                    },
                )
                await self._end_under(transaction, provider, installation, origin=origin, at=now)
        return ended or installation

    @staticmethod
    async def _end_under(
        transaction: Transaction,
        provider: Provider,
        installation: Installation,
        *,
        origin: Origin,
        at: datetime,
    ) -> None:
        """What follows for the connections under a removed installation is the definition's word."""
        side = provider.definition.connection
        if side is None or side.on_installation_removed is not RemovalEffect.NEED_REAUTH:
            return
        reason = "installation_removed"
        place = (installation.environment_id, installation.tenant_id, installation.installation_id)
        for connection in await transaction.connections.need_reauth_under(*place, reason=reason, at=at):
            await record(
                transaction,
                EventType.CONNECTION_NEEDS_REAUTH,
                environment_id=connection.environment_id,
                tenant_id=connection.tenant_id,
                object_kind="connection",
                object_id=connection.connection_id,
                origin=origin,
                at=at,
                outcome=Outcome.FAILURE,
                data={"provider": connection.provider, "user_id": connection.user_id, "reason": reason},
            )

    async def _hold(self, environment_id: UUID, tenant_id: str, owner_id: UUID) -> StoredCredential | None:
        """The owner's main credential, leased so that no refresh runs while it is being ended."""
        deadline = asyncio.get_running_loop().time() + _WAIT_FOR_REFRESH_S
        while True:
            now = self._clock.now()
            async with self._database.tenant(environment_id, tenant_id) as transaction:
                owned = _main(await transaction.credentials.owned(environment_id, tenant_id, owner_id))
                if owned is None:
                    return None
                held = await transaction.credentials.claim_one(
                    environment_id, tenant_id, owned.credential_id, now=now, lease_until=now + LEASE
                )
            if held is not None:
                return held
            if asyncio.get_running_loop().time() > deadline:
                # Whoever has the lease keeps it.
                return replace(owned, lease=None)
            await asyncio.sleep(_POLL_S)

    @contextlib.asynccontextmanager
    async def _given_back_on_failure(self, credential: StoredCredential) -> AsyncIterator[None]:
        """Whoever tries again need not wait for the lease to run out."""
        try:
            yield
        except BaseException:
            with contextlib.suppress(Exception):
                async with self._database.tenant(
                    credential.environment_id, credential.tenant_id
                ) as transaction:
                    await transaction.credentials.release(credential)
            raise

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


class _Reconnected(Exception):
    """What is being destroyed is not what was revoked: a reconnect, or a late refresh, came between."""


class _Tried:
    """Which credentials were revoked, and how that went."""

    def __init__(self) -> None:
        self.outcome = Upstreamed.UNSUPPORTED
        self._rounds = 0
        self._last: StoredCredential | None = None

    def add(self, outcome: Upstreamed, credential: StoredCredential | None) -> None:
        """One more round.  One that found nothing tells nothing; a failure stays the outcome of them all."""
        if self._rounds == 0 or (credential is not None and self.outcome is not Upstreamed.FAILED):
            self.outcome = outcome
        self._last = credential
        self._rounds += 1

    def check(self, destroyed: Sequence[StoredCredential]) -> None:
        """Raise, so that nothing is destroyed yet, when this is not the credential that was revoked."""
        main = _main(destroyed)
        if main is None or (
            self._last is not None
            and (main.credential_id, main.version) == (self._last.credential_id, self._last.version)
        ):
            return
        if self._rounds < _MOST_ROUNDS:
            raise _Reconnected
        self.outcome = Upstreamed.FAILED


def _main(owned: Sequence[StoredCredential]) -> StoredCredential | None:
    """Of an owner's credentials the one that stands for its grant."""
    return next((each for each in owned if each.kind is not CredentialKind.WEBHOOK_SECRET), None)
