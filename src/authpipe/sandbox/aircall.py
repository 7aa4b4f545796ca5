"""Aircall: an admin installs for the company; one permanent token, or the account's own Basic pair."""

from __future__ import annotations

import hmac

from aiohttp import web

from authpipe.sandbox import pages
from authpipe.sandbox.applications import AircallApplication
from authpipe.sandbox.authorize_request import AuthorizeRefused, AuthorizeRules
from authpipe.sandbox.consent import AuthorizeEndpoint, PlainConsent
from authpipe.sandbox.ledger import Ledger
from authpipe.sandbox.seeds import AIRCALL_COMPANIES, AIRCALL_PEOPLE, Organization, Person
from authpipe.sandbox.state import SandboxState
from authpipe.sandbox.token_endpoint import (
    OAuthRefused,
    answering_refusals,
    authenticate_client,
    issue_tokens,
    read_token_form,
    redeem_code,
)
from authpipe.sandbox.transactions import AuthorizeRequest
from authpipe.sandbox.wire import authorization, basic_pair, json_answer

_TOKEN_LENGTH = 43


class _AircallConsent(PlainConsent):
    """Only admins see the page."""

    def ask(self, request: AuthorizeRequest, person: Person) -> pages.Question:
        if not person.admin:
            raise AuthorizeRefused(
                "Admins only", f"{person.display_name} is not an admin of this company.", status=403
            )
        return super().ask(request, person)


class Aircall:
    """``dashboard.aircall.io/oauth`` and ``api.aircall.io/v1``."""

    def __init__(self, state: SandboxState) -> None:
        self._state = state
        rules = AuthorizeRules("aircall", known_scopes=frozenset({"public_api"}), required_scopes=True)
        consent = _AircallConsent(state, rules, {"public_api": "Use the public API for the whole company"})
        self._authorize = AuthorizeEndpoint(state, "/aircall/oauth/authorize", consent)

    def routes(self) -> list[web.RouteDef]:
        """The routes to mount."""
        return [
            *self._authorize.routes(),
            web.post("/aircall/v1/oauth/token", answering_refusals(self._token)),
            web.get("/aircall/v1/ping", self._ping),
            web.get("/aircall/v1/company", self._company),
            web.get("/aircall/v1/integrations/me", self._integration),
            web.post("/aircall/v1/integrations/enable", self._enable),
            web.post("/aircall/v1/integrations/disable", self._disable),
            web.route("*", "/aircall/v1/{rest:.*}", _not_found),
        ]

    @property
    def _ledger(self) -> Ledger:
        return self._state.ledgers["aircall"]

    def _applications(self) -> dict[str, AircallApplication]:
        return {
            client_id: application
            for client_id, application in self._state.applications["aircall"].items()
            if isinstance(application, AircallApplication)
        }

    async def _token(self, request: web.Request) -> web.Response:
        form = await read_token_form(request, json_too=True)
        application = authenticate_client(request, form, self._applications(), basic=False)
        if form.get("grant_type") != "authorization_code":
            raise OAuthRefused(400, "unsupported_grant_type", "grant_type must be authorization_code")
        code = redeem_code(self._ledger, application, form, pkce=False)
        issued = issue_tokens(
            self._ledger,
            application,
            code.authorization,
            code.scopes,
            length=_TOKEN_LENGTH,
            lifetime_s=None,
            with_refresh_token=False,
        )
        return json_answer({"access_token": issued.access_token, "token_type": "Bearer"})

    def _admit(self, request: web.Request) -> Organization | web.Response:
        """The company behind the credential; without one 401, with a wrong or dead one 403."""
        scheme, value = authorization(request)
        if scheme not in {"bearer", "basic"} or not value:
            return json_answer({"message": "Unauthorized"}, status=401)
        company = self._company_of_bearer(value) if scheme == "bearer" else self._company_of_basic(request)
        return company or json_answer({"message": "Forbidden"}, status=403)

    def _company_of_bearer(self, value: str) -> Organization | None:
        token = self._ledger.alive("access", value)
        if token is None:
            return None
        user = token.authorization.user
        company_id = next(person.organization for person in AIRCALL_PEOPLE if person.username == user)
        return next(company for company in AIRCALL_COMPANIES if company.id == company_id)

    def _company_of_basic(self, request: web.Request) -> Organization | None:
        api_id, api_token = basic_pair(request) or ("", "")
        for application in self._applications().values():
            if application.api_id == api_id and hmac.compare_digest(
                application.api_token.encode(), api_token.encode()
            ):
                return AIRCALL_COMPANIES[0]
        return None

    async def _ping(self, request: web.Request) -> web.Response:
        admitted = self._admit(request)
        return admitted if isinstance(admitted, web.Response) else json_answer({"ping": "pong"})

    async def _company(self, request: web.Request) -> web.Response:
        admitted = self._admit(request)
        if isinstance(admitted, web.Response):
            return admitted
        people = sum(person.organization == admitted.id for person in AIRCALL_PEOPLE)
        return json_answer({"company": {"name": admitted.name, "users_count": people, "numbers_count": 1}})

    async def _integration(self, request: web.Request) -> web.Response:
        admitted = self._admit(request)
        return admitted if isinstance(admitted, web.Response) else self._shown(admitted)

    async def _enable(self, request: web.Request) -> web.Response:
        admitted = self._admit(request)
        if isinstance(admitted, web.Response):
            return admitted
        self._state.aircall_inactive_companies.discard(admitted.id)
        return self._shown(admitted)

    async def _disable(self, request: web.Request) -> web.Response:
        admitted = self._admit(request)
        if isinstance(admitted, web.Response):
            return admitted
        self._state.aircall_inactive_companies.add(admitted.id)
        return self._shown(admitted)

    def _shown(self, company: Organization) -> web.Response:
        active = company.id not in self._state.aircall_inactive_companies
        return json_answer(
            {
                "integration": {
                    "name": "Sandbox App",
                    "custom_name": None,
                    "logo": None,
                    "company_id": company.id,
                    "status": "active" if active else "inactive",
                    "active": active,
                    "number_ids": [],
                    "numbers_count": 0,
                }
            }
        )


async def _not_found(request: web.Request) -> web.Response:
    return json_answer({"message": "Not Found"}, status=404)
