"""An environment and what stands in it, with tokens that the simulated providers really issued."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from authpipe.catalog.catalog import Catalog
from authpipe.catalog.definition import SideName
from authpipe.credentials.contexts import refresh_context, secret_context
from authpipe.credentials.grants import Grant, Granting
from authpipe.credentials.provider import app_credential_context, client_secret_context
from authpipe.domain.clock import Clock
from authpipe.domain.connection import Connection, ConnectionStatus, Installation, InstallationStatus
from authpipe.domain.credential import CredentialKind, CredentialSource, OwnerKind, StoredCredential
from authpipe.domain.environment import Environment, EnvironmentKind
from authpipe.domain.event import Event
from authpipe.domain.identifiers import new_id
from authpipe.domain.provider_config import Attachment, ProviderConfig
from authpipe.domain.secret import Secret
from authpipe.sandbox import seeds
from authpipe.sandbox.ledger import digest
from authpipe.sandbox.server import SandboxServer
from authpipe.sandbox.token_endpoint import Issued, issue_tokens
from authpipe.store.database import Database
from authpipe.vault.vault import Vault

#: The lifetime of tokens made here unless a test says otherwise.
LIFETIME = timedelta(hours=1)


@dataclass(frozen=True)
class Stored:
    """A credential as it was stored, and its secrets in the clear."""

    credential: StoredCredential
    owner_id: UUID
    issued: Issued


class Scene:
    """Adds to one environment of the database, and looks at what became of it."""

    def __init__(
        self, database: Database, vault: Vault, catalog: Catalog, clock: Clock, sandbox: SandboxServer
    ) -> None:
        self.database = database
        self.vault = vault
        self.catalog = catalog
        self.clock = clock
        self.sandbox = sandbox
        self.environment_id = UUID(int=0)
        self.tenant_id = "org_acme"
        #: Who authorizes; None stands for somebody else each time, of whom the provider can tell nothing.
        self.person: str | None = None

    @classmethod
    async def set(
        cls,
        database: Database,
        vault: Vault,
        catalog: Catalog,
        clock: Clock,
        sandbox: SandboxServer,
        *,
        name: str = "development",
    ) -> Scene:
        """A new environment with one tenant."""
        scene = cls(database, vault, catalog, clock, sandbox)
        environment = Environment(
            environment_id=new_id(),
            name=name,
            kind=EnvironmentKind.DEVELOPMENT,
            return_urls=(),
            origins=(),
            created_at=clock.now(),
        )
        scene.environment_id = environment.environment_id
        async with database.environment(scene.environment_id) as transaction:
            assert await transaction.environments.add(environment)
        await scene.tenant(scene.tenant_id)
        return scene

    async def tenant(self, tenant_id: str) -> str:
        """Make sure the tenant exists."""
        async with self.database.tenant(self.environment_id, tenant_id) as transaction:
            await transaction.tenants.ensure(self.environment_id, tenant_id, at=self.clock.now())
        return tenant_id

    async def config(self, provider: str = "discord", **changed: Any) -> ProviderConfig:
        """A provider config that points at the simulator, with the client it knows."""
        config_id = new_id()
        app_credential = None
        if self.catalog.get(provider).app_credential is not None:
            app_credential = await self.vault.encrypt(
                Secret(seeds.DISCORD_BOT_TOKEN), app_credential_context(self.environment_id, config_id)
            )
        config = ProviderConfig(
            provider_config_id=config_id,
            environment_id=self.environment_id,
            provider=provider,
            enabled=True,
            client_id=seeds.client_id(provider),
            client_secret_ciphertext=await self.vault.encrypt(
                Secret(seeds.client_secret(provider)), client_secret_context(self.environment_id, config_id)
            ),
            app_credential_ciphertext=app_credential,
            scopes=(),
            installation_scopes=(),
            base_url=f"{self.sandbox.url}/{provider}",
            attachment=Attachment.USER,
            parameters={},
            problem=None,
            version=1,
            created_at=self.clock.now(),
            updated_at=self.clock.now(),
        )
        config = replace(config, **changed)
        async with self.database.environment(self.environment_id) as transaction:
            assert await transaction.provider_configs.add(config)
        return config

    async def change_config(self, config: ProviderConfig, **changed: Any) -> ProviderConfig:
        """Write some columns of a provider config, whatever its version is."""
        async with self.database.environment(self.environment_id) as transaction:
            stored = await transaction.provider_configs.get(self.environment_id, config.provider_config_id)
            assert stored is not None
            written = await transaction.provider_configs.update(
                replace(stored, **changed), at=self.clock.now()
            )
            assert written is not None
        return written

    async def client_secret(self, config: ProviderConfig, secret: str) -> None:
        """Give the provider config another client secret."""
        ciphertext = await self.vault.encrypt(
            Secret(secret), client_secret_context(self.environment_id, config.provider_config_id)
        )
        await self.change_config(config, client_secret_ciphertext=ciphertext)

    async def connection(self, config: ProviderConfig, **changed: Any) -> Connection:
        """A connection without a credential."""
        now = self.clock.now()
        connection = Connection(
            connection_id=new_id(),
            environment_id=self.environment_id,
            tenant_id=self.tenant_id,
            user_id="user_123",
            provider_config_id=config.provider_config_id,
            provider=config.provider,
            installation_id=None,
            status=ConnectionStatus.ACTIVE,
            status_reason=None,
            label=None,
            is_primary=False,
            account_id=seeds.PEOPLE[config.provider][0].id,
            account_name=seeds.PEOPLE[config.provider][0].username,
            scopes=("identify",),
            metadata={},
            version=1,
            created_at=now,
            updated_at=now,
        )
        connection = replace(connection, **changed)
        async with self.database.tenant(self.environment_id, connection.tenant_id) as transaction:
            assert await transaction.connections.add(connection)
        return connection

    async def installation(self, config: ProviderConfig, **changed: Any) -> Installation:
        """An installation without a credential."""
        now = self.clock.now()
        installation = Installation(
            installation_id=new_id(),
            environment_id=self.environment_id,
            tenant_id=self.tenant_id,
            provider_config_id=config.provider_config_id,
            provider=config.provider,
            external_id=seeds.DISCORD_GUILDS[0].id,
            external_name=seeds.DISCORD_GUILDS[0].name,
            status=InstallationStatus.ACTIVE,
            status_reason=None,
            label=None,
            is_primary=False,
            installed_by="user_123",
            scopes=("bot",),
            metadata={"guild_id": seeds.DISCORD_GUILDS[0].id},
            version=1,
            created_at=now,
            updated_at=now,
        )
        installation = replace(installation, **changed)
        async with self.database.tenant(self.environment_id, installation.tenant_id) as transaction:
            await transaction.installations.add(installation)
        return installation

    def issue(
        self, provider: str, *, refreshable: bool = True, lifetime: timedelta | None = LIFETIME
    ) -> Issued:
        """Tokens of an authorization of its own at the simulator."""
        application = self.sandbox.state.applications[provider][seeds.client_id(provider)]
        ledger = self.sandbox.state.ledgers[provider]
        # Drift looks its people up; elsewhere nobody shares an authorization with another test's user.
        person = self.person or ("ada" if provider == "drift" else f"person-{new_id()}")
        authorization = ledger.authorize(application.client_id, person, ("identify",))
        return issue_tokens(
            ledger,
            application,
            authorization,
            ("identify",),
            length=30,
            lifetime_s=None if lifetime is None else int(lifetime.total_seconds()),
            with_refresh_token=refreshable,
        )

    async def token(
        self,
        config: ProviderConfig,
        owner: Connection | Installation,
        *,
        refreshable: bool = True,
        lifetime: timedelta | None = LIFETIME,
        due_at: datetime | None = None,
        anew: bool = False,
        **changed: Any,
    ) -> Stored:
        """An OAuth token from the simulator, stored for the owner.

        ``due_at`` replaces the time the schedule chose; further columns can be replaced by name.  With
        ``anew`` it takes the place of what the owner had, as reconnecting does.
        """
        issued = self.issue(config.provider, refreshable=refreshable, lifetime=lifetime)
        now = self.clock.now()
        kind = OwnerKind.CONNECTION if isinstance(owner, Connection) else OwnerKind.INSTALLATION
        side = self.catalog.get(config.provider).side(SideName(kind.value))
        assert side is not None
        grant = Grant(
            kind=CredentialKind.OAUTH_TOKEN,
            secret=Secret(issued.access_token),
            refresh_token=None if issued.refresh_token is None else Secret(issued.refresh_token),
            scopes=("identify",),
            facts={},
            expires_at=None if lifetime is None else now + lifetime,
            refresh=side.refresh,
        )
        return await self._put(config, owner, kind, grant, issued, due_at=due_at, anew=anew, **changed)

    async def secret(
        self, config: ProviderConfig, owner: Connection | Installation, grant: Grant
    ) -> StoredCredential:
        """Any other credential."""
        kind = OwnerKind.CONNECTION if isinstance(owner, Connection) else OwnerKind.INSTALLATION
        return (await self._put(config, owner, kind, grant, Issued("", None, None))).credential

    async def bot(self, config: ProviderConfig, owner: Installation) -> StoredCredential:
        """The installation's share of the bot token that stands on the provider config."""
        return await self.secret(
            config, owner, Grant(kind=CredentialKind.BOT_TOKEN, secret=None, scopes=("bot",), facts={})
        )

    async def connected(
        self, config: ProviderConfig, *, user_id: str | None = "user_123", **token: Any
    ) -> Stored:
        """A user's connection with a token."""
        return await self.token(config, await self.connection(config, user_id=user_id), **token)

    async def _put(
        self,
        config: ProviderConfig,
        owner: Connection | Installation,
        kind: OwnerKind,
        grant: Grant,
        issued: Issued,
        *,
        due_at: datetime | None = None,
        anew: bool = False,
        **changed: Any,
    ) -> Stored:
        owner_id = owner.connection_id if isinstance(owner, Connection) else owner.installation_id
        credential = await Granting(self.vault).credential(
            grant,
            config=config,
            tenant_id=owner.tenant_id,
            owner_kind=kind,
            owner_id=owner_id,
            issued_at=self.clock.now(),
        )
        if due_at is not None:
            credential = replace(credential, refresh_due_at=due_at)
        credential = replace(credential, **changed)
        async with self.database.tenant(self.environment_id, owner.tenant_id) as transaction:
            if anew:
                await transaction.credentials.destroy_owned(self.environment_id, owner.tenant_id, owner_id)
            await transaction.credentials.put(credential, facts=grant.facts)
        return Stored(credential, owner_id, issued)

    async def now(self, credential: StoredCredential) -> StoredCredential:
        """The row as it is now."""
        async with self.database.tenant(credential.environment_id, credential.tenant_id) as transaction:
            stored = await transaction.credentials.get(
                credential.environment_id, credential.tenant_id, credential.credential_id
            )
        assert stored is not None
        return stored

    async def claim(
        self, credential: StoredCredential, *, lease: timedelta = timedelta(seconds=60)
    ) -> StoredCredential:
        """Take the lease."""
        now = self.clock.now()
        async with self.database.tenant(credential.environment_id, credential.tenant_id) as transaction:
            claimed = await transaction.credentials.claim_one(
                credential.environment_id,
                credential.tenant_id,
                credential.credential_id,
                now=now,
                lease_until=now + lease,
            )
        assert claimed is not None, "somebody else holds the lease"
        return claimed

    async def secrets_of(self, credential: StoredCredential) -> tuple[str | None, str | None]:
        """Access and refresh token of a row in the clear."""
        place = (credential.environment_id, credential.tenant_id, credential.credential_id)
        secret = refresh = None
        if credential.source is CredentialSource.OWN and credential.secret_ciphertext is not None:
            secret = await self.vault.decrypt(credential.secret_ciphertext, secret_context(*place))
        if credential.refresh_ciphertext is not None:
            refresh = await self.vault.decrypt(credential.refresh_ciphertext, refresh_context(*place))
        return secret and secret.reveal(), refresh and refresh.reveal()

    async def owner(self, stored: Stored) -> Connection | Installation:
        """The connection or installation as it is now."""
        place = (self.environment_id, stored.credential.tenant_id, stored.owner_id)
        found: Connection | Installation | None
        async with self.database.tenant(*place[:2]) as transaction:
            if stored.credential.owner_kind is OwnerKind.CONNECTION:
                found = await transaction.connections.get(*place)
            else:
                found = await transaction.installations.get(*place)
        assert found is not None
        return found

    async def stored_config(self, config: ProviderConfig) -> ProviderConfig:
        """The provider config as it is now."""
        async with self.database.environment(self.environment_id) as transaction:
            stored = await transaction.provider_configs.get(self.environment_id, config.provider_config_id)
        assert stored is not None
        return stored

    async def events(self, type: str | None = None) -> list[Event]:  # noqa: A002
        """The environment's events, oldest first."""
        async with self.database.environment(self.environment_id) as transaction:
            return (await transaction.events.page(self.environment_id, type=type, limit=1000))[::-1]

    def refreshes(self, provider: str = "discord") -> list[dict[str, Any]]:
        """The refresh requests the simulator saw, oldest first."""
        report = self.sandbox.state.journal.report(provider=provider, grant_type="refresh_token")
        requests = report["requests"]
        assert isinstance(requests, list)
        return requests

    def works(self, access_token: str | None, provider: str = "discord") -> bool:
        """Whether the provider would take this access token now."""
        return (
            access_token is not None
            and self.sandbox.state.ledgers[provider].alive("access", access_token) is not None
        )

    def refresh_works(self, refresh_token: str | None, provider: str = "discord") -> bool:
        """Whether the provider would take this refresh token now."""
        return (
            refresh_token is not None
            and self.sandbox.state.ledgers[provider].alive("refresh", refresh_token) is not None
        )

    @staticmethod
    def digest(secret: str | None) -> str:
        """The name under which the simulator shows a secret."""
        assert secret is not None
        return digest(secret)
