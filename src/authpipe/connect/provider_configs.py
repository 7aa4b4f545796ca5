"""Making and changing provider configs: an environment's registrations, checked by their definitions."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from authpipe.catalog.catalog import Catalog
from authpipe.catalog.definition import Reading
from authpipe.catalog.reading import ProbeResult
from authpipe.catalog.rebase import rebase
from authpipe.connect.config_checks import ConfigFields, check_config, check_secrets
from authpipe.credentials.provider import Provider, Providers, app_credential_context, client_secret_context
from authpipe.credentials.upstream import Upstream
from authpipe.domain.clock import Clock
from authpipe.domain.errors import ConfigurationError, Conflict, InvalidInput, NotFound, ProviderUnavailable
from authpipe.domain.event import Origin
from authpipe.domain.identifiers import new_id
from authpipe.domain.provider_config import ProviderConfig
from authpipe.domain.secret import Secret
from authpipe.events.record import record
from authpipe.events.types import EventType
from authpipe.net.egress import EgressPolicy, EgressRefused
from authpipe.store.database import Database
from authpipe.store.transaction import Transaction
from authpipe.vault.vault import Vault


class ProviderConfigs:
    """The environments' registrations at providers.  Their secrets go in and never come out."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        database: Database,
        providers: Providers,
        upstream: Upstream,
        vault: Vault,
        egress: EgressPolicy,
        clock: Clock,
    ) -> None:
        self._catalog = catalog
        self._database = database
        self._providers = providers
        self._upstream = upstream
        self._vault = vault
        self._egress = egress
        self._clock = clock

    async def create(
        self, environment_id: UUID, provider: str, fields: ConfigFields, *, origin: Origin
    ) -> ProviderConfig:
        """A new config, enabled unless ``fields`` says otherwise.

        An app credential is tried at the provider first; one that cannot be tried now is accepted.  Raises
        ``InvalidInput`` naming the field and ``Conflict`` (``provider_config_exists``).
        """
        try:
            definition = self._catalog.get(provider)
        except NotFound as error:
            raise InvalidInput(error.message, field="provider") from None
        now = self._clock.now()
        config = await self._with(
            ProviderConfig(
                provider_config_id=new_id(),
                environment_id=environment_id,
                provider=provider,
                enabled=True,
                client_id=None,
                client_secret_ciphertext=None,
                app_credential_ciphertext=None,
                scopes=(),
                installation_scopes=(),
                base_url=None,
                attachment=definition.default_attachment,
                parameters={},
                problem=None,
                version=1,
                created_at=now,
                updated_at=now,
            ),
            fields,
        )
        async with self._database.environment(environment_id) as transaction:
            if not await transaction.provider_configs.add(config):
                raise Conflict(
                    f"this environment has a provider config for {definition.name} already: change that one",
                    code="provider_config_exists",
                )
            await _told(
                transaction, EventType.PROVIDER_CONFIG_CREATED, config, origin, now, set=sorted(fields)
            )
        return config

    async def list(self, environment_id: UUID) -> list[ProviderConfig]:
        """The environment's configs by provider."""
        async with self._database.environment(environment_id) as transaction:
            return await transaction.provider_configs.all(environment_id)

    async def get(self, environment_id: UUID, provider_config_id: UUID) -> ProviderConfig:
        """The config.  Raises ``NotFound``."""
        return (await self._providers.by_id(environment_id, provider_config_id)).config

    async def update(
        self,
        environment_id: UUID,
        provider_config_id: UUID,
        fields: ConfigFields,
        *,
        version: int | None = None,
        origin: Origin,
    ) -> ProviderConfig:
        """The changed config.  A new client secret or app credential also closes an open ``problem``.

        ``version`` is the one the caller read; None takes whatever is stored.  Secrets are bound to the
        address they were entered for: another ``base_url`` needs them entered again, and no live connection,
        whose tokens would go to the new address.  Raises ``NotFound``, ``InvalidInput`` naming the field and
        ``Conflict`` (``version_conflict``, ``in_use``).
        """
        before = await self.get(environment_id, provider_config_id)
        if version is not None and before.version != version:
            raise _version_conflict()
        if "base_url" in fields and fields["base_url"] != before.base_url:
            await self._check_move(before, fields)
        wanted = await self._with(before, fields)
        if wanted == before:
            return before
        recovered = before.problem is not None and bool({"client_secret", "app_credential"} & fields.keys())
        if recovered:
            wanted = replace(wanted, problem=None)
        now = self._clock.now()
        async with self._database.environment(environment_id) as transaction:
            if wanted.base_url != before.base_url:
                await _check_unused(transaction, before)
            after = await transaction.provider_configs.update(wanted, at=now)
            if after is None:
                raise _version_conflict()
            changed = _changed(before, after)
            if changed:
                await _told(
                    transaction,
                    EventType.PROVIDER_CONFIG_UPDATED,
                    after,
                    origin,
                    now,
                    changed=changed,
                    enabled=after.enabled,
                )
            if recovered:
                await _told(
                    transaction,
                    EventType.PROVIDER_CONFIG_RECOVERED,
                    after,
                    origin,
                    now,
                    problem=before.problem,
                )
        return after

    async def delete(self, environment_id: UUID, provider_config_id: UUID, *, origin: Origin) -> None:
        """Remove a config nothing stands on.  Raises ``NotFound`` and ``Conflict`` (``in_use``)."""
        async with self._database.environment(environment_id) as transaction:
            config = await transaction.provider_configs.get(environment_id, provider_config_id)
            if config is None:
                raise NotFound("no such provider config in this environment")
            if not await transaction.provider_configs.delete(environment_id, provider_config_id):
                raise Conflict(
                    "connections, installations or open connect sessions belong to this provider config, "
                    "ended ones included: disable it instead",
                    code="in_use",
                )
            await _told(transaction, EventType.PROVIDER_CONFIG_DELETED, config, origin, self._clock.now())

    async def check(self, environment_id: UUID, provider_config_id: UUID) -> ProbeResult:
        """Try the stored app credential at the provider now; nothing is changed by what it says.

        Raises ``NotFound``, ``Conflict`` (``nothing_to_check``: there is no app credential) and
        ``ProviderUnavailable``.
        """
        provider = await self._providers.by_id(environment_id, provider_config_id)
        if provider.config.app_credential_ciphertext is None:
            raise Conflict(
                "this provider config holds no app credential that could be tried", code="nothing_to_check"
            )
        result = await self._upstream.probe_app(provider, await self._providers.app_credential(provider))
        if result is None:
            raise Conflict(
                f"{provider.definition.name} has no app credential any more", code="nothing_to_check"
            )
        return result

    async def _with(self, config: ProviderConfig, fields: ConfigFields) -> ProviderConfig:
        """The config with the fields set, all of it checked and the secrets encrypted."""
        plain: dict[str, Any] = {
            name: value for name, value in fields.items() if name not in ("client_secret", "app_credential")
        }
        wanted = replace(config, **plain)
        if fields.get("base_url") is not None:
            self._check_address(fields["base_url"] or "")
        provider = self._providers.join(wanted)
        check_config(provider, fields)
        check_secrets(provider, fields)
        place = (config.environment_id, config.provider_config_id)
        if "client_secret" in fields:
            wanted = replace(
                wanted,
                client_secret_ciphertext=None
                if fields["client_secret"] is None
                else await self._vault.encrypt(fields["client_secret"], client_secret_context(*place)),
            )
        if "app_credential" in fields:
            secret = fields["app_credential"]
            if secret is not None:
                await self._try(self._providers.join(wanted), secret)
            wanted = replace(
                wanted,
                app_credential_ciphertext=None
                if secret is None
                else await self._vault.encrypt(secret, app_credential_context(*place)),
            )
        return wanted

    def _check_address(self, base_url: str) -> None:
        try:
            rebase(base_url, base_url)
        except InvalidInput as error:
            raise InvalidInput(f"base_url {error.message}", field="base_url") from None
        try:
            self._egress.check_url(base_url)
        except EgressRefused as error:
            raise InvalidInput(f"base_url is refused: {error.message}", field="base_url") from None

    async def _try(self, provider: Provider, secret: Secret) -> None:
        try:
            result = await self._upstream.probe_app(provider, secret)
        except EgressRefused as error:
            raise InvalidInput(f"base_url is refused: {error.message}", field="base_url") from None
        except (ProviderUnavailable, ConfigurationError):
            # Nothing is known against it: a provider that is away must not keep an operator from setting up.
            return
        if result is not None and result.reading in (Reading.APP_WIDE, Reading.DEAD):
            raise InvalidInput(
                f"{provider.definition.name} refused app_credential ({result.reason})", field="app_credential"
            )

    async def _check_move(self, before: ProviderConfig, fields: ConfigFields) -> None:
        for name, stored in (
            ("client_secret", before.client_secret_ciphertext),
            ("app_credential", before.app_credential_ciphertext),
        ):
            if stored is not None and name not in fields:
                raise InvalidInput(
                    f"{name} must be sent again with another base_url: it was entered for the earlier one",
                    field=name,
                )
        async with self._database.environment(before.environment_id) as transaction:
            await _check_unused(transaction, before)


async def _check_unused(transaction: Transaction, config: ProviderConfig) -> None:
    """Tokens and codes of one address must never be sent to another."""
    if await _has_live(transaction, config):
        raise Conflict(
            "connections, installations or open connect sessions belong to the earlier base_url: "
            "disconnect them, or wait until the sessions are over",
            code="in_use",
        )


async def _has_live(transaction: Transaction, config: ProviderConfig) -> bool:
    environment_id, provider = config.environment_id, config.provider
    for status in ("active", "needs_reauth", "failed"):
        if await transaction.connections.page(environment_id, provider=provider, status=status, limit=1):
            return True
    for status in ("active", "needs_reauth", "suspended"):
        if await transaction.installations.page(environment_id, provider=provider, status=status, limit=1):
            return True
    return await transaction.sessions.any_open(environment_id, config.provider_config_id)


_PUBLIC_NAMES = {
    "client_secret_ciphertext": "client_secret",
    "app_credential_ciphertext": "app_credential",
}
_COMPARED = (
    "enabled",
    "client_id",
    "client_secret_ciphertext",
    "app_credential_ciphertext",
    "scopes",
    "installation_scopes",
    "base_url",
    "attachment",
    "parameters",
)


def _changed(before: ProviderConfig, after: ProviderConfig) -> list[str]:
    return [
        _PUBLIC_NAMES.get(name, name) for name in _COMPARED if getattr(before, name) != getattr(after, name)
    ]


def _version_conflict() -> Conflict:
    return Conflict(
        "the provider config was changed meanwhile: read it again and repeat the change",
        code="version_conflict",
    )


async def _told(
    transaction: Transaction,
    type: EventType,  # noqa: A002  # the field's own name
    config: ProviderConfig,
    origin: Origin,
    at: datetime,
    **data: Any,
) -> None:
    await record(
        transaction,
        type,
        environment_id=config.environment_id,
        tenant_id=None,
        object_kind="provider_config",
        object_id=config.provider_config_id,
        origin=origin,
        at=at,
        data={"provider": config.provider, **data},
    )
