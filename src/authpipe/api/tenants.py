"""``/v1/tenants``: the application's customers, under the ids it chose."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import ConfigDict, Field

from authpipe.api import examples
from authpipe.api.caller import CallerDep, ServicesDep
from authpipe.api.documented import problems
from authpipe.api.fields import Answer, Body, Line
from authpipe.api.lists import Page, Paging, bad_cursor, cut, place_of
from authpipe.domain.environment import Tenant
from authpipe.domain.errors import InvalidInput, NotFound
from authpipe.domain.identifiers import check_opaque_id

router = APIRouter(prefix="/v1/tenants", tags=["Tenants"])


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


class TenantList(Page[TenantObject]):
    """One page of tenants, in the order of their ids."""

    model_config = ConfigDict(json_schema_extra=examples.shown(examples.page_of(examples.TENANT)))


def _object(tenant: Tenant) -> TenantObject:
    return TenantObject(id=tenant.tenant_id, name=tenant.name, created_at=tenant.created_at)


@router.get("", operation_id="list_tenants", responses=problems())
async def list_tenants(
    caller: CallerDep, services: ServicesDep, query: Annotated[Paging, Query()]
) -> TenantList:
    """List tenants."""
    async with services.database.environment(caller.environment_id) as transaction:
        found = await transaction.tenants.page(
            caller.environment_id, after=_place(query.cursor), limit=query.limit + 1
        )
    page, following = cut(found, query.limit, lambda tenant: tenant.tenant_id)
    return TenantList(data=[_object(tenant) for tenant in page], next_cursor=following)


# Ids may hold a slash, percent-encoded in the path.
@router.get("/{tenant_id:path}", operation_id="get_tenant", responses=problems("not_found"))
async def get_tenant(tenant_id: str, caller: CallerDep, services: ServicesDep) -> TenantObject:
    """Get a tenant."""
    check_opaque_id(tenant_id, field="tenant_id")
    async with services.database.environment(caller.environment_id) as transaction:
        tenant = await transaction.tenants.get(caller.environment_id, tenant_id)
    if tenant is None:
        raise NotFound("no such tenant in this environment")
    return _object(tenant)


@router.put("/{tenant_id:path}", operation_id="put_tenant", responses=problems())
async def put_tenant(
    tenant_id: str, body: PutTenant, caller: CallerDep, services: ServicesDep
) -> TenantObject:
    """Make a tenant or change its name. Tenants also come into being with their first connect session."""
    tenant = await services.amendment.tenant(
        caller.environment_id, tenant_id, name=body.name, origin=caller.origin
    )
    return _object(tenant)


def _place(cursor: str | None) -> str:
    place = place_of(cursor)
    if place is None:
        return ""
    try:
        return check_opaque_id(place, field="cursor")
    except InvalidInput:
        raise bad_cursor() from None
