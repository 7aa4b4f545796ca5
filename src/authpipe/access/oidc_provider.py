"""The OpenID provider that operators sign in with: its metadata, its keys, and what it says of a person."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry, KeySet

from authpipe.access.oidc_id_token import ALGORITHMS, Identity, identity_of, refused
from authpipe.access.sign_in_refused import SignInReason, SignInRefused
from authpipe.domain.access import OperatorRole
from authpipe.domain.clock import Clock
from authpipe.domain.errors import ProviderError
from authpipe.domain.secret import Secret
from authpipe.net.client import HttpClient
from authpipe.net.egress import EgressPolicy
from authpipe.net.message import Request, Response
from authpipe.oauth.document import read_document
from authpipe.oauth.server import AuthorizationServer, Client, ClientAuthentication, Pkce
from authpipe.telemetry.logs import get_logger

#: How long metadata and keys are believed, and how often an unknown key id may make us ask again.
_FRESH = timedelta(hours=1)
_ASK_AGAIN = timedelta(minutes=1)
_DEADLINE_S = 10.0
_OK = 200
_KEY_TYPES = frozenset({"RSA", "EC", "OKP"})

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class OidcRegistration:
    """Our registration at the provider, and whom of its people to take.

    ``new_operators`` is the role of people of ``domains`` who were not added before; None takes none.
    """

    issuer: str
    client_id: str
    client_secret: Secret
    name: str
    new_operators: OperatorRole | None = None
    domains: frozenset[str] = frozenset()

    @property
    def client(self) -> Client:
        """The registration as the protocol knows it."""
        return Client(client_id=self.client_id, client_secret=self.client_secret)


@dataclass(frozen=True, slots=True, kw_only=True)
class OidcMetadata:
    """What the provider says about itself."""

    server: AuthorizationServer
    jwks_url: str
    userinfo_url: str | None
    algorithms: frozenset[str]


@dataclass(slots=True)
class _Kept:
    """What was fetched last, and when it was asked for."""

    metadata: OidcMetadata | None = None
    metadata_at: datetime | None = None
    keys: KeySet | None = None
    keys_at: datetime | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class OidcProvider:
    """Asks the provider, through the egress policy, and remembers for an hour.

    Raises ``SignInRefused`` (``sign_in_provider_failed``) for whatever the provider does wrong.
    """

    def __init__(
        self, registration: OidcRegistration, *, http: HttpClient, egress: EgressPolicy, clock: Clock
    ) -> None:
        self.registration = registration
        self._http = http
        self._egress = egress
        self._clock = clock
        self._kept = _Kept()

    async def metadata(self) -> OidcMetadata:
        """The provider's metadata (OpenID Connect Discovery 1.0 section 4), of the configured issuer.

        The comparison is exact: a provider that answers for another one is a mix-up (RFC 8414 section 3.3).
        """
        kept = self._kept
        async with kept.lock:
            now = self._clock.now()
            if kept.metadata is None or kept.metadata_at is None or now - kept.metadata_at >= _FRESH:
                address = self.registration.issuer.rstrip("/") + "/.well-known/openid-configuration"
                kept.metadata = self._metadata(await self._document(address))
                kept.metadata_at = now
            return kept.metadata

    async def keys(self, key_id: str | None) -> KeySet:
        """The provider's public keys; fetched again, at most once a minute, when none has this id."""
        metadata = await self.metadata()
        kept = self._kept
        async with kept.lock:
            now = self._clock.now()
            age = None if kept.keys_at is None else now - kept.keys_at
            if (
                kept.keys is None
                or age is None
                or age >= _FRESH
                or (age >= _ASK_AGAIN and not _has_key(kept.keys, key_id))
            ):
                kept.keys = _public_keys(await self._document(metadata.jwks_url))
                kept.keys_at = now
            return kept.keys

    async def told(self, metadata: OidcMetadata, identity: Identity, access_token: Secret) -> Identity:
        """The identity with what the userinfo endpoint adds, for providers whose ID tokens hold no email.

        Its subject must be the same (OpenID Connect Core 5.3.2).
        """
        if metadata.userinfo_url is None:
            return identity
        document = await self._document(
            metadata.userinfo_url, authorization=Secret(f"Bearer {access_token.reveal()}")
        )
        more = identity_of(dict(document), identity.issuer)
        if more.subject != identity.subject:
            raise refused("userinfo is about somebody else")
        return more

    async def send(self, request: Request) -> Response:
        """An answer of the provider, whatever its status."""
        try:
            return await self._http.send(request, deadline_s=_DEADLINE_S)
        except ProviderError as error:
            raise failed(error.detail or error.message) from None

    async def _document(self, url: str, *, authorization: Secret | None = None) -> Mapping[str, Any]:
        headers: dict[str, str | Secret] = {"Accept": "application/json"}
        if authorization is not None:
            headers["Authorization"] = authorization
        response = await self.send(Request(method="GET", url=url, headers=headers))
        document = read_document(response) if response.status == _OK else None
        if document is None:
            raise failed(f"{url} answered {response.status}, or with no JSON object")
        return document

    def _metadata(self, document: Mapping[str, Any]) -> OidcMetadata:
        issuer = self.registration.issuer
        if document.get("issuer") != issuer:
            raise failed("the metadata names another issuer than AUTHPIPE_OIDC_ISSUER")
        methods = document.get("token_endpoint_auth_methods_supported")
        posts = isinstance(methods, list) and "client_secret_basic" not in methods
        told = document.get("id_token_signing_alg_values_supported")
        # A provider that names none is taken at the standard's word: RS256 must be there.
        named = {each for each in told if isinstance(each, str)} if isinstance(told, list) else {"RS256"}
        algorithms = ALGORITHMS & named
        if not algorithms:
            raise failed("the provider signs with no algorithm that is taken here")
        userinfo = document.get("userinfo_endpoint")
        return OidcMetadata(
            server=AuthorizationServer(
                authorize_url=self._endpoint(document, "authorization_endpoint"),
                token_url=self._endpoint(document, "token_endpoint"),
                client_authentication=ClientAuthentication.POST if posts else ClientAuthentication.BASIC,
                pkce=Pkce.S256,
                issuer=issuer,
                issuer_in_callback=document.get("authorization_response_iss_parameter_supported") is True,
            ),
            jwks_url=self._endpoint(document, "jwks_uri"),
            userinfo_url=None if userinfo is None else self._endpoint(document, "userinfo_endpoint"),
            algorithms=algorithms,
        )

    def _endpoint(self, document: Mapping[str, Any], name: str) -> str:
        url = document.get(name)
        if not isinstance(url, str):
            raise failed(f"the metadata has no {name}")
        try:
            # https, or plain http to this machine where development allows it.
            self._egress.check_url(url)
        except ProviderError as error:
            raise failed(f"{name}: {error.message}") from None
        return url


def failed(detail: str) -> SignInRefused:
    """The one text for a provider that does not do its part; what it was stands in the log."""
    _log.warning("the OpenID provider failed", reason=detail)
    return SignInRefused(
        SignInReason.PROVIDER_FAILED,
        "The identity provider does not answer as it should. Try again in a moment, or use a password.",
        detail=detail,
    )


def _has_key(keys: KeySet, key_id: str | None) -> bool:
    return key_id is None or any(key.kid == key_id for key in keys)


def _public_keys(document: Mapping[str, Any]) -> KeySet:
    """The asymmetric keys for signatures; what is not understood is left out (RFC 7517 section 5)."""
    found = []
    listed = document.get("keys")
    for each in listed if isinstance(listed, list) else []:
        if not isinstance(each, dict) or each.get("kty") not in _KEY_TYPES or each.get("use") == "enc":
            continue
        try:
            found.append(JWKRegistry.import_key(each))
        except (JoseError, ValueError, KeyError, TypeError):
            continue
    if not found:
        raise failed("the provider publishes no key for signatures")
    return KeySet(found)
