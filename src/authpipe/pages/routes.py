"""Every address of the hosted pages."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from authpipe.domain.errors import ConnectError
from authpipe.pages import operator_routes
from authpipe.pages.assets import PREFIX, Assets
from authpipe.pages.callback import CallbackPage
from authpipe.pages.endpoint import Endpoint, Handler
from authpipe.pages.link import LinkPage
from authpipe.pages.rendering import Rendering
from authpipe.pages.services import PageServices
from authpipe.pages.session_page import SessionPage
from authpipe.telemetry.plain_route import PlainRoute

#: The name of a file holds its content's hash, so what was fetched once never changes.
_FOREVER = "public, max-age=31536000, immutable"


def build(services: PageServices) -> list[Route]:
    """The routes of the pages, for an application that also has others.

    They answer every method, and every address below ``/connect``, ``/oauth`` and ``/pages``, themselves,
    and never raise.
    """
    assets = Assets()
    rendering = Rendering(services.public_url, assets)
    link = LinkPage(services, rendering)
    session = SessionPage(services, rendering)
    callback = CallbackPage(services, rendering)

    def at(path: str, *, get: Handler | None = None, post: Handler | None = None) -> PlainRoute:
        endpoint = Endpoint(rendering, get=get, post=post)
        return PlainRoute(path, endpoint, name=f"pages:{path}", include_in_schema=False)

    async def asset(request: Request) -> Response:
        found = assets.get(request.path_params["name"])
        if found is None:
            return await _nothing_here(request)
        return Response(
            found.content,
            media_type=found.media_type,
            headers={
                "Cache-Control": _FOREVER,
                "Cross-Origin-Resource-Policy": "same-origin",
                "X-Content-Type-Options": "nosniff",
            },
        )

    return [
        at("/connect/session/{session_id}", get=session.show),
        at("/connect/session/{session_id}/start", post=session.start),
        at("/connect/session/{session_id}/key", post=session.key),
        at("/connect/session/{session_id}/cancel", post=session.cancel),
        at("/connect/{token}", get=link.get),
        at("/oauth/callback/{provider_config_id}", get=callback.get),
        at(PREFIX + "{name}", get=asset),
        *operator_routes.build(services, rendering, at),
        *(at(f"{room}{{rest:path}}", get=_nothing_here) for room in ("/connect/", "/oauth/", PREFIX)),
    ]


async def _nothing_here(_request: Request) -> Response:
    raise ConnectError("Check the address, or go back to the application.", code="page_unknown")
