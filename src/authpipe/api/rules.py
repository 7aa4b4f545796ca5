"""The access rule of every route: which role it needs, and how far it reaches."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from fastapi import Depends
from fastapi.routing import RouteContext, iter_route_contexts
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from authpipe.api.caller import Caller, CallerDep
from authpipe.api.edge import is_api
from authpipe.domain.access import ApiKeyRole

#: Where the OpenAPI document tells an operation's rule.
EXTENSION = "x-authpipe-access"


class Reach(StrEnum):
    """How far a route reaches."""

    #: The environment as a whole; refused to a key that is restricted to a tenant.
    ENVIRONMENT = "environment"
    #: No further than one tenant's objects, or nothing of the environment at all.  The handler confines a
    #: restricted key to its tenant.
    TENANT = "tenant"


@dataclass(frozen=True, slots=True)
class AccessRule:
    """Who may use a route.  As a FastAPI dependency it lets the request pass or raises ``Forbidden``."""

    role: ApiKeyRole
    reach: Reach

    async def __call__(self, caller: CallerDep) -> None:
        self.check(caller)

    def check(self, caller: Caller) -> None:
        """Raise ``Forbidden`` unless the caller's key may use the route."""
        caller.require(self.role)
        if self.reach is Reach.ENVIRONMENT:
            caller.require_environment()

    def told(self) -> dict[str, str]:
        """What the OpenAPI document says of it."""
        return {"role": self.role.value, "reach": self.reach.value}


def rule(role: ApiKeyRole, reach: Reach) -> dict[str, Any]:
    """The arguments that give a route its rule: ``@router.get("", …, **rule(role, reach))``.

    The rule is enforced before the request's values are looked at.
    """
    declared = AccessRule(role, reach)
    return {"dependencies": [Depends(declared)], "openapi_extra": {EXTENSION: declared.told()}}


class Ruled:
    """A plain ASGI application behind a rule; the request must have been authenticated."""

    def __init__(self, app: ASGIApp, rule: AccessRule) -> None:
        self._app = app
        self.rule = rule

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.rule.check(scope["state"]["caller"])
        await self._app(scope, receive, send)


class RouteWithoutRule(Exception):
    """A route under ``/v1`` that says nothing of who may use it."""


def check_rules(routes: Iterable[BaseRoute]) -> None:
    """Raise ``RouteWithoutRule`` unless every route that could answer under ``/v1`` has its rule.

    A route whose first segment is not fixed, or that has no path, could answer there too.
    """
    for context in iter_route_contexts(list(routes)):
        path = context.path
        # A mount at the root has the empty path.
        if not path or "{" in path.split("/")[1]:
            raise RouteWithoutRule(f"{context.name or 'a route'} could answer under /v1")
        if is_api(path) and rule_of(context) is None:
            raise RouteWithoutRule(f"{path} ({context.name}) has no access rule: add **rule(role, reach)")


def rule_of(context: RouteContext) -> AccessRule | None:
    """The rule a route is served under, or None."""
    app = getattr(context, "app", None)
    if isinstance(app, Ruled):
        return app.rule
    for dependency in getattr(context, "dependencies", ()):
        if isinstance(dependency.dependency, AccessRule):
            return dependency.dependency
    return None
