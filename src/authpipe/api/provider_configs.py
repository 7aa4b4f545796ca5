"""``/v1/provider-configs``: the environment's registrations at providers."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, cast
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from authpipe.api import examples
from authpipe.api.caller import CallerDep, ServicesDep
from authpipe.api.documented import problems
from authpipe.api.fields import Answer, Body, Scopes, SecretText, Token, WholeNumber, Words
from authpipe.api.lists import Page
from authpipe.api.rules import Reach, rule
from authpipe.api.services import ApiServices
from authpipe.catalog.definition import Reading
from authpipe.connect.config_checks import ConfigFields
from authpipe.connect.start import redirect_uri
from authpipe.domain.access import ApiKeyRole
from authpipe.domain.provider_config import Attachment, ProviderConfig

router = APIRouter(prefix="/v1/provider-configs", tags=["Provider configs"])

_CLIENT_ID = "The OAuth client's id, from the provider's console."
_CLIENT_SECRET = "The OAuth client's secret. It can be replaced and removed, never read."
_APP_CREDENTIAL = (
    "The app's own secret: a bot token, a private key. It is tried at the provider before it is kept, "
    "and never read again."
)
_BASE_URL = (
    "Replaces scheme and host of every address of the definition: an on-premise server, a sandbox. "
    "Secrets are bound to it: with another one they must be sent again."
)
_SCOPES = "Asked of people who connect; none: the definition's defaults."
_INSTALLATION_SCOPES = "Asked of people who install (bot scopes); none: the definition's defaults."
_ATTACHMENT = "Whom connections belong to; the definition's default when left out."
_PARAMETERS = "Of the authorization request, as far as the definition leaves them open."

Parameters = Annotated[dict[Token, Words], Field(max_length=50)]


class CreateProviderConfig(Body):
    """A registration at a provider; one per provider and environment."""

    model_config = ConfigDict(json_schema_extra=examples.shown(examples.CREATE_CONFIG))

    provider: Token
    enabled: bool = Field(True, strict=True)
    client_id: Token | None = Field(None, description=_CLIENT_ID)
    client_secret: SecretText | None = Field(None, description=_CLIENT_SECRET)
    app_credential: SecretText | None = Field(None, description=_APP_CREDENTIAL)
    scopes: Scopes = Field(default_factory=list, description=_SCOPES)
    installation_scopes: Scopes = Field(default_factory=list, description=_INSTALLATION_SCOPES)
    base_url: Token | None = Field(None, description=_BASE_URL)
    attachment: Attachment | None = Field(None, description=_ATTACHMENT)
    parameters: Parameters = Field(default_factory=dict, description=_PARAMETERS)


class UpdateProviderConfig(Body):
    """What to change; what is left out stays, null empties."""

    model_config = ConfigDict(
        json_schema_extra=examples.shown({"client_secret": "the-new-client-secret", "version": 1})
    )

    version: WholeNumber | None = Field(
        None, description="The version you read: if it was changed since, nothing is."
    )
    client_id: Token | None = Field(None, description=_CLIENT_ID)
    client_secret: SecretText | None = Field(None, description=_CLIENT_SECRET)
    app_credential: SecretText | None = Field(None, description=_APP_CREDENTIAL)
    scopes: Scopes | None = Field(None, description=_SCOPES)
    installation_scopes: Scopes | None = Field(None, description=_INSTALLATION_SCOPES)
    base_url: Token | None = Field(None, description=_BASE_URL)
    attachment: Attachment | None = Field(None, description="Whom connections belong to.")
    parameters: Parameters | None = Field(None, description=_PARAMETERS)


class ProviderConfigObject(Answer):
    """A registration at a provider.  Of its secrets it tells only whether there are any."""

    model_config = ConfigDict(json_schema_extra=examples.shown(examples.CONFIG))

    object: Literal["provider_config"] = "provider_config"
    id: UUID
    provider: str
    enabled: bool
    client_id: str | None
    has_client_secret: bool
    has_app_credential: bool
    scopes: list[str]
    installation_scopes: list[str]
    base_url: str | None
    attachment: Attachment
    parameters: Mapping[str, Any]
    redirect_uri: str = Field(description="To be registered in the provider's console, exactly so.")
    problem: str | None = Field(description="Set while the provider refuses the client itself.")
    version: int
    created_at: datetime
    updated_at: datetime


class ProviderConfigList(Page[ProviderConfigObject]):
    """Every provider config of the environment, by provider."""

    model_config = ConfigDict(json_schema_extra=examples.shown(examples.page_of(examples.CONFIG, more=False)))


class ProviderConfigCheck(Answer):
    """What the provider said of the app credential just now."""

    model_config = ConfigDict(json_schema_extra=examples.shown(examples.CHECK))

    object: Literal["provider_config_check"] = "provider_config_check"
    provider_config_id: UUID
    reading: Reading = Field(
        description="`alive`; `dead` or `app_wide`: refused; `limited`: known, and not allowed enough; "
        "`transient`: nothing is known."
    )
    reason: str
    checked_at: datetime


def _object(services: ApiServices, config: ProviderConfig) -> ProviderConfigObject:
    return ProviderConfigObject(
        id=config.provider_config_id,
        provider=config.provider,
        enabled=config.enabled,
        client_id=config.client_id,
        has_client_secret=config.client_secret_ciphertext is not None,
        has_app_credential=config.app_credential_ciphertext is not None,
        scopes=list(config.scopes),
        installation_scopes=list(config.installation_scopes),
        base_url=config.base_url,
        attachment=config.attachment,
        parameters=config.parameters,
        redirect_uri=redirect_uri(services.public_url, config.provider_config_id),
        problem=config.problem,
        version=config.version,
        created_at=config.created_at,
        updated_at=config.updated_at,
    )


_EMPTY: Mapping[str, object] = {"scopes": (), "installation_scopes": (), "parameters": {}}


def _fields(body: BaseModel) -> ConfigFields:
    """What was really sent, with null as the empty value of its field."""
    told: dict[str, Any] = {}
    for name in body.model_fields_set - {"provider", "version"}:
        value = getattr(body, name)
        if value is None and name == "attachment":
            continue
        if value is None:
            value = _EMPTY.get(name)
        told[name] = tuple(value) if isinstance(value, list) else value
    return cast("ConfigFields", told)


@router.post(
    "",
    status_code=201,
    operation_id="create_provider_config",
    responses=problems("provider_config_exists", "idempotency_in_progress", "idempotency_key_reused"),
    **rule(ApiKeyRole.ADMIN, Reach.ENVIRONMENT),
)
async def create_provider_config(
    body: CreateProviderConfig, caller: CallerDep, services: ServicesDep
) -> ProviderConfigObject:
    """Register the application's client at a provider.

    Then register `redirect_uri` of the answer in the provider's console.
    """
    config = await services.provider_configs.create(
        caller.environment_id, body.provider, _fields(body), origin=caller.origin
    )
    return _object(services, config)


@router.get(
    "",
    operation_id="list_provider_configs",
    responses=problems(takes_input=False),
    **rule(ApiKeyRole.VIEWER, Reach.ENVIRONMENT),
)
async def list_provider_configs(caller: CallerDep, services: ServicesDep) -> ProviderConfigList:
    """List the environment's provider configs; there are never more than there are providers."""
    configs = await services.provider_configs.list(caller.environment_id)
    return ProviderConfigList(data=[_object(services, config) for config in configs])


@router.get(
    "/{provider_config_id}",
    operation_id="get_provider_config",
    responses=problems("not_found"),
    **rule(ApiKeyRole.VIEWER, Reach.ENVIRONMENT),
)
async def get_provider_config(
    provider_config_id: UUID, caller: CallerDep, services: ServicesDep
) -> ProviderConfigObject:
    """Get a provider config."""
    config = await services.provider_configs.get(caller.environment_id, provider_config_id)
    return _object(services, config)


@router.patch(
    "/{provider_config_id}",
    operation_id="update_provider_config",
    responses=problems("not_found", "version_conflict", "in_use"),
    **rule(ApiKeyRole.ADMIN, Reach.ENVIRONMENT),
)
async def update_provider_config(
    provider_config_id: UUID, body: UpdateProviderConfig, caller: CallerDep, services: ServicesDep
) -> ProviderConfigObject:
    """Change a provider config; a new secret also closes its `problem`."""
    config = await services.provider_configs.update(
        caller.environment_id, provider_config_id, _fields(body), version=body.version, origin=caller.origin
    )
    return _object(services, config)


@router.delete(
    "/{provider_config_id}",
    status_code=204,
    operation_id="delete_provider_config",
    responses=problems("not_found", "in_use"),
    **rule(ApiKeyRole.ADMIN, Reach.ENVIRONMENT),
)
async def delete_provider_config(provider_config_id: UUID, caller: CallerDep, services: ServicesDep) -> None:
    """Delete a provider config that nothing was ever connected through; disable the others."""
    await services.provider_configs.delete(caller.environment_id, provider_config_id, origin=caller.origin)


@router.post(
    "/{provider_config_id}/enable",
    operation_id="enable_provider_config",
    responses=problems("not_found", "version_conflict", "idempotency_in_progress"),
    **rule(ApiKeyRole.ADMIN, Reach.ENVIRONMENT),
)
async def enable_provider_config(
    provider_config_id: UUID, caller: CallerDep, services: ServicesDep
) -> ProviderConfigObject:
    """Enable a provider config. Doing it twice changes nothing."""
    config = await services.provider_configs.update(
        caller.environment_id, provider_config_id, {"enabled": True}, origin=caller.origin
    )
    return _object(services, config)


@router.post(
    "/{provider_config_id}/disable",
    operation_id="disable_provider_config",
    responses=problems("not_found", "version_conflict", "idempotency_in_progress"),
    **rule(ApiKeyRole.ADMIN, Reach.ENVIRONMENT),
)
async def disable_provider_config(
    provider_config_id: UUID, caller: CallerDep, services: ServicesDep
) -> ProviderConfigObject:
    """Disable a provider config: nothing is connected or handed out through it until it is enabled."""
    config = await services.provider_configs.update(
        caller.environment_id, provider_config_id, {"enabled": False}, origin=caller.origin
    )
    return _object(services, config)


@router.post(
    "/{provider_config_id}/check",
    operation_id="check_provider_config",
    responses=problems(
        "not_found", "nothing_to_check", "provider_unavailable", "egress_refused", "idempotency_in_progress"
    ),
    **rule(ApiKeyRole.ADMIN, Reach.ENVIRONMENT),
)
async def check_provider_config(
    provider_config_id: UUID, caller: CallerDep, services: ServicesDep
) -> ProviderConfigCheck:
    """Try the app credential at the provider now. Nothing is changed by the answer."""
    result = await services.provider_configs.check(caller.environment_id, provider_config_id)
    return ProviderConfigCheck(
        provider_config_id=provider_config_id,
        reading=result.reading,
        reason=result.reason,
        checked_at=services.clock.now(),
    )
