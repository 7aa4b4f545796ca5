"""A Starlette route that is counted and logged under its own template, as FastAPI's are."""

from __future__ import annotations

from starlette.routing import Match, Route
from starlette.types import Scope


class PlainRoute(Route):
    """Puts itself into the scope as ``route``, which FastAPI's router does for its own routes only."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """As Starlette's, with the route itself in what it returns."""
        match, child_scope = super().matches(scope)
        if match is not Match.NONE:
            child_scope["route"] = self
        return match, child_scope
