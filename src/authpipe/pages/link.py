"""``/connect/{token}``: the first visit consumes the link and makes the session this browser's."""

from __future__ import annotations

from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response

from authpipe.connect.browser import LinkUsedHere
from authpipe.domain.errors import ConnectError
from authpipe.domain.secret import Secret
from authpipe.pages.browser_request import browser_origin, is_prefetch, is_visit
from authpipe.pages.cookies import bind
from authpipe.pages.rendering import Rendering
from authpipe.pages.services import PageServices
from authpipe.pages.way_back import is_popup


class LinkPage:
    """Opens links, for people only."""

    def __init__(self, services: PageServices, rendering: Rendering) -> None:
        self._services = services
        self._rendering = rendering

    async def get(self, request: Request) -> Response:
        """303 to the session's page, whose address holds no token."""
        if is_prefetch(request):
            raise ConnectError("It works once you go there.", code="prefetch_refused")
        if not is_visit(request):
            raise ConnectError("It cannot be a part of another page.", code="not_a_visit")
        try:
            session, cookie = await self._services.browser_sessions.open(
                _token(request), request.cookies, origin=browser_origin(request)
            )
        except LinkUsedHere as error:
            # Which mode the session returns by is not known here; a popup must keep its opener.
            return self._rendering.page(
                request, "opened.html", keeps_opener=True, address=session_address(error.session_id)
            )
        response = self._rendering.redirect(
            session_address(session.session_id), keeps_opener=is_popup(session)
        )
        bind(response, session, cookie, now=self._services.clock.now())
        return response


def session_address(session_id: UUID) -> str:
    """The path of a session's page."""
    return f"/connect/session/{session_id}"


def _token(request: Request) -> Secret:
    try:
        return Secret(request.path_params["token"])
    except ValueError:
        raise ConnectError("This link is not valid. Go back and start again.", code="link_unknown") from None
