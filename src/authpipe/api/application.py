"""Puts the HTTP API together."""

from __future__ import annotations

from functools import cache
from typing import Any

from fastapi import Depends, FastAPI
from starlette.middleware import Middleware

from authpipe.access.refusals import Refusals
from authpipe.api import (
    api_keys,
    connect_sessions,
    connections,
    credential_batch,
    credential_read,
    credential_rejected,
    credentials,
    environments,
    events,
    installations,
    meta,
    openapi,
    provider_configs,
    providers,
    reconnect,
    reference_page,
    stream,
    tenants,
)
from authpipe.api.authentication import Authentication
from authpipe.api.credential_read import PATH, CredentialRead
from authpipe.api.edge import Edge
from authpipe.api.failures import handlers
from authpipe.api.fields import each_parameter_once
from authpipe.api.idempotency import Idempotency
from authpipe.api.rules import Ruled, check_rules
from authpipe.api.services import ApiServices
from authpipe.api.stream import Stream
from authpipe.telemetry.plain_route import PlainRoute

_RESOURCES = (
    credentials,
    credential_batch,
    credential_rejected,
    connect_sessions,
    connections,
    installations,
    reconnect,
    provider_configs,
    providers,
    tenants,
    environments,
    api_keys,
    events,
)


def build(services: ApiServices) -> FastAPI:
    """The application over open services.  It opens and closes nothing itself.

    Routes added afterwards get the same request ids, limits and default headers; whoever adds some calls
    :func:`~authpipe.api.rules.check_rules` again.  Raises ``RouteWithoutRule``.
    """
    application = FastAPI(
        title="Authpipe",
        # Both are served below: strict, from this host alone, with what FastAPI does not know of.
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        dependencies=[Depends(each_parameter_once)],
        exception_handlers=handlers(),
        middleware=[
            Middleware(Edge, public_url=services.public_url),
            Middleware(
                Authentication,
                authenticator=services.authenticator,
                refusals=Refusals(services.metrics, services.credential_reads),
            ),
            Middleware(Idempotency, database=services.database, vault=services.vault, clock=services.clock),
        ],
    )
    application.state.api_services = services
    # First, because it is asked for most.
    application.router.routes.append(
        PlainRoute(PATH, Ruled(CredentialRead(services), credential_read.RULE), methods=["GET"])
    )
    application.router.routes.append(
        PlainRoute(stream.PATH, Ruled(Stream(services), stream.RULE), methods=["GET"])
    )
    application.router.routes.extend(meta.routes(services))
    for resource in _RESOURCES:
        application.include_router(resource.router)

    @cache
    def document() -> dict[str, Any]:
        return openapi.document(application, services.catalog, services.public_url)

    application.openapi = document  # type: ignore[method-assign]  # FastAPI's documented way to extend it
    application.router.routes.extend(reference_page.routes(document))
    check_rules(application.routes)
    return application
