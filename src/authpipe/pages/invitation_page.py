"""``/invitation``: an operator chooses a password with a one-time link."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from authpipe.access.password_rules import SHORTEST
from authpipe.access.sign_in_refused import SignInReason, SignInRefused
from authpipe.domain.access import Operator
from authpipe.domain.errors import ConnectError, InvalidInput
from authpipe.domain.secret import Secret
from authpipe.pages import operator_cookies
from authpipe.pages.browser_request import browser_origin, csrf_token, is_prefetch
from authpipe.pages.form import read_form
from authpipe.pages.operator_gate import browser_facts, check_form
from authpipe.pages.rendering import Rendering
from authpipe.pages.services import PageServices
from authpipe.pages.sign_in_page import ACCOUNT

PATH = "/invitation"


class InvitationPage:
    """Opens invitations; only the password that is chosen uses one up."""

    def __init__(self, services: PageServices, rendering: Rendering) -> None:
        self._services = services
        self._rendering = rendering

    async def open(self, request: Request) -> Response:
        """303 to the form, whose address holds no token."""
        if is_prefetch(request):
            raise ConnectError("It works once you go there.", code="prefetch_refused")
        try:
            token = Secret(request.path_params["token"])
        except ValueError:
            token = Secret("unknown")
        await self._services.operator_invitations.invited(token)
        response = self._rendering.redirect(PATH)
        operator_cookies.keep_invitation(response, token)
        return response

    async def show(self, request: Request) -> Response:
        """The form."""
        token, operator = await self._invited(request)
        return self._form(request, token, operator)

    async def submit(self, request: Request) -> Response:
        """303 into the workspace, signed in; or the form again."""
        token, operator = await self._invited(request)
        fields = await read_form(request)
        check_form(request, fields, token, self._services.public_url)
        password, again = fields.get("password", Secret("")), fields.get("again", Secret(""))
        if password != again:
            return self._form(request, token, operator, wrong="The two passwords are not the same.")
        try:
            made = await self._services.operator_invitations.accept(
                token,
                password,
                browser_facts(request),
                shown=operator_cookies.shown(request, operator_cookies.SESSION),
                origin=browser_origin(request),
            )
        except InvalidInput as error:
            return self._form(request, token, operator, wrong=error.message)
        response = self._rendering.redirect(ACCOUNT)
        operator_cookies.begin_session(response, made)
        return response

    async def _invited(self, request: Request) -> tuple[Secret, Operator]:
        token = operator_cookies.shown(request, operator_cookies.INVITATION)
        if token is None:
            raise SignInRefused(
                SignInReason.INVITATION_UNKNOWN, "Open the link you were given in this browser."
            )
        return token, await self._services.operator_invitations.invited(token)

    def _form(
        self, request: Request, token: Secret, operator: Operator, *, wrong: str | None = None
    ) -> Response:
        return self._rendering.page(
            request,
            "invitation.html",
            status=200 if wrong is None else 422,
            operator=operator,
            csrf_token=csrf_token(token.reveal()),
            shortest=SHORTEST,
            wrong_text=wrong,
        )
