"""The parts that token endpoints are made of: client authentication, codes, PKCE, refresh tokens."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from aiohttp import web

from authpipe.sandbox.applications import Application
from authpipe.sandbox.ledger import Authorization, Ledger, Token, new_secret
from authpipe.sandbox.wire import basic_pair, json_answer

#: RFC 7636 section 4.1.
_SHORTEST_VERIFIER = 43
_LONGEST_VERIFIER = 128

_App = TypeVar("_App", bound=Application)


class OAuthRefused(Exception):
    """An error answer of RFC 6749 section 5.2."""

    def __init__(self, status: int, error: str, description: str) -> None:
        super().__init__(error)
        self.status = status
        self.error = error
        self.description = description

    def answer(self) -> web.Response:
        """The answer as sent."""
        body = {"error": self.error, "error_description": self.description}
        return json_answer(body, status=self.status)


@dataclass(frozen=True)
class Issued:
    """Freshly issued tokens; ``expires_in`` in seconds, ``None`` when permanent."""

    access_token: str
    refresh_token: str | None
    expires_in: int | None


def answering_refusals(
    handler: Callable[[web.Request], Awaitable[web.Response]],
) -> Callable[[web.Request], Awaitable[web.Response]]:
    """Turn :class:`OAuthRefused` into its answer, and forbid caching (RFC 6749 section 5.1)."""

    async def wrapped(request: web.Request) -> web.Response:
        try:
            answer = await handler(request)
        except OAuthRefused as refusal:
            answer = refusal.answer()
        answer.headers["Cache-Control"] = "no-store"
        return answer

    return wrapped


async def read_token_form(request: web.Request, *, json_too: bool) -> dict[str, str]:
    """The parameters of a token request: form encoded, and JSON only where the provider takes it."""
    if request.content_type == "application/x-www-form-urlencoded":
        form = await request.post()
        repeated = [name for name in form if len(form.getall(name)) > 1]
        if repeated:
            raise OAuthRefused(400, "invalid_request", f"{repeated[0]} is repeated")
        return {name: value for name, value in form.items() if isinstance(value, str)}
    if json_too and request.content_type == "application/json":
        try:
            document = json.loads(await request.read())
        except ValueError:
            raise OAuthRefused(400, "invalid_request", "the body is not JSON") from None
        if not isinstance(document, dict):
            raise OAuthRefused(400, "invalid_request", "the body is not a JSON object")
        return {name: value for name, value in document.items() if isinstance(value, str)}
    raise OAuthRefused(400, "invalid_request", "Content-Type must be application/x-www-form-urlencoded")


def authenticate_client(
    request: web.Request,
    form: Mapping[str, str],
    applications: Mapping[str, _App],
    *,
    basic: bool,
) -> _App:
    """The application whose id and secret came in the body or, where ``basic``, in the header."""
    pair = basic_pair(request, form_encoded=True) if basic else None
    client_id, secret = pair or (form.get("client_id", ""), form.get("client_secret", ""))
    application = applications.get(client_id)
    if application is None or not hmac.compare_digest(secret.encode(), application.client_secret.encode()):
        raise OAuthRefused(401, "invalid_client", "Client authentication failed")
    return application


def redeem_code(
    ledger: Ledger,
    application: Application,
    form: Mapping[str, str],
    *,
    redirect_uri_required: bool = True,
    pkce: bool = True,
) -> Token:
    """Use an authorization code up.  Any mismatch is ``invalid_grant`` and leaves the code unused.

    Without ``pkce`` the provider knows nothing of it and takes no notice of a verifier.
    """
    code = ledger.alive("code", form.get("code", ""))
    if code is None or code.binding is None or code.authorization.client_id != application.client_id:
        raise OAuthRefused(400, "invalid_grant", 'Invalid "code" in request.')
    redirect_uri = form.get("redirect_uri")
    if redirect_uri != code.binding.redirect_uri and (redirect_uri_required or redirect_uri is not None):
        raise OAuthRefused(400, "invalid_grant", 'Invalid "redirect_uri" in request.')
    if pkce:
        _check_verifier(code.binding.challenge, code.binding.challenge_method, form.get("code_verifier"))
    code.used = True
    return code


def redeem_refresh_token(
    ledger: Ledger, application: Application, form: Mapping[str, str], *, description: str
) -> Token:
    """Use a refresh token up.  Stale, revoked and foreign ones are all told apart by nobody."""
    token = ledger.alive("refresh", form.get("refresh_token", ""))
    if token is None or token.authorization.client_id != application.client_id:
        raise OAuthRefused(400, "invalid_grant", description)
    token.used = True
    return token


def issue_tokens(
    ledger: Ledger,
    application: Application,
    authorization: Authorization,
    scopes: tuple[str, ...],
    *,
    length: int,
    lifetime_s: int | None,
    with_refresh_token: bool,
) -> Issued:
    """A new access token and, where asked, a refresh token without an end."""
    if application.token_lifetime_s is not None:
        lifetime_s = application.token_lifetime_s
    access_token = new_secret(length, application.token_marker)
    ledger.issue("access", access_token, authorization, scopes, lifetime_s)
    refresh_token = None
    if with_refresh_token:
        refresh_token = new_secret(length, application.token_marker)
        ledger.issue("refresh", refresh_token, authorization, scopes, None)
    return Issued(access_token, refresh_token, lifetime_s)


def _check_verifier(challenge: str | None, method: str | None, verifier: str | None) -> None:
    """RFC 7636 section 4.6.  A verifier without a challenge is refused too: it betrays a downgrade."""
    if challenge is None and verifier is None:
        return
    if challenge is None or verifier is None:
        raise OAuthRefused(400, "invalid_grant", 'Invalid "code_verifier" in request.')
    if not _SHORTEST_VERIFIER <= len(verifier) <= _LONGEST_VERIFIER:
        raise OAuthRefused(400, "invalid_request", "code_verifier must be 43 to 128 characters")
    if method == "S256":
        hashed = hashlib.sha256(verifier.encode()).digest()
        verifier = base64.urlsafe_b64encode(hashed).rstrip(b"=").decode()
    if not hmac.compare_digest(verifier.encode(), challenge.encode()):
        raise OAuthRefused(400, "invalid_grant", 'Invalid "code_verifier" in request.')
