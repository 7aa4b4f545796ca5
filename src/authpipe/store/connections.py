"""Connections of tenants and their users."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from authpipe.domain.connection import Connection, ConnectionStatus
from authpipe.domain.provider_config import ProviderConfig
from authpipe.store.records import read
from authpipe.store.repository import Repository


class Connections(Repository):
    """Rows keyed by environment, tenant and connection."""

    aggregate = "connections"

    async def add(self, connection: Connection) -> bool:
        """Store a new connection.  False when the user's slot (label) or primary place is taken."""
        return (
            await self._run(
                "insert",
                connection.environment_id,
                connection.tenant_id,
                connection.connection_id,
                connection.user_id,
                connection.provider_config_id,
                connection.provider,
                connection.installation_id,
                connection.status.value,
                connection.status_reason,
                connection.label,
                connection.is_primary,
                connection.account_id,
                connection.account_name,
                list(connection.scopes),
                dict(connection.metadata),
                connection.created_at,
            )
            == 1
        )

    async def get(self, environment_id: UUID, tenant_id: str, connection_id: UUID) -> Connection | None:
        """The connection, or None."""
        row = await self._one("get", environment_id, tenant_id, connection_id)
        return None if row is None else read(Connection, row)

    async def lock(self, environment_id: UUID, tenant_id: str, connection_id: UUID) -> Connection | None:
        """The connection, held until the transaction ends."""
        row = await self._one("lock", environment_id, tenant_id, connection_id)
        return None if row is None else read(Connection, row)

    async def find(self, environment_id: UUID, connection_id: UUID) -> Connection | None:
        """The connection of whichever tenant: environment-wide work."""
        row = await self._one("find", environment_id, connection_id)
        return None if row is None else read(Connection, row)

    async def for_slot(
        self,
        environment_id: UUID,
        tenant_id: str,
        provider_config_id: UUID,
        *,
        user_id: str | None,
        label: str | None,
    ) -> Connection | None:
        """The live connection of this user under this label, held until the transaction ends."""
        row = await self._one("for_slot", environment_id, tenant_id, provider_config_id, user_id, label)
        return None if row is None else read(Connection, row)

    async def page(
        self,
        environment_id: UUID,
        *,
        tenant_id: str | None = None,
        user_id: str | None = None,
        provider: str | None = None,
        status: str | None = None,
        installation_id: UUID | None = None,
        after: UUID | None = None,
        limit: int = 50,
    ) -> list[Connection]:
        """Up to ``limit`` connections, oldest first, that match every given filter."""
        rows = await self._all(
            "page", environment_id, tenant_id, user_id, provider, status, installation_id, after, limit
        )
        return [read(Connection, row) for row in rows]

    async def update(self, connection: Connection, *, at: datetime) -> Connection:
        """Write every changeable column of a row this transaction holds."""
        row = await self._one(
            "update",
            connection.environment_id,
            connection.tenant_id,
            connection.connection_id,
            connection.installation_id,
            connection.status.value,
            connection.status_reason,
            connection.label,
            connection.is_primary,
            connection.account_id,
            connection.account_name,
            list(connection.scopes),
            dict(connection.metadata),
            at,
        )
        if row is None:
            raise LookupError("the connection vanished while it was held")
        return read(Connection, row)

    async def set_status(
        self,
        environment_id: UUID,
        tenant_id: str,
        connection_id: UUID,
        *,
        status: ConnectionStatus,
        reason: str | None,
        at: datetime,
    ) -> Connection | None:
        """Change the status.  None when it already stands so, or the connection has ended."""
        row = await self._one(
            "set_status", environment_id, tenant_id, connection_id, status.value, reason, at
        )
        return None if row is None else read(Connection, row)

    async def make_primary(self, connection: Connection, *, at: datetime) -> list[Connection]:
        """Take the primary mark from the user's other connections of the provider, and return those."""
        rows = await self._all(
            "clear_primary",
            connection.environment_id,
            connection.tenant_id,
            connection.provider,
            connection.user_id,
            connection.connection_id,
            at,
        )
        return [read(Connection, row) for row in rows]

    async def account_is_shared(
        self,
        environment_id: UUID,
        provider_config_id: UUID,
        *,
        account_id: str | None,
        apart_from: UUID | None,
        candidate_id: UUID | None,
        now: datetime,
    ) -> bool:
        """Whether another active connection of any tenant stands on the same provider account, or a grant
        that waits for completion apart from ``candidate_id``.

        An unknown account counts as shared: cutting a stranger's connection is worse than leaving a grant.
        What belongs to a tenant that is being erased does not count.
        """
        return bool(
            await self._value(
                "shares_account",
                environment_id,
                provider_config_id,
                account_id,
                apart_from,
                candidate_id,
                now,
            )
        )

    async def account_is_shared_elsewhere(
        self, config: ProviderConfig, *, account_id: str | None, now: datetime
    ) -> bool:
        """As :meth:`account_is_shared`, of other environments with the same client at the same provider.

        System-wide work, which tells nothing but this.
        """
        return bool(
            await self._value(
                "shares_account_elsewhere",
                config.provider,
                config.client_id,
                config.base_url,
                config.environment_id,
                account_id,
                now,
            )
        )

    async def need_reauth_under(
        self, environment_id: UUID, tenant_id: str, installation_id: UUID, *, reason: str, at: datetime
    ) -> list[Connection]:
        """Mark the active connections under an installation, and return them."""
        rows = await self._all("under_installation", environment_id, tenant_id, installation_id, reason, at)
        return [read(Connection, row) for row in rows]

    async def adopt(
        self,
        environment_id: UUID,
        tenant_id: str,
        provider_config_id: UUID,
        *,
        installation_id: UUID,
        at: datetime,
    ) -> list[Connection]:
        """Place connections made before the tenant's first installation under it, and return them."""
        rows = await self._all("adopt", environment_id, tenant_id, provider_config_id, installation_id, at)
        return [read(Connection, row) for row in rows]
