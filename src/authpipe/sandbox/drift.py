"""Drift: one installation per org; scopes live in the console and the secret travels in a URL."""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping

from aiohttp import web

from authpipe.sandbox.applications import Application, DriftApplication
from authpipe.sandbox.authorize_request import AuthorizeRules
from authpipe.sandbox.consent import AuthorizeEndpoint, PlainConsent
from authpipe.sandbox.ledger import Ledger, Token
from authpipe.sandbox.seeds import DRIFT_PEOPLE
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
from authpipe.sandbox.wire import authorization, json_answer

ACCESS_TOKEN_LIFETIME_S = 7200
_TOKEN_LENGTH = 32

_RULES = AuthorizeRules("drift", known_scopes=None, required_scopes=False)


class _DriftConsent(PlainConsent):
    """The callback of the vendor's own sample joins its second parameter with a question mark."""

    def callback(self, application: Application, redirect_uri: str, parameters: Mapping[str, str]) -> str:
        url = super().callback(application, redirect_uri, parameters)
        if isinstance(application, DriftApplication) and application.callback_joined_with_question_mark:
            head, _, query = url.rpartition("?")
            return f"{head}?{query.replace('&', '?', 1)}"
        return url


class Drift:
    """``dev.drift.com/authorize`` and ``driftapi.com``."""

    def __init__(self, state: SandboxState) -> None:
        self._state = state
        self._authorize = AuthorizeEndpoint(state, "/drift/authorize", _DriftConsent(state, _RULES, {}))

    def routes(self) -> list[web.RouteDef]:
        """The routes to mount."""
        return [
            *self._authorize.routes(),
            web.post("/drift/oauth2/token", answering_refusals(self._token)),
            web.post("/drift/app/uninstall", self._uninstall),
            web.post("/drift/app/token_info", self._token_info),
            web.get("/drift/users/list", self._users),
        ]

    @property
    def _ledger(self) -> Ledger:
        return self._state.ledgers["drift"]

    def _applications(self) -> dict[str, DriftApplication]:
        return {
            client_id: application
            for client_id, application in self._state.applications["drift"].items()
            if isinstance(application, DriftApplication)
        }

    async def _token(self, request: web.Request) -> web.Response:
        form = await read_token_form(request, json_too=False)
        application = authenticate_client(request, form, self._applications(), basic=False)
        match form.get("grant_type"):
            case "authorization_code":
                # The documented exchange has no redirect_uri; one that is sent must fit.
                source = redeem_code(self._ledger, application, form, redirect_uri_required=False, pkce=False)
                scopes = tuple(application.scopes)
            case "refresh_token":
                source = redeem_refresh_token(
                    self._ledger, application, form, description="Invalid refresh_token"
                )
                scopes = source.scopes
            case _:
                raise OAuthRefused(400, "unsupported_grant_type", "Unsupported grant_type")
        issued = issue_tokens(
            self._ledger,
            application,
            source.authorization,
            scopes,
            length=_TOKEN_LENGTH,
            lifetime_s=ACCESS_TOKEN_LIFETIME_S,
            with_refresh_token=True,
        )
        return json_answer(
            {
                "access_token": issued.access_token,
                "refresh_token": issued.refresh_token,
                "expires_in": issued.expires_in,
                "orgId": _organization_of(source),
            }
        )

    async def _uninstall(self, request: web.Request) -> web.Response:
        """Remove the application from the org of the token; every token of that consent dies."""
        application = self._applications().get(request.query.get("clientId", ""))
        secret = request.query.get("clientSecret", "")
        token = self._bearer(request)
        if application is None or token is None or token.authorization.client_id != application.client_id:
            return _error(401, "Unauthorized")
        if not hmac.compare_digest(secret.encode(), application.client_secret.encode()):
            return _error(401, "Unauthorized")
        organization = _organization_of(token)
        for person in DRIFT_PEOPLE:
            if person.organization == organization:
                self._ledger.revoke(user=person.username, client_id=application.client_id)
        return json_answer({"result": "OK", "ok": True})

    async def _token_info(self, request: web.Request) -> web.Response:
        try:
            document = json.loads(await request.read())
        except ValueError:
            return _error(400, "The body is not JSON")
        presented = document.get("access_token") if isinstance(document, dict) else None
        token = self._ledger.alive("access", presented) if isinstance(presented, str) else None
        if token is None:
            return _error(401, "Unauthorized")
        remaining = (
            0 if token.expires_at is None else int((token.expires_at - self._state.now()).total_seconds())
        )
        return json_answer(
            {
                "token_type": "bearer",
                "credential_id": token.authorization.client_id,
                "access_token": presented,
                "authenticated_userid": f"orgId:{_organization_of(token)}",
                "scope": " ".join(token.scopes),
                "created_at": int(token.issued_at.timestamp() * 1000),
                "expires_in": remaining,
            }
        )

    async def _users(self, request: web.Request) -> web.Response:
        token = self._bearer(request)
        if token is None:
            return _error(401, "Unauthorized")
        if "user_read" not in token.scopes:
            return _error(403, "Missing scope user_read")
        organization = _organization_of(token)
        return json_answer(
            {
                "data": [
                    {
                        "id": int(person.id),
                        "orgId": person.organization,
                        "name": person.display_name,
                        "email": person.email,
                        "availability": "AVAILABLE",
                        "role": "admin",
                        "verified": True,
                        "bot": False,
                    }
                    for person in DRIFT_PEOPLE
                    if person.organization == organization
                ]
            }
        )

    def _bearer(self, request: web.Request) -> Token | None:
        scheme, value = authorization(request)
        return self._ledger.alive("access", value) if scheme == "bearer" else None


def _organization_of(token: Token) -> int:
    user = token.authorization.user
    return next(person.organization for person in DRIFT_PEOPLE if person.username == user)


def _error(status: int, message: str) -> web.Response:
    return json_answer({"error": {"type": "authentication_error", "message": message}}, status=status)
