"""``/connect/session/{id}``: what is about to be allowed, and a deliberate click."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response

from authpipe.catalog.definition import Side, SideName
from authpipe.connect.browser import SessionView, cookie_name
from authpipe.connect.ending import FailedSession
from authpipe.domain.connect_session import ConnectSession
from authpipe.domain.errors import ConnectError, InvalidInput
from authpipe.domain.secret import Secret
from authpipe.pages.browser_request import browser_origin, csrf_matches, csrf_token, is_same_origin
from authpipe.pages.form import read_form
from authpipe.pages.link import session_address
from authpipe.pages.rendering import Rendering
from authpipe.pages.services import PageServices
from authpipe.pages.way_back import is_popup

_CSRF_FIELD = "csrf_token"
#: What is wrong with a key, rather than with the session: the person may enter another.
_ABOUT_THE_KEY = frozenset(
    {
        "account_unknown",
        "credential_limited",
        "credential_refused",
        "provider_config_refused",
        "provider_unavailable",
    }
)


class SessionPage:
    """Shows a session to the browser it belongs to and does what that browser's forms say."""

    def __init__(self, services: PageServices, rendering: Rendering) -> None:
        self._services = services
        self._rendering = rendering

    async def show(self, request: Request) -> Response:
        """The page, with a button for providers to be sent to and a form for those with keys."""
        return await self._page(request, await self._session(request))

    async def start(self, request: Request) -> Response:
        """303 to the provider."""
        session, _ = await self._sent_form(request)
        try:
            address = await self._services.authorization_start.begin(session, origin=browser_origin(request))
        except ConnectError as error:
            if error.code != "provider_config_incomplete":
                raise
            # Nothing this browser can do will help, so the application should hear of it.
            await self._services.ending.fail(session, error.code, origin=browser_origin(request))
            raise FailedSession(error.message, code=error.code, session=session) from None
        return self._rendering.redirect(address, keeps_opener=is_popup(session))

    async def key(self, request: Request) -> Response:
        """Back to the application when the key works; else the form again, without what was entered."""
        session, fields = await self._sent_form(request)
        view = await self._services.browser_sessions.view(session)
        if not _side(view).key_fields:
            raise ConnectError("Go back to the application and start again.", code="not_a_key")
        try:
            made, completion_code = await self._services.key_form.submit(
                session, fields, origin=browser_origin(request)
            )
        except InvalidInput as error:
            field = error.field if error.field in {each.name for each in _side(view).key_fields} else None
            return await self._page(request, session, status=422, wrong=(field, error.message))
        except ConnectError as error:
            if error.code not in _ABOUT_THE_KEY:
                raise
            return await self._page(request, session, status=422, wrong=(None, error.message))
        return self._rendering.success(request, made, completion_code)

    async def cancel(self, request: Request) -> Response:
        """End the session and go back to the application."""
        session, _ = await self._sent_form(request)
        await self._services.ending.fail(session, "cancelled", origin=browser_origin(request))
        return self._rendering.cancelled(request, session)

    async def _session(self, request: Request) -> ConnectSession:
        try:
            session_id = UUID(request.path_params["session_id"])
        except ValueError:
            raise ConnectError("Go back and start again.", code="session_unknown") from None
        return await self._services.browser_sessions.bound(
            session_id, request.cookies, origin=browser_origin(request)
        )

    async def _sent_form(self, request: Request) -> tuple[ConnectSession, Mapping[str, Secret]]:
        """The session and the fields of a form that was sent from its page in its browser."""
        session = await self._session(request)
        fields = await read_form(request)
        shown = fields.pop(_CSRF_FIELD, None)
        cookie = request.cookies[cookie_name(session.session_id)]
        if not is_same_origin(request, self._services.public_url) or not csrf_matches(shown, cookie):
            await self._services.ending.refused(session, "form_refused", origin=browser_origin(request))
            raise ConnectError(
                "Nothing was done. Open the page again, and use its own buttons.", code="form_refused"
            )
        return session, fields

    async def _page(
        self,
        request: Request,
        session: ConnectSession,
        *,
        status: int = 200,
        wrong: tuple[str | None, str] | None = None,
    ) -> Response:
        view = await self._services.browser_sessions.view(session)
        side = _side(view)
        left = session.expires_at - self._services.clock.now()
        return self._rendering.page(
            request,
            "key.html" if side.key_fields else "authorize.html",
            status=status,
            form_action=_schemes(view, side),
            keeps_opener=is_popup(session),
            view=view,
            session=session,
            provider=view.provider.definition,
            side=side,
            address=session_address(session.session_id),
            csrf_token=csrf_token(request.cookies[cookie_name(session.session_id)]),
            minutes_left=max(1, round(left.total_seconds() / 60)),
            wrong_field=None if wrong is None else wrong[0],
            wrong_text=None if wrong is None else wrong[1],
        )


def _side(view: SessionView) -> Side:
    return view.provider.side(SideName(view.session.kind.value))


def _schemes(view: SessionView, side: Side) -> list[str]:
    """Where the forms may lead, which is wherever the provider and the application redirect to.

    Chromium holds every redirect after a form against ``form-action``, and both send people on between hosts
    of their own, such as to sign in.  Naming one origin for each would end some of them on an error page.
    """
    addresses = [view.session.return_url]
    if not side.key_fields:
        addresses.append(view.provider.oauth.authorize_url)
    return sorted({"https:", *(f"{urlsplit(address).scheme}:" for address in addresses)})
