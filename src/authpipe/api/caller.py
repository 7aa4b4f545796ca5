"""Who is asking, and with what the answer is found: the two things every resource is given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, cast
from uuid import UUID

from fastapi import Depends, Request

from authpipe.api.services import ApiServices
from authpipe.domain.environment import ApiKey, Environment
from authpipe.domain.event import Origin


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated request: its key, its environment, and the origin for what it causes."""

    api_key: ApiKey
    environment: Environment
    origin: Origin

    @property
    def environment_id(self) -> UUID:
        """The one environment the key opens; nothing else may be read or written for this request."""
        return self.environment.environment_id


async def caller_of(request: Request) -> Caller:
    """What :class:`Authentication` found."""
    return cast("Caller", request.state.caller)


async def services_of(request: Request) -> ApiServices:
    """What the application was built with."""
    return cast("ApiServices", request.app.state.api_services)


CallerDep = Annotated[Caller, Depends(caller_of)]
ServicesDep = Annotated[ApiServices, Depends(services_of)]
