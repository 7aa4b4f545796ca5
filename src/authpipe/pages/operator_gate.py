"""Who is at the browser, and whether a form of the operators' pages was sent from its own page."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.requests import Request

from authpipe.access.operator_sessions import BrowserFacts, SignedIn
from authpipe.access.sign_in_refused import SignInReason, SignInRefused
from authpipe.domain.access import OperatorRole
from authpipe.domain.errors import ConnectError, Forbidden
from authpipe.domain.event import Origin
from authpipe.domain.secret import Secret
from authpipe.oauth.text import clean_text
from authpipe.pages import operator_cookies
from authpipe.pages.browser_request import (
    csrf_matches,
    csrf_token,
    is_same_origin,
    request_id,
)
from authpipe.pages.form import read_form
from authpipe.pages.services import PageServices

CSRF_FIELD = "csrf_token"
_LONGEST_AGENT = 300


def browser_facts(request: Request) -> BrowserFacts:
    """What is kept of the browser."""
    agent = clean_text(request.headers.get("user-agent", ""), longest=_LONGEST_AGENT)
    return BrowserFacts(source_address=_address(request), user_agent=agent or None)


def acting(request: Request, signed_in: SignedIn) -> Origin:
    """The operator, as who causes what this request will cause."""
    return signed_in.origin(request_id(request), _address(request))


def check_form(request: Request, fields: dict[str, Secret], cookie: Secret | None, public_url: str) -> None:
    """Raise ``form_refused`` unless the form carries the token of this cookie and comes from a page of ours.

    The token leaves ``fields``.
    """
    token = fields.pop(CSRF_FIELD, None)
    if cookie is None or not csrf_matches(token, cookie.reveal()) or not is_same_origin(request, public_url):
        raise ConnectError(
            "Nothing was done. Open the page again, and use its own buttons.", code="form_refused"
        )


class OperatorGate:
    """Lets signed-in operators through."""

    def __init__(self, services: PageServices) -> None:
        self._services = services

    async def current(self, request: Request) -> SignedIn | None:
        """Who is signed in, or None.  Asked anew for every request."""
        cookie = operator_cookies.shown(request, operator_cookies.SESSION)
        if cookie is None:
            return None
        return await self._services.operator_sessions.current(cookie, source_address=_address(request))

    async def posted(
        self, request: Request, *, role: OperatorRole = OperatorRole.VIEWER
    ) -> tuple[SignedIn, Mapping[str, Secret]]:
        """Who sent a form, and its fields.

        Raises ``SignInRefused`` (``not_signed_in``), ``ConnectError`` (``form_refused``) and ``Forbidden``
        when the operator's role does not include ``role``.
        """
        signed_in = await self.current(request)
        if signed_in is None:
            raise SignInRefused(
                SignInReason.NOT_SIGNED_IN,
                "Your session has ended, and nothing was done. Sign in and try again.",
            )
        fields = await read_form(request)
        check_form(
            request,
            fields,
            operator_cookies.shown(request, operator_cookies.SESSION),
            self._services.public_url,
        )
        check_role(signed_in, role)
        return signed_in, fields


def check_role(signed_in: SignedIn, role: OperatorRole) -> None:
    """Raise ``Forbidden`` when the operator's role does not include ``role``."""
    if not signed_in.operator.role.includes(role):
        raise Forbidden(f"This needs the role {role.value}; yours is {signed_in.operator.role.value}.")


def form_token(request: Request) -> str:
    """What the forms of a signed-in operator's page carry."""
    cookie = operator_cookies.shown(request, operator_cookies.SESSION)
    return "" if cookie is None else csrf_token(cookie.reveal())


def _address(request: Request) -> str | None:
    return None if request.client is None else request.client.host
