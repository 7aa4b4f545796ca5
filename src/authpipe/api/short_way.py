"""The short way to the route that is asked for most: the same layers without the framework around them."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from authpipe.access.refusals import Refusals
from authpipe.api.authentication import Authentication
from authpipe.api.credential_read import PATH
from authpipe.api.edge import Edge
from authpipe.api.services import ApiServices
from authpipe.telemetry.plain_route import PlainRoute


class ShortWay:
    """Takes ``GET /v1/credentials`` through edge, authentication and the route's own rule, and no further.

    A caller cannot tell the ways apart: layers and route are the very same, and what the framework's other
    layers do is for other requests.  Everything else goes to ``application``, which has been built by
    :func:`authpipe.api.application.build`.
    """

    def __init__(self, application: FastAPI) -> None:
        services: ApiServices = application.state.api_services
        self._app = application
        self._route = next(
            route for route in application.routes if isinstance(route, PlainRoute) and route.path == PATH
        )
        self._layers: ASGIApp = Edge(
            Authentication(
                self._route.app,
                authenticator=services.authenticator,
                refusals=Refusals(services.metrics, services.credential_reads),
            ),
            public_url=services.public_url,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == PATH and scope["method"] == "GET":
            scope["route"] = self._route
            await self._layers(scope, receive, send)
        else:
            await self._app(scope, receive, send)
