"""The provider sends the browser back: taken once, by the right browser, for the right provider config."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from uuid import UUID

from authpipe.catalog.definition import SideName
from authpipe.catalog.quirks import parse_callback_query
from authpipe.connect.abandon import Abandonment
from authpipe.connect.browser import browser_digests
from authpipe.connect.candidates import CandidateMaking
from authpipe.connect.ending import FailedSession, SessionEnding
from authpipe.connect.grant import AccountGrant
from authpipe.connect.identify import Identification
from authpipe.connect.one_time import digest
from authpipe.connect.start import verifier_context
from authpipe.credentials.provider import Provider, Providers
from authpipe.credentials.upstream import Held
from authpipe.domain.clock import Clock
from authpipe.domain.connect_session import AuthorizationAttempt, ConnectSession, SessionStatus
from authpipe.domain.errors import (
    AuthpipeError,
    ConfigurationError,
    Conflict,
    ConnectError,
    InvalidInput,
    ProviderError,
    ProviderRejected,
)
from authpipe.domain.event import Origin, Outcome
from authpipe.domain.secret import Secret
from authpipe.events.record import record
from authpipe.events.types import EventType
from authpipe.net.client import HttpClient
from authpipe.oauth.authorization import CallbackAnswer, check_issuer, read_callback
from authpipe.oauth.token import TokenGrant, code_request, read_token_response
from authpipe.store.database import Database
from authpipe.telemetry import traces
from authpipe.telemetry.metrics import Metrics
from authpipe.telemetry.provider_call import provider_call
from authpipe.vault.vault import Vault

#: How many stray answers a process records in a minute.
_MOST_STRAYS = 60
_START_AGAIN = "Go back to the application and start again."


class Callbacks:
    """Ends authorization attempts: in a candidate, or in an event and a page that say why not."""

    def __init__(
        self,
        *,
        database: Database,
        providers: Providers,
        vault: Vault,
        http: HttpClient,
        identification: Identification,
        candidates: CandidateMaking,
        abandonment: Abandonment,
        ending: SessionEnding,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._database = database
        self._providers = providers
        self._vault = vault
        self._http = http
        self._identification = identification
        self._candidates = candidates
        self._abandonment = abandonment
        self._ending = ending
        self._clock = clock
        self._metrics = metrics
        self._strays = (0, 0)

    async def receive(
        self, provider_config_id: UUID, raw_query: str, cookies: Mapping[str, str], *, origin: Origin
    ) -> tuple[ConnectSession, Secret]:
        """The session with its candidate, and the completion code for the way back.

        Raises ``ConnectError``; as :class:`FailedSession` where the session is known and is over.  Raises
        ``Conflict`` (``tenant_erasing``).
        """
        with traces.span("connect.callback", provider_config_id=provider_config_id) as span:
            session, completion_code = await self._receive(provider_config_id, raw_query, cookies, origin)
            span.set(provider=session.provider, connect_session_id=session.session_id)
            return session, completion_code

    async def _receive(
        self, provider_config_id: UUID, raw_query: str, cookies: Mapping[str, str], origin: Origin
    ) -> tuple[ConnectSession, Secret]:
        provider = await self._provider(provider_config_id)
        try:
            answer = read_callback(parse_callback_query(provider.definition, raw_query))
        except (InvalidInput, ConnectError) as error:
            await self._stray(provider, "callback_malformed", origin)
            raise ConnectError(
                f"The provider's answer is malformed. {_START_AGAIN}",
                code="callback_malformed",
                detail=error.detail or error.message,
            ) from None
        if answer.state is None:
            await self._stray(provider, "state_missing", origin)
            raise ConnectError(
                f"The provider's answer names no request. {_START_AGAIN}", code="state_missing"
            )
        attempt = await self._take(provider, answer.state, cookies, origin)
        async with self._database.system() as transaction:
            session = await transaction.sessions.by_id(attempt.session_id)
            if session is not None:
                await transaction.tenants.keep(session.environment_id, session.tenant_id)
        if session is None or session.status is not SessionStatus.AUTHORIZING:
            raise ConnectError(f"This request is already over. {_START_AGAIN}", code="session_ended")
        return await self._finish(provider, session, attempt, answer, origin)

    async def _provider(self, provider_config_id: UUID) -> Provider:
        async with self._database.system() as transaction:
            config = await transaction.provider_configs.find(provider_config_id)
        if config is None:
            raise ConnectError(
                f"This address belongs to no provider. {_START_AGAIN}", code="callback_unknown"
            )
        return self._providers.join(config)

    async def _take(
        self, provider: Provider, state: Secret, cookies: Mapping[str, str], origin: Origin
    ) -> AuthorizationAttempt:
        """One ``DELETE … RETURNING`` that must match state, path, cookie and time."""
        now = self._clock.now()
        state_hash, browsers = digest(state), browser_digests(cookies)
        async with self._database.system() as transaction:
            attempt = await transaction.attempts.take(
                state_hash,
                provider_config_id=provider.config.provider_config_id,
                browser_hashes=browsers,
                now=now,
            )
            if attempt is not None:
                return attempt
            known = await transaction.attempts.peek(state_hash)
            same_browser = await transaction.attempts.belongs_to_browser(state_hash, browsers)
            session = None if known is None else await transaction.sessions.by_id(known.session_id)
        if known is None or session is None:
            await self._stray(provider, "state_unknown", origin)
            raise ConnectError(
                f"This answer was already used or is too old. {_START_AGAIN}", code="state_unknown"
            )
        if known.provider_config_id != provider.config.provider_config_id:
            code, text = "provider_mismatch", "The answer came to another provider's address."
        elif known.expires_at <= now:
            # Before the cookie, whose time ends with the session's.
            code, text = "session_expired", "This took too long."
        else:
            code, text = "browser_mismatch", "The answer came to another browser than the one that began."
        await self._end(session, code, origin)
        if same_browser:
            raise FailedSession(f"{text} {_START_AGAIN}", code=code, session=session)
        raise ConnectError(f"{text} {_START_AGAIN}", code=code)

    async def _end(self, session: ConnectSession, code: str, origin: Origin) -> None:
        expired = code == "session_expired"
        async with self._database.tenant(session.environment_id, session.tenant_id) as transaction:
            await self._ending.fail_in(
                transaction,
                session,
                code,
                origin=origin,
                status=SessionStatus.EXPIRED if expired else SessionStatus.FAILED,
            )

    async def _finish(
        self,
        provider: Provider,
        session: ConnectSession,
        attempt: AuthorizationAttempt,
        answer: CallbackAnswer,
        origin: Origin,
    ) -> tuple[ConnectSession, Secret]:
        try:
            provider.check_enabled()
            check_issuer(provider.oauth, answer)
            code = _code(provider, answer)
            with traces.span("connect.exchange", provider=session.provider):
                token = await self._exchange(provider, attempt, code)
            with traces.span("connect.identify", provider=session.provider):
                grant = await self._identify(provider, session, attempt, token)
        except (ConnectError, ProviderError, ConfigurationError, Conflict) as error:
            failure = _failure(error, session)
            await self._ending.fail(session, failure.code, origin=origin, data=_told(error, answer))
            raise failure from None
        try:
            return await self._candidates.make(session, provider, grant, origin=origin)
        except ConnectError:
            raise
        except BaseException:
            # The code is used up and the tokens are nowhere yet: give them back as far as that goes.
            with contextlib.suppress(Exception):
                await self._abandonment.of_grant(provider, SideName(session.kind.value), grant)
            with contextlib.suppress(Exception):
                await self._ending.fail(session, "not_stored", origin=origin)
            raise

    async def _identify(
        self, provider: Provider, session: ConnectSession, attempt: AuthorizationAttempt, token: TokenGrant
    ) -> AccountGrant:
        side_name = SideName(session.kind.value)
        try:
            return await self._identification.of_token(
                provider, side_name, token, requested=attempt.scopes, received_at=self._clock.now()
            )
        except BaseException:
            # Tokens of nobody known cannot be kept; leaving them alive at the provider would be careless.
            with contextlib.suppress(Exception):
                await self._abandonment.of_token(
                    provider, side_name, Held(secret=token.access_token, refresh_token=token.refresh_token)
                )
            raise

    async def _exchange(self, provider: Provider, attempt: AuthorizationAttempt, code: Secret) -> TokenGrant:
        verifier = None
        if attempt.verifier_ciphertext is not None:
            verifier = await self._vault.decrypt(attempt.verifier_ciphertext, verifier_context(attempt))
        request = code_request(
            provider.oauth,
            await self._providers.client(provider),
            code=code,
            redirect_uri=attempt.redirect_uri,
            verifier=verifier,
        )
        with provider_call(self._metrics, provider.config.provider, "code") as call:
            response = await self._http.send(request)
            call.set(status=response.status)
        return read_token_response(provider.oauth, response, received_at=self._clock.now(), request=request)

    async def _stray(self, provider: Provider, code: str, origin: Origin) -> None:
        """An answer no attempt waits for: replayed, forged, or far too late.

        Anybody can send those, so no more than a number a minute is written down.
        """
        minute = int(self._clock.now().timestamp() // 60)
        if self._strays[0] != minute:
            self._strays = (minute, 0)
        self._strays = (minute, self._strays[1] + 1)
        if self._strays[1] > _MOST_STRAYS:
            return
        config = provider.config
        async with self._database.environment(config.environment_id) as transaction:
            await record(
                transaction,
                EventType.CONNECT_SESSION_REFUSED,
                environment_id=config.environment_id,
                tenant_id=None,
                object_kind="provider_config",
                object_id=config.provider_config_id,
                origin=origin,
                at=self._clock.now(),
                outcome=Outcome.FAILURE,
                data={"provider": config.provider, "error": code},
            )


def _code(provider: Provider, answer: CallbackAnswer) -> Secret:
    """The authorization code.  Raises ``ConnectError`` when the provider sent an error, or neither."""
    name = provider.definition.name
    if answer.error == "access_denied":
        raise ConnectError(
            f"You did not allow access to {name}. Nothing was connected; you can go back and try again.",
            code=answer.error,
        )
    if answer.error is not None:
        raise ConnectError(
            f"{name} did not allow it ({answer.error}). Nothing was connected.",
            code="authorization_refused",
            detail=answer.error_description,
        )
    if answer.code is None:
        raise ConnectError(f"The provider's answer is empty. {_START_AGAIN}", code="callback_malformed")
    return answer.code


def _failure(error: AuthpipeError, session: ConnectSession) -> FailedSession:
    """What the person reads, and the stable code the application gets."""
    if isinstance(error, ConnectError):
        return FailedSession(error.message, code=error.code, session=session)
    if isinstance(error, ProviderRejected):
        return FailedSession(
            f"The provider refused to complete the connection ({error.error}). {_START_AGAIN}",
            code="code_refused",
            session=session,
        )
    if isinstance(error, Conflict):
        return FailedSession(
            f"The application has switched this provider off. {_START_AGAIN}",
            code=error.code,
            session=session,
        )
    if isinstance(error, ConfigurationError):
        return FailedSession(
            "The application's registration at the provider is incomplete. Tell its developers.",
            code="provider_config_incomplete",
            session=session,
        )
    return FailedSession(
        "The provider cannot be reached at the moment. Go back and try again.",
        code="provider_unavailable",
        session=session,
    )


def _told(error: AuthpipeError, answer: CallbackAnswer) -> dict[str, str]:
    """The provider's own words, which are no secrets: they came with error codes only."""
    told = {}
    if answer.error is not None:
        told["provider_error"] = answer.error
    if isinstance(error, ProviderRejected):
        told["provider_error"] = error.error
        if error.description:
            told["provider_error_description"] = error.description
    return told
