"""Provider configs: environment-wide rows whose secrets are ciphertext."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from authpipe.domain.provider_config import ProviderConfig
from authpipe.store.records import read
from authpipe.store.repository import Repository


class ProviderConfigs(Repository):
    """One row per provider and environment.  Every change is announced to the other replicas."""

    aggregate = "provider_configs"

    async def add(self, config: ProviderConfig) -> bool:
        """Store a new config.  False when the environment already has one for the provider."""
        return (
            await self._run(
                "insert",
                config.environment_id,
                config.provider_config_id,
                config.provider,
                config.enabled,
                config.client_id,
                config.client_secret_ciphertext,
                config.app_credential_ciphertext,
                list(config.scopes),
                list(config.installation_scopes),
                config.base_url,
                config.attachment.value,
                dict(config.parameters),
                config.created_at,
            )
            == 1
        )

    async def get(self, environment_id: UUID, provider_config_id: UUID) -> ProviderConfig | None:
        """The config, or None."""
        row = await self._one("get", environment_id, provider_config_id)
        return None if row is None else read(ProviderConfig, row)

    async def by_provider(self, environment_id: UUID, provider: str) -> ProviderConfig | None:
        """The environment's config for a provider, or None."""
        row = await self._one("by_provider", environment_id, provider)
        return None if row is None else read(ProviderConfig, row)

    async def find(self, provider_config_id: UUID) -> ProviderConfig | None:
        """The config with this id in whichever environment: for callbacks, as system-wide work."""
        row = await self._one("find", provider_config_id)
        return None if row is None else read(ProviderConfig, row)

    async def all(self, environment_id: UUID) -> list[ProviderConfig]:
        """The environment's configs by provider."""
        return [read(ProviderConfig, row) for row in await self._all("all", environment_id)]

    async def update(self, config: ProviderConfig, *, at: datetime) -> ProviderConfig | None:
        """Replace the row if it still has ``config.version``.  None when somebody else was first."""
        row = await self._one(
            "update",
            config.environment_id,
            config.provider_config_id,
            config.enabled,
            config.client_id,
            config.client_secret_ciphertext,
            config.app_credential_ciphertext,
            list(config.scopes),
            list(config.installation_scopes),
            config.base_url,
            config.attachment.value,
            dict(config.parameters),
            at,
            config.version,
            config.problem,
        )
        if row is None:
            return None
        await self._value("announce", str(config.provider_config_id))
        return read(ProviderConfig, row)

    async def set_problem(
        self, environment_id: UUID, provider_config_id: UUID, *, problem: str | None, at: datetime
    ) -> bool:
        """Mark or clear an app-wide problem.  True when that changed something."""
        if await self._run("set_problem", environment_id, provider_config_id, problem, at) == 0:
            return False
        await self._value("announce", str(provider_config_id))
        return True

    async def delete(self, environment_id: UUID, provider_config_id: UUID) -> bool:
        """Remove the config.  False when connections, installations or open sessions still need it."""
        if await self._value("in_use", environment_id, provider_config_id):
            return False
        await self._run("drop_sessions", environment_id, provider_config_id)
        await self._run("delete", environment_id, provider_config_id)
        await self._value("announce", str(provider_config_id))
        return True
