"""Who is asking, and with what the answer is found: the two things every resource is given."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Annotated, cast
from uuid import UUID

from fastapi import Depends, Request

from authpipe.access.refusals import Refusal, Refusals
from authpipe.api.services import ApiServices
from authpipe.domain.access import ApiKeyRole
from authpipe.domain.environment import ApiKey, Environment
from authpipe.domain.errors import Forbidden
from authpipe.domain.event import Origin
from authpipe.store.database import Database
from authpipe.store.transaction import Transaction


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated request: its key, its environment, and the origin for what it causes."""

    api_key: ApiKey
    environment: Environment
    origin: Origin
    refusals: Refusals
    #: The method and address template of the route it was sent to, known once there is one.
    route: Callable[[], str]

    @property
    def environment_id(self) -> UUID:
        """The one environment the key opens; nothing else may be read or written for this request."""
        return self.environment.environment_id

    @property
    def tenant_id(self) -> str | None:
        """The one tenant a restricted key reaches; None for a key that reaches all of its environment."""
        return self.api_key.tenant_id

    def require(self, role: ApiKeyRole) -> None:
        """Raise ``Forbidden``, naming the role that is needed, unless the key's role includes it."""
        if not self.api_key.role.includes(role):
            self._refused(Refusal.ROLE, needed=role.value)
            raise Forbidden(
                f"this API key's role is {self.api_key.role.value}; this needs the role {role.value}"
            )

    def require_environment(self) -> None:
        """Raise ``Forbidden`` when the key is restricted to a tenant."""
        if self.tenant_id is not None:
            self._refused(Refusal.TENANT)
            raise Forbidden(
                "this API key is restricted to one tenant; this concerns the environment as a whole"
            )

    def confine(self, tenant_id: str) -> None:
        """Raise ``Forbidden`` when the key is restricted to another tenant than the request names."""
        if self.tenant_id is not None and self.tenant_id != tenant_id:
            self._refused(Refusal.TENANT, tenant_id=tenant_id)
            raise Forbidden("this API key is restricted to another tenant")

    def narrowed(self, tenant_id: str | None) -> str | None:
        """The tenant a list is about: the one that was asked for, else the key's own, else None for all.

        Raises ``Forbidden`` as :meth:`confine` does.
        """
        if tenant_id is None:
            return self.tenant_id
        self.confine(tenant_id)
        return tenant_id

    def _refused(self, reason: Refusal, *, tenant_id: str | None = None, needed: str | None = None) -> None:
        self.refusals.of_good_key(
            self.api_key,
            reason,
            origin=self.origin,
            route=self.route(),
            tenant_id=tenant_id,
            needed=needed,
        )

    def scope(self, database: Database) -> AbstractAsyncContextManager[Transaction]:
        """A transaction that sees what the key may: its tenant, or its whole environment.

        Row-level security holds it, so what belongs to another tenant is not found, whatever is asked.
        """
        if self.tenant_id is not None:
            return database.tenant(self.environment_id, self.tenant_id)
        return database.environment(self.environment_id)


async def caller_of(request: Request) -> Caller:
    """What :class:`Authentication` found."""
    return cast("Caller", request.state.caller)


async def services_of(request: Request) -> ApiServices:
    """What the application was built with."""
    return cast("ApiServices", request.app.state.api_services)


CallerDep = Annotated[Caller, Depends(caller_of)]
ServicesDep = Annotated[ApiServices, Depends(services_of)]
