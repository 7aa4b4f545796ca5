"""Installations, and the claims that keep each workspace with one tenant."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from authpipe.domain.connection import Installation, InstallationStatus
from authpipe.domain.provider_config import ProviderConfig
from authpipe.store.records import read
from authpipe.store.repository import Repository


class Installations(Repository):
    """Rows keyed by environment, tenant and installation; claims keyed by the provider's own id."""

    aggregate = "installations"

    async def claim(self, installation: Installation) -> tuple[str, UUID]:
        """Claim the workspace for this tenant, or learn who holds it.

        Returns tenant and installation id of the holder; a caller who finds its own ids holds the claim.
        The claim row is locked until the transaction ends.
        """
        row = await self._one(
            "claim",
            installation.environment_id,
            installation.provider_config_id,
            installation.external_id,
            installation.tenant_id,
            installation.installation_id,
        )
        if row is None:
            raise LookupError("an upsert returned nothing")
        return row["tenant_id"], row["installation_id"]

    async def claimed_by(
        self, environment_id: UUID, provider_config_id: UUID, external_id: str
    ) -> tuple[str, UUID] | None:
        """Tenant and installation that hold a workspace, or None."""
        row = await self._one("claimed_by", environment_id, provider_config_id, external_id)
        return None if row is None else (row["tenant_id"], row["installation_id"])

    async def claimed_elsewhere(self, config: ProviderConfig, external_id: str) -> bool:
        """Whether an installation there stands in another environment with the same client.

        System-wide work, which tells nothing but this.
        """
        return bool(
            await self._value(
                "claimed_elsewhere",
                config.provider,
                config.client_id,
                config.base_url,
                config.environment_id,
                external_id,
            )
        )

    async def lock_claim(self, installation: Installation) -> None:
        """Hold the claim until the transaction ends: always before the installation's own row."""
        await self._one(
            "lock_claim",
            installation.environment_id,
            installation.provider_config_id,
            installation.external_id,
        )

    async def release(self, installation: Installation) -> None:
        """Give up the claim, so that another tenant may install there."""
        await self._run(
            "release",
            installation.environment_id,
            installation.provider_config_id,
            installation.external_id,
            installation.installation_id,
        )

    async def add(self, installation: Installation) -> None:
        """Store a new installation."""
        await self._run(
            "insert",
            installation.environment_id,
            installation.tenant_id,
            installation.installation_id,
            installation.provider_config_id,
            installation.provider,
            installation.external_id,
            installation.external_name,
            installation.status.value,
            installation.status_reason,
            installation.label,
            installation.is_primary,
            installation.installed_by,
            list(installation.scopes),
            dict(installation.metadata),
            installation.created_at,
        )

    async def get(self, environment_id: UUID, tenant_id: str, installation_id: UUID) -> Installation | None:
        """The installation, or None."""
        row = await self._one("get", environment_id, tenant_id, installation_id)
        return None if row is None else read(Installation, row)

    async def lock(self, environment_id: UUID, tenant_id: str, installation_id: UUID) -> Installation | None:
        """The installation, held until the transaction ends."""
        row = await self._one("lock", environment_id, tenant_id, installation_id)
        return None if row is None else read(Installation, row)

    async def find(self, environment_id: UUID, installation_id: UUID) -> Installation | None:
        """The installation of whichever tenant: environment-wide work."""
        row = await self._one("find", environment_id, installation_id)
        return None if row is None else read(Installation, row)

    async def live(
        self, environment_id: UUID, tenant_id: str, provider_config_id: UUID
    ) -> list[Installation]:
        """The tenant's installations through one config that were not deleted, the primary one first."""
        rows = await self._all("live", environment_id, tenant_id, provider_config_id)
        return [read(Installation, row) for row in rows]

    async def page(
        self,
        environment_id: UUID,
        *,
        tenant_id: str | None = None,
        provider: str | None = None,
        status: str | None = None,
        after: UUID | None = None,
        limit: int = 50,
    ) -> list[Installation]:
        """Up to ``limit`` installations, oldest first, that match every given filter."""
        rows = await self._all("page", environment_id, tenant_id, provider, status, after, limit)
        return [read(Installation, row) for row in rows]

    async def update(self, installation: Installation, *, at: datetime) -> Installation:
        """Write every changeable column of a row this transaction holds."""
        row = await self._one(
            "update",
            installation.environment_id,
            installation.tenant_id,
            installation.installation_id,
            installation.external_name,
            installation.status.value,
            installation.status_reason,
            installation.label,
            installation.is_primary,
            installation.installed_by,
            list(installation.scopes),
            dict(installation.metadata),
            at,
        )
        if row is None:
            raise LookupError("the installation vanished while it was held")
        return read(Installation, row)

    async def set_status(
        self,
        environment_id: UUID,
        tenant_id: str,
        installation_id: UUID,
        *,
        status: InstallationStatus,
        reason: str | None,
        at: datetime,
    ) -> Installation | None:
        """Change the status.  None when it already stands so, or the installation is deleted."""
        row = await self._one(
            "set_status", environment_id, tenant_id, installation_id, status.value, reason, at
        )
        return None if row is None else read(Installation, row)

    async def make_primary(self, installation: Installation, *, at: datetime) -> list[Installation]:
        """Take the primary mark from the tenant's other installations of the provider, and return those."""
        rows = await self._all(
            "clear_primary",
            installation.environment_id,
            installation.tenant_id,
            installation.provider,
            installation.installation_id,
            at,
        )
        return [read(Installation, row) for row in rows]
