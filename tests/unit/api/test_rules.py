"""A route under /v1 without an access rule cannot be served."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.routing import iter_route_contexts
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Host, Mount, Route
from starlette.types import Receive, Scope, Send

from authpipe.api.rules import AccessRule, Reach, RouteWithoutRule, Ruled, check_rules, rule, rule_of
from authpipe.domain.access import ApiKeyRole
from authpipe.telemetry.plain_route import PlainRoute

RULE = AccessRule(ApiKeyRole.SERVER, Reach.TENANT)


async def plain(_request: Request) -> Response:
    return Response()


async def asgi(_scope: Scope, _receive: Receive, _send: Send) -> None:
    return None


async def handler() -> int:
    return 1


def included(path: str, *, prefix: str = "", **declared: Any) -> list[BaseRoute]:
    """The routes of an application that took in a router."""
    router = APIRouter()
    router.get(path, **declared)(handler)
    application = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    application.include_router(router, prefix=prefix)
    return application.routes


def added(route: BaseRoute) -> list[BaseRoute]:
    return [route]


@pytest.mark.parametrize(
    "routes",
    [
        lambda: included("/v1/things"),
        lambda: included("/things", prefix="/v1"),
        lambda: included("/v1"),
        lambda: included("/v1/things", dependencies=[]),
        lambda: included("/v1/things", openapi_extra=rule(ApiKeyRole.ADMIN, Reach.TENANT)["openapi_extra"]),
        lambda: included("/{anything:path}"),
        lambda: added(PlainRoute("/v1/things", plain)),
        lambda: added(PlainRoute("/v1/things", asgi)),
        lambda: added(Route("/{room}/things", plain)),
        lambda: added(Mount("/v1", app=asgi)),
        lambda: added(Mount("", app=asgi)),
        lambda: added(Host("api.example.com", app=asgi)),
    ],
)
def test_a_route_without_a_rule_is_refused(routes: Callable[[], list[BaseRoute]]) -> None:
    """However it was added; also one that only tells of a rule, and one that could answer anywhere."""
    with pytest.raises(RouteWithoutRule):
        check_rules(routes())


@pytest.mark.parametrize(
    ("routes", "is_ruled"),
    [
        (lambda: included("/v1/things", **rule(ApiKeyRole.SERVER, Reach.TENANT)), True),
        (lambda: included("/things", prefix="/v1", **rule(ApiKeyRole.SERVER, Reach.TENANT)), True),
        (lambda: added(PlainRoute("/v1/things", Ruled(asgi, RULE))), True),
        (lambda: added(PlainRoute("/healthz", plain)), False),
        (lambda: added(PlainRoute("/v10", plain)), False),
        (lambda: included("/connect/{token}"), False),
        (lambda: added(Mount("/pages", app=asgi)), False),
    ],
)
def test_a_route_with_a_rule_or_of_its_own_is_served(
    routes: Callable[[], list[BaseRoute]], *, is_ruled: bool
) -> None:
    """Outside the API nothing needs a rule."""
    found = routes()
    check_rules(found)
    rules = [rule_of(context) for context in iter_route_contexts(found)]
    assert rules == [RULE if is_ruled else None]


def test_a_role_includes_those_below_it() -> None:
    """And none above it."""
    order = [ApiKeyRole.VIEWER, ApiKeyRole.SERVER, ApiKeyRole.ADMIN]
    assert [[role.includes(needed) for needed in order] for role in order] == [
        [True, False, False],
        [True, True, False],
        [True, True, True],
    ]
