"""Dialpad: user OAuth with optional PKCE; a refresh token only with ``offline_access``."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web

from authpipe.sandbox.applications import Application
from authpipe.sandbox.authorize_request import AuthorizeRefused, AuthorizeRules
from authpipe.sandbox.consent import AuthorizeEndpoint, PlainConsent
from authpipe.sandbox.ledger import Ledger, Token
from authpipe.sandbox.seeds import DIALPAD_COMPANY, DIALPAD_PEOPLE, Person
from authpipe.sandbox.state import SandboxState
from authpipe.sandbox.token_endpoint import (
    OAuthRefused,
    answering_refusals,
    authenticate_client,
    issue_tokens,
    read_token_form,
    redeem_code,
    redeem_refresh_token,
)
from authpipe.sandbox.transactions import AuthorizeRequest
from authpipe.sandbox.wire import authorization, json_answer

#: Not stated by the vendor; what clients assume.
ACCESS_TOKEN_LIFETIME_S = 3600
_TOKEN_LENGTH = 64

#: Scopes ask for more than the basic access that needs none.
_SCOPES = {
    "calls:list": "List the calls of the account",
    "change_log": "Read the change log",
    "fax_message": "Send and read faxes",
    "message_content_export": "Read the text of your own SMS",
    "message_content_export:all": "Read the text of all the company's SMS",
    "offline_access": "Stay connected while you are away",
    "recordings_export": "See recording URLs in call events",
    "screen_pop": "Open screen pops",
}

_RULES = AuthorizeRules(
    "dialpad",
    known_scopes=frozenset(_SCOPES),
    required_scopes=False,
    pkce_methods=frozenset({"S256", "plain"}),
)


class _DialpadConsent(PlainConsent):
    """A redirect URI may have a query but no fragment."""

    def read(self, query: Mapping[str, str]) -> AuthorizeRequest:
        if "#" in query.get("redirect_uri", ""):
            raise AuthorizeRefused("Invalid redirect_uri", "redirect_uri must not have a fragment.")
        return super().read(query)


class Dialpad:
    """``dialpad.com/oauth2`` and ``dialpad.com/api/v2``."""

    def __init__(self, state: SandboxState) -> None:
        self._state = state
        self._authorize = AuthorizeEndpoint(
            state, "/dialpad/oauth2/authorize", _DialpadConsent(state, _RULES, _SCOPES)
        )

    def routes(self) -> list[web.RouteDef]:
        """The routes to mount."""
        return [
            *self._authorize.routes(),
            web.post("/dialpad/oauth2/token", answering_refusals(self._token)),
            web.post("/dialpad/oauth2/deauthorize", self._deauthorize),
            web.get("/dialpad/api/v2/users/me", self._me),
            web.get("/dialpad/api/v2/company", self._company),
            web.route("*", "/dialpad/api/{rest:.*}", _not_found),
        ]

    @property
    def _ledger(self) -> Ledger:
        return self._state.ledgers["dialpad"]

    async def _token(self, request: web.Request) -> web.Response:
        # The vendor's specification shows a JSON body, every client seen sends a form.
        form = await read_token_form(request, json_too=True)
        application = authenticate_client(request, form, self._state.applications["dialpad"], basic=True)
        match form.get("grant_type"):
            case "authorization_code":
                source = redeem_code(self._ledger, application, form)
            case "refresh_token":
                source = redeem_refresh_token(
                    self._ledger, application, form, description="Invalid refresh token"
                )
            case _:
                raise OAuthRefused(400, "unsupported_grant_type", "Unsupported grant_type")
        return json_answer(self._issue(application, source))

    def _issue(self, application: Application, source: Token) -> dict[str, object]:
        issued = issue_tokens(
            self._ledger,
            application,
            source.authorization,
            source.scopes,
            length=_TOKEN_LENGTH,
            lifetime_s=ACCESS_TOKEN_LIFETIME_S,
            with_refresh_token="offline_access" in source.scopes,
        )
        body: dict[str, object] = {
            "access_token": issued.access_token,
            "token_type": "bearer",
            "expires_in": issued.expires_in,
        }
        if issued.refresh_token is not None:
            body["refresh_token"] = issued.refresh_token
        return body

    async def _deauthorize(self, request: web.Request) -> web.Response:
        token = self._bearer(request)
        if token is None:
            return _error(401, "Unauthorized")
        token.authorization.revoked = True
        return web.Response(status=204)

    async def _me(self, request: web.Request) -> web.Response:
        person = self._person(request)
        if person is None:
            return _error(401, "Unauthorized")
        first_name, _, last_name = person.display_name.partition(" ")
        return json_answer(
            {
                "id": int(person.id),
                "company_id": person.organization,
                "office_id": person.organization + 1,
                "display_name": person.display_name,
                "first_name": first_name,
                "last_name": last_name,
                "emails": [person.email],
                "phone_numbers": ["+15550100"],
                "country": "us",
                "timezone": "US/Pacific",
                "language": "en",
                "license": "talk",
                "state": "active",
                "is_admin": person.admin,
                "is_super_admin": person.admin,
            }
        )

    async def _company(self, request: web.Request) -> web.Response:
        person = self._person(request)
        if person is None:
            return _error(401, "Unauthorized")
        if not person.admin:
            return _error(403, "Company admin rights are required")
        return json_answer(
            {
                "id": DIALPAD_COMPANY.id,
                "name": DIALPAD_COMPANY.name,
                "account_type": "standard",
                "admin_email": person.email,
                "country": "us",
                "domain": "example.com",
                "office_count": 1,
                "state": "active",
            }
        )

    def _bearer(self, request: web.Request) -> Token | None:
        scheme, value = authorization(request)
        return self._ledger.alive("access", value) if scheme == "bearer" else None

    def _person(self, request: web.Request) -> Person | None:
        token = self._bearer(request)
        if token is None:
            return None
        return next(person for person in DIALPAD_PEOPLE if person.username == token.authorization.user)


def _error(status: int, message: str) -> web.Response:
    return json_answer({"error": {"code": status, "message": message}}, status=status)


async def _not_found(request: web.Request) -> web.Response:
    return _error(404, "Not found")
