"""What must be known of an authorization server to talk to it, and of our registration there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from authpipe.domain.secret import Secret


class ClientAuthentication(StrEnum):
    """How the client proves itself at the token endpoint (RFC 6749 section 2.3.1)."""

    BASIC = "client_secret_basic"
    POST = "client_secret_post"
    NONE = "none"


class BodyFormat(StrEnum):
    """What the token endpoint takes.  The standard says form; a few providers want JSON."""

    FORM = "form"
    JSON = "json"


class Pkce(StrEnum):
    """Whether to send a PKCE challenge (RFC 7636).

    ``unknown`` sends S256 as well: a server must ignore parameters it does not know (RFC 6749 section 3.1).
    ``none`` is for servers on which sending one is documented to do harm.
    """

    S256 = "s256"
    UNKNOWN = "unknown"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenFields:
    """Where the facts stand in a token response, as dotted paths into its JSON."""

    access_token: str = "access_token"
    refresh_token: str = "refresh_token"
    expires_in: str = "expires_in"
    refresh_expires_in: str = "refresh_token_expires_in"
    scope: str = "scope"
    token_type: str = "token_type"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationServer:
    """Endpoints and manners of one authorization server, after any base URL was applied.

    ``default_lifetime_s`` is the access token's lifetime in seconds when the response does not tell one;
    None means such a token does not expire.  ``secret_paths`` are dotted paths of further secrets in the
    token response, wrapped before anything else sees them.  ``scope_in_request`` is False where scopes are
    chosen in the provider's console and the authorization request takes no ``scope``.
    """

    authorize_url: str
    token_url: str
    client_authentication: ClientAuthentication
    token_body: BodyFormat = BodyFormat.FORM
    pkce: Pkce = Pkce.UNKNOWN
    scope_separator: str = " "
    scope_in_request: bool = True
    issuer: str | None = None
    issuer_in_callback: bool = False
    authorize_parameters: Mapping[str, str] = field(default_factory=dict)
    token_fields: TokenFields = field(default_factory=TokenFields)
    default_lifetime_s: int | None = None
    secret_paths: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """Our registration at the authorization server."""

    client_id: str
    client_secret: Secret | None
