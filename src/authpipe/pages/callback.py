"""``/oauth/callback/{provider_config_id}``: the provider sends the browser back."""

from __future__ import annotations

from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response

from authpipe.domain.errors import ConnectError
from authpipe.pages.browser_request import browser_origin, is_prefetch
from authpipe.pages.rendering import Rendering
from authpipe.pages.services import PageServices


class CallbackPage:
    """Receives what the provider said and leads on to the application, or says why not."""

    def __init__(self, services: PageServices, rendering: Rendering) -> None:
        self._services = services
        self._rendering = rendering

    async def get(self, request: Request) -> Response:
        """Back to the application with a completion code, by redirect or by message."""
        if is_prefetch(request):
            raise ConnectError("It works once you go there.", code="prefetch_refused")
        # The query goes on as it came: providers differ in how they join and encode it.
        session, completion_code = await self._services.callbacks.receive(
            _provider_config_id(request),
            request.scope["query_string"].decode("latin-1"),
            request.cookies,
            origin=browser_origin(request),
        )
        return self._rendering.success(request, session, completion_code)


def _provider_config_id(request: Request) -> UUID:
    try:
        return UUID(request.path_params["provider_config_id"])
    except ValueError:
        raise ConnectError("Go back to the application and start again.", code="callback_unknown") from None
