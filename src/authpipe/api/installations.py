"""``/v1/installations``: where the application was installed at providers."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, cast
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import ConfigDict, Field

from authpipe.api import examples, owned
from authpipe.api.caller import Caller, CallerDep, ServicesDep
from authpipe.api.documented import problems
from authpipe.api.fields import Answer, Body, Line, OpaqueId, Token
from authpipe.api.lists import Page, Paging, cut, id_of
from authpipe.api.rules import Reach, rule
from authpipe.api.services import ApiServices
from authpipe.connect.amend import Amendments
from authpipe.domain.access import ApiKeyRole
from authpipe.domain.connection import Installation, InstallationStatus
from authpipe.domain.errors import NotFound

router = APIRouter(prefix="/v1/installations", tags=["Installations"])


class InstallationObject(Answer):
    """The provider's record that the application was installed in a tenant's workspace there."""

    model_config = ConfigDict(json_schema_extra=examples.shown(examples.INSTALLATION))

    object: Literal["installation"] = "installation"
    id: UUID
    provider: str
    provider_config_id: UUID
    tenant_id: str
    external_id: str = Field(description="The provider's id of the workspace: a guild, a team, a company.")
    external_name: str | None
    status: InstallationStatus
    status_reason: str | None
    label: str | None
    is_primary: bool
    installed_by: str | None = Field(description="The user whose browser installed it.")
    scopes: list[str]
    metadata: Mapping[str, Any] = Field(description="What the provider told of the workspace.")
    created_at: datetime
    updated_at: datetime


class InstallationDetail(InstallationObject):
    """An installation with the facts of its credentials, without their secrets."""

    model_config = ConfigDict(json_schema_extra=examples.shown(examples.INSTALLATION_DETAIL))

    credential_expires_at: datetime | None = Field(description="Of the main credential.")
    credentials: list[owned.CredentialFacts]


class InstallationList(Page[InstallationObject]):
    """One page of installations."""

    model_config = ConfigDict(json_schema_extra=examples.shown(examples.page_of(examples.INSTALLATION)))


class InstallationQuery(Paging):
    """Filters; every one that is given must match."""

    tenant_id: OpaqueId | None = None
    provider: Token | None = None
    status: InstallationStatus | None = None


class AmendInstallation(Body):
    """What to change; what is left out stays."""

    model_config = ConfigDict(json_schema_extra=examples.shown({"label": "work", "is_primary": True}))

    label: Line | None = Field(None, description="Null removes it.")
    is_primary: bool = Field(
        False, strict=True, description="The one that is taken where several match; ends the others' mark."
    )


def installation_object(installation: Installation) -> InstallationObject:
    """As it stands in lists and inside other objects."""
    return InstallationObject(**_fields(installation))


def _fields(installation: Installation) -> dict[str, Any]:
    return {
        "id": installation.installation_id,
        "provider": installation.provider,
        "provider_config_id": installation.provider_config_id,
        "tenant_id": installation.tenant_id,
        "external_id": installation.external_id,
        "external_name": installation.external_name,
        "status": installation.status,
        "status_reason": installation.status_reason,
        "label": installation.label,
        "is_primary": installation.is_primary,
        "installed_by": installation.installed_by,
        "scopes": list(installation.scopes),
        "metadata": installation.metadata,
        "created_at": installation.created_at,
        "updated_at": installation.updated_at,
    }


async def found_installation(services: ApiServices, caller: Caller, installation_id: UUID) -> Installation:
    """The installation.  Raises ``NotFound``, also for one the caller's key does not reach."""
    async with caller.scope(services.database) as transaction:
        installation = await transaction.installations.find(caller.environment_id, installation_id)
    if installation is None:
        raise NotFound("no such installation in this environment")
    return installation


async def _detail(services: ApiServices, installation: Installation) -> InstallationDetail:
    stored = await owned.credentials_of(services, installation)
    return InstallationDetail(
        **_fields(installation),
        credential_expires_at=stored[0].expires_at if stored else None,
        credentials=[owned.facts_of(each) for each in stored],
    )


@router.get(
    "", operation_id="list_installations", responses=problems(), **rule(ApiKeyRole.VIEWER, Reach.TENANT)
)
async def list_installations(
    caller: CallerDep, services: ServicesDep, query: Annotated[InstallationQuery, Query()]
) -> InstallationList:
    """List installations, oldest first."""
    tenant_id = caller.narrowed(query.tenant_id)
    async with caller.scope(services.database) as transaction:
        found = await transaction.installations.page(
            caller.environment_id,
            tenant_id=tenant_id,
            provider=query.provider,
            status=query.status,
            after=id_of(query.cursor),
            limit=query.limit + 1,
        )
    page, following = cut(found, query.limit, lambda installation: installation.installation_id)
    return InstallationList(data=[installation_object(each) for each in page], next_cursor=following)


@router.get(
    "/{installation_id}",
    operation_id="get_installation",
    responses=problems("not_found"),
    **rule(ApiKeyRole.VIEWER, Reach.TENANT),
)
async def get_installation(
    installation_id: UUID, caller: CallerDep, services: ServicesDep
) -> InstallationDetail:
    """Get an installation with the facts of its credentials."""
    return await _detail(services, await found_installation(services, caller, installation_id))


@router.patch(
    "/{installation_id}",
    operation_id="update_installation",
    responses=problems("not_found", "installation_ended", "conflict"),
    **rule(ApiKeyRole.SERVER, Reach.TENANT),
)
async def update_installation(
    installation_id: UUID, body: AmendInstallation, caller: CallerDep, services: ServicesDep
) -> InstallationDetail:
    """Change an installation's label or make it the primary one."""
    amendments = cast("Amendments", {name: getattr(body, name) for name in body.model_fields_set})
    await found_installation(services, caller, installation_id)
    changed = await services.amendment.installation(
        caller.environment_id, installation_id, amendments, origin=caller.origin
    )
    return await _detail(services, changed)


@router.post(
    "/{installation_id}/refresh",
    operation_id="refresh_installation",
    responses=problems(
        "not_found",
        "not_refreshable",
        "installation_ended",
        "tenant_erasing",
        "reauthorization_required",
        "provider_unavailable",
        "idempotency_in_progress",
    ),
    **rule(ApiKeyRole.SERVER, Reach.TENANT),
)
async def refresh_installation(
    installation_id: UUID, caller: CallerDep, services: ServicesDep
) -> InstallationDetail:
    """Refresh the installation's credential now, whatever its due time."""
    installation = await found_installation(services, caller, installation_id)
    await owned.refresh(services, installation, origin=caller.origin)
    installation = await found_installation(services, caller, installation_id)
    if installation.status is not InstallationStatus.ACTIVE:
        raise owned.must_reauthorize(installation)
    return await _detail(services, installation)


@router.post(
    "/{installation_id}/disconnect",
    operation_id="disconnect_installation",
    responses=problems("not_found", "idempotency_in_progress"),
    **rule(ApiKeyRole.SERVER, Reach.TENANT),
)
async def disconnect_installation(
    installation_id: UUID, caller: CallerDep, services: ServicesDep
) -> InstallationDetail:
    """End an installation: the app removed at the provider where that is possible, the credentials destroyed.

    The record stays, with the status `deleted`; what becomes of the users' connections under it is told by
    the provider's definition. Doing it twice changes nothing.
    """
    await found_installation(services, caller, installation_id)
    ended = await services.disconnection.installation(
        caller.environment_id, installation_id, origin=caller.origin
    )
    return await _detail(services, ended)
