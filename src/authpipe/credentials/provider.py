"""A provider config together with its definition, as the engines use them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import lru_cache
from uuid import UUID

from authpipe.catalog.catalog import Catalog
from authpipe.catalog.definition import ProviderDefinition, Side, SideName
from authpipe.catalog.rebase import definition_at
from authpipe.domain.errors import ConfigurationError, Conflict, NotFound
from authpipe.domain.provider_config import ProviderConfig
from authpipe.domain.secret import Secret
from authpipe.oauth.server import AuthorizationServer, Client
from authpipe.store.database import Database
from authpipe.vault.context import EncryptionContext
from authpipe.vault.vault import Vault


def client_secret_context(environment_id: UUID, provider_config_id: UUID) -> EncryptionContext:
    """Where a client secret belongs: the environment's own keyset."""
    return EncryptionContext(
        environment_id=environment_id, tenant_id=None, row_id=provider_config_id, field="client_secret"
    )


def app_credential_context(environment_id: UUID, provider_config_id: UUID) -> EncryptionContext:
    """Where a bot token or app key belongs: the environment's own keyset."""
    return EncryptionContext(
        environment_id=environment_id, tenant_id=None, row_id=provider_config_id, field="app_credential"
    )


@dataclass(frozen=True, slots=True)
class Provider:
    """One environment's registration at one provider; endpoints already point to the config's base URL."""

    config: ProviderConfig
    definition: ProviderDefinition

    @property
    def oauth(self) -> AuthorizationServer:
        """The authorization server.  Raises ``ConfigurationError`` when the provider has none."""
        if self.definition.oauth is None:
            raise ConfigurationError(f"{self.definition.name} does not speak OAuth")
        return self.definition.oauth

    def check_enabled(self) -> None:
        """Raises ``Conflict`` (``provider_disabled``) while the operator has switched the config off."""
        if not self.config.enabled:
            raise Conflict(
                f"the provider config for {self.config.provider} is disabled: enable it",
                code="provider_disabled",
            )

    def side(self, name: SideName) -> Side:
        """The side of that name.  Raises ``Conflict`` when the provider has no such thing."""
        side = self.definition.side(name)
        if side is None:
            raise Conflict(f"{self.definition.name} has no {name.value}s", code="unsupported_kind")
        return side


class Providers:
    """Finds provider configs and decrypts their secrets at the moment of use, keeping none."""

    def __init__(self, catalog: Catalog, database: Database, vault: Vault) -> None:
        self._catalog = catalog
        self._database = database
        self._vault = vault
        self._at = lru_cache(maxsize=4096)(self._definition_at)

    def join(self, config: ProviderConfig) -> Provider:
        """The config with its definition."""
        return Provider(config, self._at(config.provider, config.base_url))

    async def by_name(self, environment_id: UUID, provider: str) -> Provider:
        """The environment's config for a provider.

        Raises ``NotFound`` naming the remedy when the provider is unknown or not configured.
        """
        definition = self._catalog.get(provider)
        async with self._database.environment(environment_id) as transaction:
            config = await transaction.provider_configs.by_provider(environment_id, provider)
        if config is None:
            raise NotFound(
                f"{definition.name} is not configured in this environment: create a provider config for it"
            )
        return self.join(config)

    async def by_id(self, environment_id: UUID, provider_config_id: UUID) -> Provider:
        """The config of that id in this environment.  Raises ``NotFound``."""
        async with self._database.environment(environment_id) as transaction:
            config = await transaction.provider_configs.get(environment_id, provider_config_id)
        if config is None:
            raise NotFound("no such provider config in this environment")
        return self.join(config)

    async def client(self, provider: Provider) -> Client:
        """Our OAuth client at the provider.  Raises ``ConfigurationError`` when no client id is set."""
        config = provider.config
        if config.client_id is None:
            raise ConfigurationError(f"the provider config for {config.provider} has no client_id: set it")
        secret = None
        if config.client_secret_ciphertext is not None:
            secret = await self._vault.decrypt(
                config.client_secret_ciphertext,
                client_secret_context(config.environment_id, config.provider_config_id),
            )
        return Client(client_id=config.client_id, client_secret=secret)

    async def app_credential(self, provider: Provider) -> Secret:
        """The app's own secret (a bot token).  Raises ``ConfigurationError`` when none is set."""
        config = provider.config
        if config.app_credential_ciphertext is None:
            raise ConfigurationError(
                f"the provider config for {config.provider} has no app credential: set app_credential"
            )
        return await self._vault.decrypt(
            config.app_credential_ciphertext,
            app_credential_context(config.environment_id, config.provider_config_id),
        )

    def for_a_while(self) -> ProvidersForAWhile:
        """These providers for one batch of work: each config is read, and each secret decrypted, once."""
        return ProvidersForAWhile(self)

    def _definition_at(self, provider: str, base_url: str | None) -> ProviderDefinition:
        return definition_at(self._catalog.get(provider), base_url)


class ProvidersForAWhile:
    """Provider configs, and our clients with their secrets, for as long as one batch is worked on.

    What fails fails for everybody in the batch, and is tried again in the next.  A caller that is cancelled
    while it waits may take the others' answer with it: end the whole batch or none of it.
    """

    def __init__(self, providers: Providers) -> None:
        self._providers = providers
        self._configs: dict[tuple[UUID, UUID], asyncio.Task[Provider]] = {}
        self._clients: dict[tuple[UUID, UUID], asyncio.Task[Client]] = {}

    async def by_id(self, environment_id: UUID, provider_config_id: UUID) -> Provider:
        """As :meth:`Providers.by_id`."""
        place = (environment_id, provider_config_id)
        task = self._configs.get(place)
        if task is None:
            task = self._configs[place] = asyncio.create_task(self._providers.by_id(*place))
        return await task

    async def client(self, provider: Provider) -> Client:
        """As :meth:`Providers.client`."""
        place = (provider.config.environment_id, provider.config.provider_config_id)
        task = self._clients.get(place)
        if task is None:
            task = self._clients[place] = asyncio.create_task(self._providers.client(provider))
        return await task
