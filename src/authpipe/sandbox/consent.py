"""The authorization endpoint: the consent page a person reads and the answer they give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from aiohttp import web

from authpipe.sandbox import pages
from authpipe.sandbox.applications import Application
from authpipe.sandbox.authorize_request import (
    AuthorizeRefused,
    AuthorizeRules,
    callback_url,
    read_authorize_request,
)
from authpipe.sandbox.ledger import CODE_LIFETIME_S, CodeBinding, new_secret
from authpipe.sandbox.seeds import PEOPLE, Person
from authpipe.sandbox.state import SandboxState
from authpipe.sandbox.transactions import AuthorizeRequest

USER_COOKIE = "sandbox_user"


@dataclass(frozen=True)
class Decision:
    """What a person allowed: the scopes, what the code is bound to, what the callback says besides."""

    scopes: tuple[str, ...]
    binding: CodeBinding
    callback_parameters: Mapping[str, str]


class Consent(Protocol):
    """How one provider asks for consent."""

    provider: str
    code_length: int

    def read(self, query: Mapping[str, str]) -> AuthorizeRequest:
        """Check the request.  Raises :class:`AuthorizeRefused`."""
        ...

    def ask(self, request: AuthorizeRequest, person: Person) -> pages.Question:
        """What the page asks this person.  Raises :class:`AuthorizeRefused` where they may not consent."""
        ...

    def is_silent(self, request: AuthorizeRequest, person: Person) -> bool:
        """Whether the page may be skipped."""
        ...

    def decide(
        self, request: AuthorizeRequest, person: Person, form: Mapping[str, str], permissions: list[str]
    ) -> Decision:
        """Read the filled form.  Raises :class:`AuthorizeRefused` where it does not fit."""
        ...

    def callback(self, application: Application, redirect_uri: str, parameters: Mapping[str, str]) -> str:
        """The URL the browser is sent back to."""
        ...


class PlainConsent:
    """Consent to a list of scopes and nothing else.  A person's ``admin`` flag does not matter."""

    code_length = 40

    def __init__(self, state: SandboxState, rules: AuthorizeRules, meanings: Mapping[str, str]) -> None:
        self.provider = rules.provider
        self._state = state
        self._rules = rules
        self._meanings = meanings

    def read(self, query: Mapping[str, str]) -> AuthorizeRequest:
        """Check the request.  Raises :class:`AuthorizeRefused`."""
        return read_authorize_request(self._rules, self._state.applications[self.provider], query)

    def ask(self, request: AuthorizeRequest, person: Person) -> pages.Question:
        """The scopes with their meanings; basic access where there are none."""
        return pages.Question(scopes=[(scope, self._meanings.get(scope, scope)) for scope in request.scopes])

    def is_silent(self, request: AuthorizeRequest, person: Person) -> bool:
        """Never: none of these providers documents ``prompt=none``."""
        return False

    def decide(
        self, request: AuthorizeRequest, person: Person, form: Mapping[str, str], permissions: list[str]
    ) -> Decision:
        """All scopes asked for; there is nothing to choose."""
        binding = CodeBinding(request.redirect_uri or "", request.challenge, request.challenge_method)
        return Decision(request.scopes, binding, {})

    def callback(self, application: Application, redirect_uri: str, parameters: Mapping[str, str]) -> str:
        """The redirect URI with the parameters added."""
        return callback_url(redirect_uri, parameters)


class AuthorizeEndpoint:
    """Serves one provider's authorization path: GET shows the page, POST takes the answer."""

    def __init__(self, state: SandboxState, path: str, consent: Consent) -> None:
        self._state = state
        self._path = path
        self._consent = consent

    def routes(self) -> list[web.RouteDef]:
        """The routes to mount."""
        return [web.get(self._path, self._show), web.post(self._path, self._answer)]

    async def _show(self, request: web.Request) -> web.Response:
        try:
            authorize = self._consent.read(request.query)
            person = self._signed_in(request)
            if authorize.prompt_none and self._consent.is_silent(authorize, person):
                return self._grant(authorize, person, {}, [])
            question = self._consent.ask(authorize, person)
        except AuthorizeRefused as refusal:
            return pages.message(refusal.title, refusal.message, status=refusal.status)
        application = self._state.applications[self._consent.provider][authorize.client_id]
        others = [
            (other, str(request.rel_url.update_query({USER_COOKIE: other.username})))
            for other in PEOPLE[self._consent.provider]
            if other is not person
        ]
        page = pages.consent(
            provider=self._consent.provider,
            application=application.name,
            person=person,
            others=others,
            question=question,
            transaction=self._state.transactions.begin(authorize),
            action=self._path,
            redirect_uri=authorize.redirect_uri,
        )
        self._remember(page, person)
        return page

    async def _answer(self, request: web.Request) -> web.Response:
        form = await request.post()
        fields = {name: value for name, value in form.items() if isinstance(value, str)}
        permissions = [value for value in form.getall("permission", []) if isinstance(value, str)]
        handle = fields.get("transaction", "")
        authorize = self._state.transactions.peek(handle)
        if authorize is None or authorize.provider != self._consent.provider:
            return pages.message(
                "This page is over", "It was already answered. Begin again from the application."
            )
        person = self._state.person(self._consent.provider, fields.get("user", ""))
        if person is None:
            return pages.message("Unknown user", "user names nobody who has an account here.", status=400)
        decision = fields.get("decision")
        if decision not in {"authorize", "cancel"}:
            return pages.message("No decision", "decision must be authorize or cancel.", status=400)
        try:
            if decision == "authorize":
                answer = self._grant(authorize, person, fields, permissions)
            else:
                answer = self._deny(authorize)
        except AuthorizeRefused as refusal:
            return pages.message(refusal.title, refusal.message, status=refusal.status)
        self._state.transactions.finish(handle)
        self._remember(answer, person)
        return answer

    def _grant(
        self, authorize: AuthorizeRequest, person: Person, fields: Mapping[str, str], permissions: list[str]
    ) -> web.Response:
        self._consent.ask(authorize, person)
        decision = self._consent.decide(authorize, person, fields, permissions)
        application = self._state.applications[self._consent.provider][authorize.client_id]
        if authorize.redirect_uri is None:
            return pages.message("Authorized", "You can close this page now.", status=200)
        ledger = self._state.ledgers[self._consent.provider]
        authorization = ledger.authorize(authorize.client_id, person.username, decision.scopes)
        code = new_secret(self._consent.code_length, application.token_marker)
        ledger.issue("code", code, authorization, decision.scopes, CODE_LIFETIME_S, decision.binding)
        parameters = {"code": code, **_state_parameter(authorize), **decision.callback_parameters}
        return _redirect(self._consent.callback(application, authorize.redirect_uri, parameters))

    def _deny(self, authorize: AuthorizeRequest) -> web.Response:
        if authorize.redirect_uri is None:
            return pages.message("Cancelled", "Nothing was authorized.", status=200)
        application = self._state.applications[self._consent.provider][authorize.client_id]
        parameters = {
            "error": "access_denied",
            "error_description": "The resource owner or authorization server denied the request",
            **_state_parameter(authorize),
        }
        return _redirect(self._consent.callback(application, authorize.redirect_uri, parameters))

    def _signed_in(self, request: web.Request) -> Person:
        """The person the page is for: chosen in the URL, remembered in the cookie, or the first there is."""
        provider = self._consent.provider
        if USER_COOKIE in request.query:
            person = self._state.person(provider, request.query[USER_COOKIE])
            if person is None:
                raise AuthorizeRefused("Unknown user", f"{USER_COOKIE} names nobody who has an account here.")
            return person
        remembered = self._state.person(provider, request.cookies.get(USER_COOKIE, ""))
        return remembered or PEOPLE[provider][0]

    def _remember(self, response: web.Response, person: Person) -> None:
        response.set_cookie(
            USER_COOKIE, person.username, path=f"/{self._consent.provider}", httponly=True, samesite="Lax"
        )


def _state_parameter(authorize: AuthorizeRequest) -> dict[str, str]:
    return {} if authorize.state is None else {"state": authorize.state}


def _redirect(location: str) -> web.Response:
    return web.Response(status=302, headers={"Location": location, "Cache-Control": "no-store"})
