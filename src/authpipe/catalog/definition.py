"""The shape of a provider definition: what one TOML file under ``providers/`` says, as frozen types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from authpipe.domain.credential import CredentialKind, CredentialSource
from authpipe.domain.provider_config import Attachment
from authpipe.oauth.server import AuthorizationServer


class AuthModel(StrEnum):
    """How a provider lets applications in, by the names the catalog shows."""

    USER_OAUTH = "user_oauth"
    INSTALLATION_AND_USER = "installation_and_user"
    INSTALLATION = "installation"
    API_KEY = "api_key"
    BASIC = "basic"
    CLIENT_CREDENTIALS = "client_credentials"
    OAUTH1 = "oauth1"
    JWT_BEARER = "jwt_bearer"
    DEVICE = "device"

    @property
    def label(self) -> str:
        """The name people read."""
        return {
            AuthModel.USER_OAUTH: "User OAuth",
            AuthModel.INSTALLATION_AND_USER: "Installation + User OAuth",
            AuthModel.INSTALLATION: "Installation",
            AuthModel.API_KEY: "API Key",
            AuthModel.BASIC: "Basic",
            AuthModel.CLIENT_CREDENTIALS: "Client Credentials",
            AuthModel.OAUTH1: "OAuth 1.0a",
            AuthModel.JWT_BEARER: "JWT Bearer",
            AuthModel.DEVICE: "Device",
        }[self]


class SideName(StrEnum):
    """The two things one can make at a provider."""

    CONNECTION = "connection"
    INSTALLATION = "installation"


class RefreshPolicy(StrEnum):
    """What can be done before a credential expires.

    ``rotating``: each refresh returns a new refresh token and ends the old one.  ``reusable``: the refresh
    token stays.  ``none``: the credential does not expire, or only a human can replace it.
    """

    NONE = "none"
    ROTATING = "rotating"
    REUSABLE = "reusable"


class Reading(StrEnum):
    """What one answer to a probe says."""

    ALIVE = "alive"
    DEAD = "dead"
    LIMITED = "limited"
    TRANSIENT = "transient"
    APP_WIDE = "app_wide"


class FactSource(StrEnum):
    """Where the account facts are read from: the token response, or the answer to the side's probe."""

    TOKEN_RESPONSE = "token_response"
    PROBE = "probe"


class RemovalEffect(StrEnum):
    """What becomes of users' connections when the installation they stand under goes."""

    KEEP_WORKING = "keep_working"
    NEED_REAUTH = "need_reauth"


class RequestAuth(StrEnum):
    """Whose proof a templated request carries: the credential's header, the OAuth client's, or none."""

    CREDENTIAL = "credential"
    CLIENT = "client"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestTemplate:
    """A request as data.  Values may hold ``{placeholders}`` filled by ``catalog.request.render``.

    ``success`` lists the statuses that mean the provider did what was asked.
    """

    method: str
    url: str
    auth: RequestAuth = RequestAuth.CREDENTIAL
    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    form: Mapping[str, str] | None = None
    json: Mapping[str, str] | None = None
    success: tuple[int, ...] = (200, 204)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeRule:
    """If the status matches (and, when given, the value at a dotted path of the JSON body), so it is read.

    ``path`` and ``values`` come together; a value is compared as JSON text (``50001``, ``false``), strings
    without their quotes.  ``reason`` is a stable word that ends up in events.
    """

    status: tuple[int, ...]
    path: str | None = None
    values: tuple[str, ...] = ()
    reading: Reading
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One cheap authenticated call.  The first matching rule wins; what no rule matches is read by default:
    2xx alive, 429 and 5xx transient, 401 dead, 403 limited, anything else transient."""

    request: RequestTemplate
    rules: tuple[ProbeRule, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountFacts:
    """Dotted paths to what identifies the account, and to what ``metadata`` should carry."""

    source: FactSource
    id: str
    name: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderFormat:
    """How the credential travels.  ``value`` holds ``{secret}`` or, for two-part credentials, ``{basic}``.

    ``basic`` is the text that ``{basic}`` stands for in Base64 (RFC 7617), such as ``{username}:{secret}``;
    beside the secret it may name key fields that are not secret.
    """

    name: str = "Authorization"
    value: str = "Bearer {secret}"
    basic: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyField:
    """One input of the form on which a person enters a key-type credential.

    Exactly one field is the ``secret``; the others are stored as account facts and shown.  ``pattern`` is a
    regular expression the whole input must match.
    """

    name: str
    label: str
    secret: bool
    help: str
    pattern: str | None = None
    placeholder: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A parameter an operator may set on a provider config, sent in the authorization request of its side.

    ``pattern`` is a regular expression the whole value must match; without a ``default`` an unset parameter
    is not sent.
    """

    name: str
    pattern: str
    meaning: str
    default: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtraCredential:
    """A further credential one token response yields beside the main one, when ``scope`` was granted."""

    kind: CredentialKind
    scope: str
    secret: str
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of the two things that can be made: a connection, or an installation.

    ``authorize_parameters`` add to those of the server.  ``shares_authorization`` says that revoking one
    token ends every token of the same account and app.  ``uninstall`` removes the app from the workspace;
    ``revocation`` ends the grant.  ``requires_installation`` and ``on_installation_removed`` speak of
    connections; ``extra_credentials`` of installations.
    """

    credential: CredentialKind
    source: CredentialSource
    header: HeaderFormat
    refresh: RefreshPolicy
    account: AccountFacts
    probe: Probe
    authorize_parameters: Mapping[str, str] = field(default_factory=dict)
    parameters: tuple[Parameter, ...] = ()
    key_fields: tuple[KeyField, ...] = ()
    revocation: RequestTemplate | None = None
    uninstall: RequestTemplate | None = None
    shares_authorization: bool = False
    requires_installation: bool = False
    on_installation_removed: RemovalEffect = RemovalEffect.KEEP_WORKING
    extra_credentials: tuple[ExtraCredential, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """A permission the provider knows, with one line for the person who grants it.

    ``sides`` says in which authorization requests it may stand: it is empty only for a scope that no
    authorization request can ask for, and then ``note`` says how it is had.  ``default`` scopes are asked
    for when a provider config names none; ``required`` ones are always asked for.
    """

    name: str
    meaning: str
    sides: frozenset[SideName]
    default: bool = False
    required: bool = False
    note: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AppCredential:
    """The secret of the app itself that an operator stores on the provider config (a bot token, a key).

    ``header`` is how its probe presents it.
    """

    name: str
    label: str
    help: str
    probe: Probe
    header: HeaderFormat = field(default_factory=HeaderFormat)


@dataclass(frozen=True, slots=True, kw_only=True)
class SetupStep:
    """One thing the developer does in the provider's console before the first connect session."""

    title: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderDefinition:
    """Everything Authpipe knows of a provider.  Engines read this; none of them knows a provider by name.

    ``default_attachment`` is whom a connection belongs to unless the provider config says otherwise.
    """

    id: str
    name: str
    description: str
    category: str
    auth_model: AuthModel
    docs_url: str
    api_base_url: str
    setup: tuple[SetupStep, ...]
    oauth: AuthorizationServer | None = None
    connection: Side | None = None
    installation: Side | None = None
    app_credential: AppCredential | None = None
    default_attachment: Attachment = Attachment.USER
    scopes: tuple[Scope, ...] = ()
    quirks: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()

    def side(self, name: SideName) -> Side | None:
        """The named side, or None when the provider has no such thing."""
        return self.connection if name is SideName.CONNECTION else self.installation

    def scopes_for(self, name: SideName) -> tuple[Scope, ...]:
        """The scopes that may stand in an authorization request of that side, in file order."""
        return tuple(scope for scope in self.scopes if name in scope.sides)
