"""``/v1/tenants``: the application's customers, under the ids it chose."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Path, Query
from pydantic import ConfigDict, Field

from authpipe.api import examples
from authpipe.api.caller import CallerDep, ServicesDep
from authpipe.api.documented import problems
from authpipe.api.fields import OPAQUE_ID, Answer, Body, Line
from authpipe.api.lists import Page, Paging, bad_cursor, cut, place_of
from authpipe.api.rules import Reach, rule
from authpipe.connect.erase import REQUEST
from authpipe.domain.access import ApiKeyRole
from authpipe.domain.environment import Tenant
from authpipe.domain.errors import InvalidInput, NotFound
from authpipe.domain.identifiers import check_opaque_id

router = APIRouter(prefix="/v1/tenants", tags=["Tenants"])

PathId = Annotated[str, Path(json_schema_extra={"pattern": OPAQUE_ID})]


class PutTenant(Body):
    """The tenant's name as people should read it."""

    model_config = ConfigDict(json_schema_extra=examples.shown({"name": "Acme Ltd"}))

    name: Line | None = Field(description="Null: the id is shown.")


class TenantObject(Answer):
    """A customer of the application."""

    model_config = ConfigDict(json_schema_extra=examples.shown(examples.TENANT))

    object: Literal["tenant"] = "tenant"
    id: str
    name: str | None
    created_at: datetime
    erasing_at: datetime | None = Field(description="Since when it is being erased; null: it is not.")


class TenantErasureObject(Answer):
    """The certificate of an erasure: what was destroyed, and what became of the grants at their providers."""

    model_config = ConfigDict(json_schema_extra=examples.shown(examples.ERASURE))

    object: Literal["tenant_erasure"] = "tenant_erasure"
    id: UUID = Field(description="The id of the event `tenant.erased`, which says the same.")
    tenant_id: str
    connections: int
    installations: int
    credentials: int
    connect_sessions: int
    remembered_answers: int = Field(description="Answers kept for requests sent again.")
    api_keys: int = Field(description="Keys that were restricted to the tenant.")
    data_keys: int = Field(description="Keys of the tenant's keyset, destroyed before anything else.")
    revoked_upstream: int = Field(description="Grants the provider confirmed to have ended.")
    left_shared: int = Field(description="Grants that another tenant, or another environment, stands on.")
    not_revocable: int = Field(description="Grants the provider has no way to end.")
    not_revoked: int = Field(description="Grants the provider did not end, or not in time.")
    began_at: datetime
    finished_at: datetime


class TenantList(Page[TenantObject]):
    """One page of tenants, in the order of their ids."""

    model_config = ConfigDict(json_schema_extra=examples.shown(examples.page_of(examples.TENANT)))


def _object(tenant: Tenant) -> TenantObject:
    return TenantObject(
        id=tenant.tenant_id,
        name=tenant.name,
        created_at=tenant.created_at,
        erasing_at=tenant.erasing_at,
    )


@router.get("", operation_id="list_tenants", responses=problems(), **rule(ApiKeyRole.VIEWER, Reach.TENANT))
async def list_tenants(
    caller: CallerDep, services: ServicesDep, query: Annotated[Paging, Query()]
) -> TenantList:
    """List tenants. A key of one tenant sees that one."""
    async with caller.scope(services.database) as transaction:
        found = await transaction.tenants.page(
            caller.environment_id, after=_place(query.cursor), limit=query.limit + 1
        )
    page, following = cut(found, query.limit, lambda tenant: tenant.tenant_id)
    return TenantList(data=[_object(tenant) for tenant in page], next_cursor=following)


# Ids may hold a slash, percent-encoded in the path.
@router.get(
    "/{tenant_id:path}",
    operation_id="get_tenant",
    responses=problems("not_found"),
    **rule(ApiKeyRole.VIEWER, Reach.TENANT),
)
async def get_tenant(tenant_id: PathId, caller: CallerDep, services: ServicesDep) -> TenantObject:
    """Get a tenant."""
    caller.confine(check_opaque_id(tenant_id, field="tenant_id"))
    async with caller.scope(services.database) as transaction:
        tenant = await transaction.tenants.get(caller.environment_id, tenant_id)
    if tenant is None:
        raise NotFound("no such tenant in this environment")
    return _object(tenant)


@router.put(
    "/{tenant_id:path}",
    operation_id="put_tenant",
    responses=problems("tenant_erasing"),
    **rule(ApiKeyRole.SERVER, Reach.TENANT),
)
async def put_tenant(
    tenant_id: PathId, body: PutTenant, caller: CallerDep, services: ServicesDep
) -> TenantObject:
    """Make a tenant or change its name. Tenants also come into being with their first connect session."""
    caller.confine(check_opaque_id(tenant_id, field="tenant_id"))
    tenant = await services.amendment.tenant(
        caller.environment_id, tenant_id, name=body.name, origin=caller.origin
    )
    return _object(tenant)


@router.delete(
    "/{tenant_id:path}",
    operation_id="erase_tenant",
    responses=problems("not_found", "tenant_erasing"),
    **rule(ApiKeyRole.ADMIN, Reach.ENVIRONMENT),
)
async def erase_tenant(tenant_id: PathId, caller: CallerDep, services: ServicesDep) -> TenantErasureObject:
    """Erase a tenant for good: revoke its grants, destroy its keys, remove its rows.

    Answers within about 25 seconds, of which providers get 15. What takes longer goes on in the worker, with
    more time for providers, and the answer is 409 `tenant_erasing`; the event `tenant.erased` is then the
    certificate. Afterwards the tenant is not found.
    """
    certificate = await services.tenant_erasure.erase(
        caller.environment_id, tenant_id, origin=caller.origin, patience=REQUEST
    )
    return TenantErasureObject(
        id=certificate.event_id,
        tenant_id=certificate.tenant_id,
        began_at=certificate.began_at,
        finished_at=certificate.finished_at,
        **asdict(certificate.counts),
    )


def _place(cursor: str | None) -> str:
    place = place_of(cursor)
    if place is None:
        return ""
    try:
        return check_opaque_id(place, field="cursor")
    except InvalidInput:
        raise bad_cursor() from None
