"""Environments, their API keys and their tenants."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from authpipe.domain.environment import ApiKey, Environment, Tenant
from authpipe.store.erasures import tenant_erasing
from authpipe.store.records import read
from authpipe.store.repository import Repository


class Environments(Repository):
    """Partitions of the workspace.  Listing them is system-wide work; the rest is environment-wide."""

    aggregate = "environments"

    async def add(self, environment: Environment) -> bool:
        """Store a new environment.  False when the name is taken."""
        return (
            await self._run(
                "insert",
                environment.environment_id,
                environment.name,
                environment.kind.value,
                list(environment.return_urls),
                list(environment.origins),
                environment.created_at,
            )
            == 1
        )

    async def get(self, environment_id: UUID) -> Environment | None:
        """The environment, or None."""
        row = await self._one("get", environment_id)
        return None if row is None else read(Environment, row)

    async def by_name(self, name: str) -> Environment | None:
        """The environment of that name, or None."""
        row = await self._one("by_name", name)
        return None if row is None else read(Environment, row)

    async def all(self) -> list[Environment]:
        """Every environment, oldest first."""
        return [read(Environment, row) for row in await self._all("all")]

    async def update(
        self, environment_id: UUID, *, return_urls: Sequence[str], origins: Sequence[str]
    ) -> Environment | None:
        """Replace both allow-lists."""
        row = await self._one("update", environment_id, list(return_urls), list(origins))
        return None if row is None else read(Environment, row)


class ApiKeys(Repository):
    """API keys, by SHA-256 of their text.  Lookup by hash is system-wide work."""

    aggregate = "api_keys"

    async def add(self, key: ApiKey, *, key_hash: bytes) -> None:
        """Store a new key."""
        await self._run(
            "insert",
            key.environment_id,
            key.api_key_id,
            key.name,
            key.prefix,
            key_hash,
            key.role.value,
            key.tenant_id,
            key.created_at,
            key.expires_at,
        )

    async def all(self, environment_id: UUID) -> list[ApiKey]:
        """The environment's keys, oldest first, revoked ones included."""
        return [read(ApiKey, row) for row in await self._all("all", environment_id)]

    async def get(self, environment_id: UUID, api_key_id: UUID) -> ApiKey | None:
        """The key, or None."""
        row = await self._one("get", environment_id, api_key_id)
        return None if row is None else read(ApiKey, row)

    async def lock(self, environment_id: UUID, api_key_id: UUID) -> ApiKey | None:
        """The key, held until the transaction ends; or None."""
        row = await self._one("lock", environment_id, api_key_id)
        return None if row is None else read(ApiKey, row)

    async def by_hash(self, key_hash: bytes) -> ApiKey | None:
        """The key whose text has this digest, revoked or not."""
        row = await self._one("by_hash", key_hash)
        return None if row is None else read(ApiKey, row)

    async def revoke(self, environment_id: UUID, api_key_id: UUID, *, at: datetime) -> ApiKey | None:
        """End a key for good and tell every replica.  Doing it twice keeps the first time."""
        row = await self._one("revoke", environment_id, api_key_id, at)
        if row is None:
            return None
        await self._value("announce", str(api_key_id))
        return read(ApiKey, row)

    async def replace(
        self, environment_id: UUID, api_key_id: UUID, *, replaced_by: UUID, expires_at: datetime
    ) -> None:
        """Name a key's successor and the moment it ends itself, and tell every replica."""
        await self._run("replace", environment_id, api_key_id, replaced_by, expires_at)
        await self._value("announce", str(api_key_id))

    async def touch(
        self, environment_id: UUID, api_key_id: UUID, *, at: datetime, unless_since: datetime
    ) -> None:
        """Note that a key was used, unless that was noted after ``unless_since``."""
        await self._run("touch", environment_id, api_key_id, at, unless_since)


class Tenants(Repository):
    """Tenants of an environment."""

    aggregate = "tenants"

    async def ensure(self, environment_id: UUID, tenant_id: str, *, at: datetime) -> bool:
        """Make sure the tenant exists, and keep it until the transaction ends.  True when this created it.

        Raises ``Conflict`` (``tenant_erasing``).
        """
        while True:
            created = await self._run("ensure", environment_id, tenant_id, at) == 1
            kept = await self._one("keep", environment_id, tenant_id)
            # Otherwise an erasure ended between the two statements: the id is free again.
            if kept is not None:
                if kept["erasing_at"] is not None:
                    raise tenant_erasing()
                return created

    async def keep(self, environment_id: UUID, tenant_id: str) -> None:
        """Until the transaction ends, an erasure of the tenant cannot begin.

        Raises ``Conflict`` (``tenant_erasing``) when one has begun, or has ended.
        """
        kept = await self._one("keep", environment_id, tenant_id)
        if kept is None or kept["erasing_at"] is not None:
            raise tenant_erasing()

    async def lock(self, environment_id: UUID, tenant_id: str) -> Tenant | None:
        """The tenant, once everybody who keeps it is done; nobody keeps it until the transaction ends."""
        row = await self._one("lock", environment_id, tenant_id)
        return None if row is None else read(Tenant, row)

    async def put(self, environment_id: UUID, tenant_id: str, *, name: str | None, at: datetime) -> Tenant:
        """Create the tenant or change its name.  Raises ``Conflict`` (``tenant_erasing``)."""
        row = await self._one("put", environment_id, tenant_id, name, at)
        if row is None:
            raise tenant_erasing()
        return read(Tenant, row)

    async def get(self, environment_id: UUID, tenant_id: str) -> Tenant | None:
        """The tenant, or None."""
        row = await self._one("get", environment_id, tenant_id)
        return None if row is None else read(Tenant, row)

    async def page(self, environment_id: UUID, *, after: str, limit: int) -> list[Tenant]:
        """Up to ``limit`` tenants whose ids sort after ``after``."""
        return [read(Tenant, row) for row in await self._all("page", environment_id, after, limit)]
