"""``/account``: who is signed in here, in which browsers else, and their password."""

from __future__ import annotations

from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response

from authpipe.access.operator_sessions import SignedIn
from authpipe.access.password_rules import SHORTEST
from authpipe.access.sign_in_refused import SignInRefused
from authpipe.domain.errors import AuthpipeError, InvalidInput, NotFound
from authpipe.domain.secret import Secret
from authpipe.pages import operator_cookies
from authpipe.pages.operator_gate import OperatorGate, acting, form_token
from authpipe.pages.problems import problem_of
from authpipe.pages.rendering import Rendering
from authpipe.pages.services import PageServices
from authpipe.pages.sign_in_page import ACCOUNT, sign_in_address

#: What was done, by the word that the way back carries.
DONE = {
    "password": "Your password is changed, and every other session has ended.",
    "session": "The session has ended.",
    "sessions": "Every other session has ended.",
}


class AccountPage:
    """Shows operators what concerns themselves and does what its forms say."""

    def __init__(self, services: PageServices, rendering: Rendering, gate: OperatorGate) -> None:
        self._services = services
        self._rendering = rendering
        self._gate = gate

    async def show(self, request: Request) -> Response:
        """The page, or 303 to the sign-in."""
        signed_in = await self._gate.current(request)
        if signed_in is None:
            return self._rendering.redirect(sign_in_address("account"))
        return await self._page(request, signed_in)

    async def change_password(self, request: Request) -> Response:
        """303 back, with every other session ended; or the form again."""
        signed_in, fields = await self._gate.posted(request)
        chosen = fields.get("password", Secret(""))
        if chosen != fields.get("again", Secret("")):
            wrong = InvalidInput("The two new passwords are not the same.", field="again")
            return await self._page(request, signed_in, wrong=wrong)
        try:
            mark = await self._services.password_sign_in.change_password(
                signed_in, fields.get("current", Secret("")), chosen, origin=acting(request, signed_in)
            )
        except (InvalidInput, SignInRefused) as error:
            return await self._page(request, signed_in, wrong=error)
        response = self._back("password")
        operator_cookies.keep_mark(response, mark)
        return response

    async def end_session(self, request: Request) -> Response:
        """End one of the operator's own sessions."""
        signed_in, _ = await self._gate.posted(request)
        try:
            session_id = UUID(request.path_params["session_id"])
            await self._services.operator_sessions.end(
                signed_in.operator.operator_id, session_id, origin=acting(request, signed_in)
            )
        except (ValueError, NotFound):
            return self._back("session")  # it has ended, which is what was wanted
        return self._back("session")

    async def end_others(self, request: Request) -> Response:
        """End every session of the operator but this one."""
        signed_in, _ = await self._gate.posted(request)
        await self._services.operator_sessions.end_all(
            signed_in.operator.operator_id,
            keep=signed_in.session.session_id,
            origin=acting(request, signed_in),
        )
        return self._back("sessions")

    def _back(self, done: str) -> Response:
        return self._rendering.redirect(f"{ACCOUNT}?done={done}")

    async def _page(
        self, request: Request, signed_in: SignedIn, *, wrong: AuthpipeError | None = None
    ) -> Response:
        sessions = await self._services.operator_sessions.list(signed_in.operator.operator_id)
        oidc = self._services.oidc_sign_in
        status = 200
        if wrong is not None:
            status = 422 if isinstance(wrong, InvalidInput) else problem_of(wrong)[0].status
        return self._rendering.page(
            request,
            "account.html",
            status=status,
            here="account",
            me=signed_in.operator,
            csrf_token=form_token(request),
            current_session=signed_in.session,
            sessions=sessions,
            provider=None if oidc is None else oidc.name,
            shortest=SHORTEST,
            notice=DONE.get(request.query_params.get("done", "")),
            wrong_field=wrong.field if isinstance(wrong, InvalidInput) else None,
            wrong_text=None if wrong is None else wrong.message,
        )
