"""What every authorization endpoint checks before it shows a page."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

from authpipe.sandbox.applications import Application
from authpipe.sandbox.transactions import AuthorizeRequest

#: RFC 7636 section 4.2: a challenge is 43 to 128 unreserved characters.
_CHALLENGE = re.compile(r"[A-Za-z0-9._~-]{43,128}")


class AuthorizeRefused(Exception):
    """The request cannot be put to a person; the page says why and nobody is redirected."""

    def __init__(self, title: str, message: str, *, status: int = 400) -> None:
        super().__init__(title)
        self.title = title
        self.message = message
        self.status = status


@dataclass(frozen=True)
class AuthorizeRules:
    """How one provider reads the request.  ``known_scopes`` of ``None`` means it has no scope parameter;
    empty ``pkce_methods`` means PKCE is not documented there and its parameters are ignored."""

    provider: str
    known_scopes: frozenset[str] | None
    required_scopes: bool
    pkce_methods: frozenset[str] = frozenset()
    default_pkce_method: str = "plain"


def find_application(applications: Mapping[str, Application], query: Mapping[str, str]) -> Application:
    """The application named by ``client_id``."""
    application = applications.get(query.get("client_id", ""))
    if application is None:
        raise AuthorizeRefused("Unknown application", "client_id names no application registered here.")
    return application


def check_redirect_uri(application: Application, query: Mapping[str, str]) -> str:
    """The redirect URI, compared as a whole string (RFC 9700 section 2.1)."""
    redirect_uri = query.get("redirect_uri", "")
    if redirect_uri not in application.redirect_uris:
        raise AuthorizeRefused(
            "Invalid redirect_uri",
            f"{redirect_uri or 'An empty redirect_uri'} is not registered for this application, "
            "character by character.",
        )
    return redirect_uri


def check_response_type(query: Mapping[str, str]) -> None:
    """Only the code grant is simulated."""
    if query.get("response_type") != "code":
        raise AuthorizeRefused("Unsupported response_type", "response_type must be code.")


def read_scopes(rules: AuthorizeRules, query: Mapping[str, str]) -> tuple[str, ...]:
    """The scopes in the order given, without repeats."""
    if rules.known_scopes is None:
        return ()
    scopes = tuple(dict.fromkeys(query.get("scope", "").split()))
    unknown = [scope for scope in scopes if scope not in rules.known_scopes]
    if unknown:
        raise AuthorizeRefused("Invalid scope", f"Unknown scope: {', '.join(unknown)}.")
    if not scopes and rules.required_scopes:
        raise AuthorizeRefused("Invalid scope", "At least one scope is needed.")
    return scopes


def read_challenge(rules: AuthorizeRules, query: Mapping[str, str]) -> tuple[str | None, str | None]:
    """The PKCE challenge and its method (RFC 7636 section 4.3), both ``None`` without PKCE."""
    challenge = query.get("code_challenge")
    if not rules.pkce_methods or (challenge is None and "code_challenge_method" not in query):
        return None, None
    method = query.get("code_challenge_method", rules.default_pkce_method)
    if method not in rules.pkce_methods:
        raise AuthorizeRefused("invalid_request", f"code_challenge_method {method} is not supported.")
    if challenge is None or _CHALLENGE.fullmatch(challenge) is None:
        raise AuthorizeRefused("invalid_request", "code_challenge must be 43 to 128 unreserved characters.")
    return challenge, method


def read_authorize_request(
    rules: AuthorizeRules, applications: Mapping[str, Application], query: Mapping[str, str]
) -> AuthorizeRequest:
    """The checked request of a plain code grant.  Raises :class:`AuthorizeRefused`."""
    application = find_application(applications, query)
    redirect_uri = check_redirect_uri(application, query)
    check_response_type(query)
    scopes = read_scopes(rules, query)
    challenge, method = read_challenge(rules, query)
    return AuthorizeRequest(
        provider=rules.provider,
        client_id=application.client_id,
        redirect_uri=redirect_uri,
        scopes=scopes,
        state=query.get("state"),
        challenge=challenge,
        challenge_method=method,
    )


def callback_url(redirect_uri: str, parameters: Mapping[str, str]) -> str:
    """The redirect URI with the parameters added to whatever query it has (RFC 6749 section 4.1.2)."""
    separator = "&" if urlsplit(redirect_uri).query else "?"
    return redirect_uri + separator + urlencode(parameters)
