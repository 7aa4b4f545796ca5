"""Sending the browser to the provider: state, PKCE, and a redirect URI of this provider config alone."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from authpipe.catalog.definition import Side, SideName
from authpipe.connect.one_time import SESSION_LIFETIME, digest, new_value
from authpipe.credentials.provider import Provider, Providers
from authpipe.domain.clock import Clock
from authpipe.domain.connect_session import AuthorizationAttempt, ConnectSession
from authpipe.domain.errors import ConfigurationError, ConnectError
from authpipe.domain.event import Origin
from authpipe.domain.identifiers import new_id
from authpipe.events.record import record
from authpipe.events.types import EventType
from authpipe.oauth.authorization import authorization_url
from authpipe.oauth.pkce import challenge, new_verifier
from authpipe.oauth.server import Pkce
from authpipe.store.database import Database
from authpipe.telemetry import traces
from authpipe.vault.context import EncryptionContext
from authpipe.vault.vault import Vault


def redirect_uri(public_url: str, provider_config_id: UUID) -> str:
    """Distinct per provider config, so that a code meant for one can never be sent to another's server.

    draft-ietf-oauth-security-topics-update: a distinct redirect URI per context defends against mix-up.
    """
    return f"{public_url.rstrip('/')}/oauth/callback/{provider_config_id}"


def verifier_context(attempt: AuthorizationAttempt) -> EncryptionContext:
    """Where a PKCE verifier belongs."""
    return EncryptionContext(
        environment_id=attempt.environment_id,
        tenant_id=attempt.tenant_id,
        row_id=attempt.attempt_id,
        field="verifier",
    )


class AuthorizationStart:
    """Begins authorization attempts."""

    def __init__(
        self, *, database: Database, providers: Providers, vault: Vault, clock: Clock, public_url: str
    ) -> None:
        self._database = database
        self._providers = providers
        self._vault = vault
        self._clock = clock
        self._public_url = public_url

    async def begin(self, session: ConnectSession, *, origin: Origin) -> str:
        """The provider's URL for a session bound to this browser.  It carries the state: do not log it.

        Raises ``ConnectError`` when the session is over or the provider config cannot be used.
        """
        with traces.span("connect.start", provider=session.provider, connect_session_id=session.session_id):
            return await self._begin(session, origin)

    async def _begin(self, session: ConnectSession, origin: Origin) -> str:
        provider = await self._providers.by_id(session.environment_id, session.provider_config_id)
        provider.check_enabled()
        side = provider.side(SideName(session.kind.value))
        if side.key_fields or session.browser_hash is None:
            raise ConnectError("This provider is connected with a key.", code="not_an_authorization")
        server = provider.oauth
        now = self._clock.now()
        state = new_value()
        verifier = None if server.pkce is Pkce.NONE else new_verifier()
        attempt = AuthorizationAttempt(
            attempt_id=new_id(),
            session_id=session.session_id,
            environment_id=session.environment_id,
            tenant_id=session.tenant_id,
            provider_config_id=session.provider_config_id,
            verifier_ciphertext=None,
            redirect_uri=redirect_uri(self._public_url, session.provider_config_id),
            scopes=session.scopes,
            created_at=now,
            expires_at=min(now + SESSION_LIFETIME, session.expires_at),
        )
        sealed = None
        if verifier is not None:
            sealed = await self._vault.encrypt(verifier, verifier_context(attempt))
        try:
            url = authorization_url(
                server,
                (await self._providers.client(provider)).client_id,
                redirect_uri=attempt.redirect_uri,
                scopes=session.scopes,
                state=state,
                code_challenge=None if verifier is None else challenge(verifier),
                parameters=_parameters(provider, side),
            )
        except ConfigurationError as error:
            raise ConnectError(
                "The application's registration at the provider is incomplete. Tell its developers.",
                code="provider_config_incomplete",
                detail=error.message,
            ) from None
        async with self._database.tenant(session.environment_id, session.tenant_id) as transaction:
            if await transaction.sessions.authorizing(session, at=now) is None:
                raise ConnectError("This took too long. Go back and start again.", code="session_expired")
            # A second click begins again: the earlier attempt's state stops being good.
            await transaction.attempts.drop_of_session(
                session.environment_id, session.tenant_id, session.session_id
            )
            await transaction.attempts.add(
                replace(attempt, verifier_ciphertext=sealed),
                state_hash=digest(state),
                browser_hash=session.browser_hash,
            )
            await record(
                transaction,
                EventType.CONNECT_SESSION_AUTHORIZING,
                environment_id=session.environment_id,
                tenant_id=session.tenant_id,
                object_kind="connect_session",
                object_id=session.session_id,
                origin=origin,
                at=now,
                data={"provider": session.provider, "scopes": list(session.scopes)},
            )
        return url


def _parameters(provider: Provider, side: Side) -> dict[str, str]:
    """The side's fixed parameters, then those an operator may set on the provider config."""
    chosen = dict(side.authorize_parameters)
    for parameter in side.parameters:
        value = provider.config.parameters.get(parameter.name, parameter.default)
        if value is not None:
            chosen[parameter.name] = str(value)
    return chosen
