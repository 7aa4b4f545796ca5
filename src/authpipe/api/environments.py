"""``/v1/environments``: the caller's own environment; an API key knows no other."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter
from pydantic import ConfigDict, Field

from authpipe.api import examples
from authpipe.api.caller import Caller, CallerDep, ServicesDep
from authpipe.api.documented import problems
from authpipe.api.fields import Answer, Body, Token
from authpipe.api.lists import Page
from authpipe.api.rules import Reach, rule
from authpipe.domain.access import ApiKeyRole
from authpipe.domain.environment import Environment, EnvironmentKind
from authpipe.domain.errors import NotFound

router = APIRouter(prefix="/v1/environments", tags=["Environments"])

Addresses = Annotated[list[Token], Field(max_length=100)]


class UpdateEnvironment(Body):
    """The allow-lists to replace, whole; what is left out stays."""

    model_config = ConfigDict(
        json_schema_extra=examples.shown({"return_urls": ["https://app.example.com/connected"]})
    )

    return_urls: Addresses | None = Field(
        None, description="Where connect sessions may send browsers: exact URLs, or prefixes ending in `/*`."
    )
    origins: Addresses | None = Field(None, description="Whom popups may post their message to.")


class EnvironmentObject(Answer):
    """An isolated partition: its own keys, provider configs, connections and secrets."""

    model_config = ConfigDict(json_schema_extra=examples.shown(examples.ENVIRONMENT))

    object: Literal["environment"] = "environment"
    id: UUID
    name: str
    kind: EnvironmentKind
    return_urls: list[str]
    origins: list[str]
    created_at: datetime


class EnvironmentList(Page[EnvironmentObject]):
    """The one environment of the key."""

    model_config = ConfigDict(
        json_schema_extra=examples.shown(examples.page_of(examples.ENVIRONMENT, more=False))
    )


def _object(environment: Environment) -> EnvironmentObject:
    return EnvironmentObject(
        id=environment.environment_id,
        name=environment.name,
        kind=environment.kind,
        return_urls=list(environment.return_urls),
        origins=list(environment.origins),
        created_at=environment.created_at,
    )


def _own(caller: Caller, environment_id: UUID) -> UUID:
    """The id, if it is the caller's own; of others it is not even told whether they exist."""
    if environment_id != caller.environment_id:
        raise NotFound("this API key opens no such environment")
    return environment_id


@router.get(
    "",
    operation_id="list_environments",
    responses=problems(takes_input=False),
    **rule(ApiKeyRole.VIEWER, Reach.ENVIRONMENT),
)
async def list_environments(caller: CallerDep, services: ServicesDep) -> EnvironmentList:
    """List the environment the API key belongs to. Others are made and listed on the command line."""
    return EnvironmentList(data=[_object(await services.environments.get(caller.environment_id))])


@router.get(
    "/{environment_id}",
    operation_id="get_environment",
    responses=problems("not_found"),
    **rule(ApiKeyRole.VIEWER, Reach.ENVIRONMENT),
)
async def get_environment(
    environment_id: UUID, caller: CallerDep, services: ServicesDep
) -> EnvironmentObject:
    """Get the environment the API key belongs to."""
    return _object(await services.environments.get(_own(caller, environment_id)))


@router.patch(
    "/{environment_id}",
    operation_id="update_environment",
    responses=problems("not_found"),
    **rule(ApiKeyRole.ADMIN, Reach.ENVIRONMENT),
)
async def update_environment(
    environment_id: UUID, body: UpdateEnvironment, caller: CallerDep, services: ServicesDep
) -> EnvironmentObject:
    """Replace the environment's allow-lists."""
    environment = await services.environments.update(
        _own(caller, environment_id),
        return_urls=body.return_urls,
        origins=body.origins,
        origin=caller.origin,
    )
    return _object(environment)
