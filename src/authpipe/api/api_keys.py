"""``/v1/api-keys``: the keys of the caller's environment."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter
from pydantic import ConfigDict, Field

from authpipe.access.api_keys import LONGEST_OVERLAP, OVERLAP
from authpipe.api import examples
from authpipe.api.caller import CallerDep, ServicesDep
from authpipe.api.documented import problems
from authpipe.api.fields import WHOLE, Answer, Body, Line, OpaqueId, WholeNumber
from authpipe.api.lists import Page
from authpipe.api.rules import Reach, rule
from authpipe.domain.access import ApiKeyRole
from authpipe.domain.environment import ApiKey

router = APIRouter(prefix="/v1/api-keys", tags=["API keys"])

_TEN_YEARS_S = 3650 * 24 * 3600


class CreateApiKey(Body):
    """What the key is for, and how long."""

    model_config = ConfigDict(json_schema_extra=examples.shown({"name": "backend", "role": "server"}))

    name: Line
    role: ApiKeyRole = Field(
        ApiKeyRole.SERVER,
        description="`viewer` reads, but no secret; `server` also reads credentials and connects; `admin` "
        "also manages keys, provider configs and the environment.",
    )
    tenant_id: OpaqueId | None = Field(
        None, description="Restricts the key to one tenant; left out, it reaches the whole environment."
    )
    expires_in_s: Annotated[int, Field(strict=True, ge=1, le=_TEN_YEARS_S), WHOLE] | None = Field(
        None, description="Seconds; left out, it does not expire."
    )


class RotateApiKey(Body):
    """How long both keys are good."""

    model_config = ConfigDict(json_schema_extra=examples.shown({"overlap_s": 3600}))

    overlap_s: WholeNumber = Field(
        int(OVERLAP.total_seconds()),
        ge=0,
        le=int(LONGEST_OVERLAP.total_seconds()),
        description="Seconds until the replaced key ends, unless it expires before.",
    )


_AS_USUAL = RotateApiKey()


class ApiKeyObject(Answer):
    """A key by what may be shown of it."""

    model_config = ConfigDict(json_schema_extra=examples.shown(examples.API_KEY))

    object: Literal["api_key"] = "api_key"
    id: UUID
    name: str
    prefix: str = Field(description="The beginning of the key's text, to tell keys apart.")
    role: ApiKeyRole
    tenant_id: str | None = Field(description="The one tenant it reaches; null: all of the environment.")
    replaced_by: UUID | None = Field(description="The key that was made in its place.")
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None = Field(description="To the minute.")


class NewApiKey(ApiKeyObject):
    """A key that was just made, with its text."""

    model_config = ConfigDict(json_schema_extra=examples.shown(examples.NEW_API_KEY))

    key: str = Field(repr=False, description="The text. It is shown this once and stored nowhere.")


class ApiKeyList(Page[ApiKeyObject]):
    """Every key of the environment, oldest first, revoked ones included."""

    model_config = ConfigDict(
        json_schema_extra=examples.shown(examples.page_of(examples.API_KEY, more=False))
    )


def _fields(key: ApiKey) -> dict[str, object]:
    return {
        "id": key.api_key_id,
        "name": key.name,
        "prefix": key.prefix,
        "role": key.role,
        "tenant_id": key.tenant_id,
        "replaced_by": key.replaced_by,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
        "last_used_at": key.last_used_at,
    }


@router.post(
    "",
    status_code=201,
    operation_id="create_api_key",
    responses=problems("tenant_erasing", "idempotency_in_progress", "idempotency_key_reused"),
    **rule(ApiKeyRole.ADMIN, Reach.ENVIRONMENT),
)
async def create_api_key(body: CreateApiKey, caller: CallerDep, services: ServicesDep) -> NewApiKey:
    """Make a key for the same environment. Its text is in this answer and nowhere else."""
    key, text = await services.api_keys.create(
        caller.environment_id,
        name=body.name,
        role=body.role,
        tenant_id=body.tenant_id,
        expires_in=None if body.expires_in_s is None else timedelta(seconds=body.expires_in_s),
        origin=caller.origin,
    )
    return NewApiKey.model_validate({**_fields(key), "key": text.reveal()})


@router.get(
    "",
    operation_id="list_api_keys",
    responses=problems(takes_input=False),
    **rule(ApiKeyRole.ADMIN, Reach.ENVIRONMENT),
)
async def list_api_keys(caller: CallerDep, services: ServicesDep) -> ApiKeyList:
    """List the environment's keys."""
    keys = await services.api_keys.list(caller.environment_id)
    return ApiKeyList(data=[ApiKeyObject.model_validate(_fields(key)) for key in keys])


@router.post(
    "/{api_key_id}/revoke",
    operation_id="revoke_api_key",
    responses=problems("not_found", "idempotency_in_progress"),
    **rule(ApiKeyRole.ADMIN, Reach.ENVIRONMENT),
)
async def revoke_api_key(api_key_id: UUID, caller: CallerDep, services: ServicesDep) -> ApiKeyObject:
    """End a key for good, at once and everywhere. It may be the one you are calling with."""
    key = await services.api_keys.revoke(caller.environment_id, api_key_id, origin=caller.origin)
    return ApiKeyObject.model_validate(_fields(key))


@router.post(
    "/{api_key_id}/rotate",
    status_code=201,
    operation_id="rotate_api_key",
    responses=problems(
        "not_found",
        "api_key_ended",
        "api_key_replaced",
        "idempotency_in_progress",
        "idempotency_key_reused",
    ),
    **rule(ApiKeyRole.ADMIN, Reach.ENVIRONMENT),
)
async def rotate_api_key(
    api_key_id: UUID, caller: CallerDep, services: ServicesDep, body: RotateApiKey = _AS_USUAL
) -> NewApiKey:
    """Make a key in the place of another, with the same name, role, tenant and life.

    The replaced key is good for `overlap_s` seconds more, time enough to hand the new one out. The answer is
    the new key, and its text is in this answer and nowhere else.
    """
    key, text = await services.api_keys.rotate(
        caller.environment_id,
        api_key_id,
        overlap=timedelta(seconds=body.overlap_s),
        origin=caller.origin,
    )
    return NewApiKey.model_validate({**_fields(key), "key": text.reveal()})
