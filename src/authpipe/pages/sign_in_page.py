"""``/sign-in``, with a password or at the OpenID provider, and ``/sign-out``."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import Response

from authpipe.access.operator_tokens import new_token
from authpipe.access.sign_in_refused import SignInReason, SignInRefused
from authpipe.domain.errors import ConnectError
from authpipe.domain.secret import Secret
from authpipe.pages import operator_cookies
from authpipe.pages.browser_request import browser_origin, csrf_token, is_prefetch
from authpipe.pages.form import read_form
from authpipe.pages.operator_gate import OperatorGate, acting, browser_facts, check_form
from authpipe.pages.problems import problem_of
from authpipe.pages.rendering import Rendering
from authpipe.pages.services import PageServices

ACCOUNT = "/account"
#: Where one may be led after signing in, by the word in ``next``: nowhere else, whatever a link says.
PLACES: Mapping[str, str] = MappingProxyType({"account": ACCOUNT, "operators": "/operators"})

#: Reasons after which the form is shown again instead of a page of their own.
_TRY_AGAIN = frozenset({SignInReason.WRONG, SignInReason.LIMITED, SignInReason.BUSY})
_MOST_PARAMETERS = 64


def sign_in_address(place: str) -> str:
    """Where to sign in on the way to one of :data:`PLACES`."""
    return f"/sign-in?next={place}"


class SignInPage:
    """Signs operators in and out."""

    def __init__(self, services: PageServices, rendering: Rendering, gate: OperatorGate) -> None:
        self._services = services
        self._rendering = rendering
        self._gate = gate

    async def home(self, _request: Request) -> Response:
        """303 to the account, which leads on to the sign-in."""
        return self._rendering.redirect(ACCOUNT)

    async def show(self, request: Request) -> Response:
        """The form, or 303 for those who are signed in."""
        place = _place(request.query_params.get("next"))
        if await self._gate.current(request) is not None:
            return self._rendering.redirect(PLACES[place])
        return self._form(request, place=place)

    async def submit(self, request: Request) -> Response:
        """303 into the workspace with a new session, or the form again."""
        fields = await self._signed_out_form(request)
        place = _place(_text(fields, "next"))
        try:
            made = await self._services.password_sign_in.sign_in(
                _text(fields, "email"),
                fields.get("password", Secret("")),
                browser_facts(request),
                mark=operator_cookies.shown(request, operator_cookies.MARK),
                shown=operator_cookies.shown(request, operator_cookies.SESSION),
                origin=browser_origin(request),
            )
        except SignInRefused as error:
            if error.reason not in _TRY_AGAIN:
                raise
            return self._form(request, place=place, wrong=error)
        response = self._rendering.redirect(PLACES[place])
        operator_cookies.begin_session(response, made)
        return response

    async def leave(self, request: Request) -> Response:
        """A page that leads to the OpenID provider at once.

        Not a redirect: browsers hold those against the form's page, whose policy lets forms lead nowhere
        else than here, as the one with the password must.
        """
        await self._signed_out_form(request)
        oidc = self._services.oidc_sign_in
        if oidc is None:
            raise ConnectError("Sign in with your password.", code="page_unknown")
        departure = await oidc.begin(origin=browser_origin(request))
        response = self._rendering.page(
            request, "leaving.html", address=departure.address, provider=oidc.name
        )
        operator_cookies.keep_departure(response, departure.cookie)
        return response

    async def callback(self, request: Request) -> Response:
        """303 into the workspace for the person whom the provider sends back."""
        oidc = self._services.oidc_sign_in
        if oidc is None:
            raise ConnectError("Sign in with your password.", code="page_unknown")
        if is_prefetch(request):
            raise ConnectError("It works once you go there.", code="prefetch_refused")
        made = await oidc.finish(
            _query(request),
            browser_facts(request),
            cookie=operator_cookies.shown(request, operator_cookies.DEPARTURE),
            shown=operator_cookies.shown(request, operator_cookies.SESSION),
            origin=browser_origin(request),
        )
        response = self._rendering.redirect(ACCOUNT)
        operator_cookies.begin_session(response, made)
        return response

    async def sign_out(self, request: Request) -> Response:
        """End this browser's session and show the form."""
        signed_in, _ = await self._gate.posted(request)
        await self._services.operator_sessions.sign_out(signed_in, origin=acting(request, signed_in))
        response = self._rendering.redirect("/sign-in")
        operator_cookies.drop(response, operator_cookies.SESSION)
        return response

    async def _signed_out_form(self, request: Request) -> Mapping[str, Secret]:
        """The fields of a form that this browser was shown, so that nobody signs another's browser in."""
        fields = await read_form(request)
        check_form(
            request,
            fields,
            operator_cookies.shown(request, operator_cookies.FORM),
            self._services.public_url,
        )
        return fields

    def _form(self, request: Request, *, place: str, wrong: SignInRefused | None = None) -> Response:
        # Kept where there is one, so that forms in several tabs stay good.
        cookie = operator_cookies.shown(request, operator_cookies.FORM) or new_token()
        oidc = self._services.oidc_sign_in
        problem = None if wrong is None else problem_of(wrong)[0]
        response = self._rendering.page(
            request,
            "sign_in.html",
            status=200 if problem is None else problem.status,
            csrf_token=csrf_token(cookie.reveal()),
            place=place,
            provider=None if oidc is None else oidc.name,
            problem=problem,
            wrong_text=None if wrong is None else wrong.message,
        )
        operator_cookies.keep(response, operator_cookies.FORM, cookie)
        return response


def _place(word: str | None) -> str:
    return word if word is not None and word in PLACES else "account"


def _text(fields: Mapping[str, Secret], name: str) -> str:
    """A field that is no secret."""
    value = fields.get(name)
    return "" if value is None else value.reveal()


def _query(request: Request) -> list[tuple[str, str]]:
    try:
        return parse_qsl(
            request.scope["query_string"].decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=_MOST_PARAMETERS,
        )
    except ValueError:
        raise SignInRefused(
            SignInReason.MALFORMED, "The identity provider's answer is malformed. Sign in again."
        ) from None
