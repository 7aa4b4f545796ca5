"""Signing in at an OpenID provider: to it with state, nonce and PKCE, and back as an operator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from authpipe.access.oidc_id_token import Identity, key_id, read_id_token, refused
from authpipe.access.oidc_operators import OidcOperators, unknown_operator
from authpipe.access.oidc_provider import OidcMetadata, OidcProvider, failed
from authpipe.access.operator_sessions import BrowserFacts, OperatorSessions, SignedIn
from authpipe.access.operator_tokens import browser_mark, new_token, token_hash
from authpipe.access.sign_in import NewSession
from authpipe.access.sign_in_limits import REDIRECTS, count_try, places
from authpipe.access.sign_in_refused import SignInReason, SignInRefused
from authpipe.domain.access import Operator, SignInAttempt, SignInMethod
from authpipe.domain.clock import Clock
from authpipe.domain.environment import WORKSPACE_ID
from authpipe.domain.errors import ConfigurationError, ConnectError, ProviderError
from authpipe.domain.event import Origin, Outcome
from authpipe.domain.identifiers import new_id
from authpipe.domain.secret import Secret
from authpipe.events.record import record
from authpipe.events.types import EventType
from authpipe.oauth.authorization import CallbackAnswer, authorization_url, check_issuer, read_callback
from authpipe.oauth.document import read_document
from authpipe.oauth.pkce import challenge, new_verifier
from authpipe.oauth.token import code_request, read_token_response
from authpipe.store.database import Database
from authpipe.vault.context import EncryptionContext
from authpipe.vault.vault import Vault

CALLBACK_PATH = "/sign-in/callback"
#: How long signing in at the provider may take.
LIFETIME = timedelta(minutes=10)
_SCOPES = ("openid", "email", "profile")


@dataclass(frozen=True, slots=True, kw_only=True)
class Departure:
    """Where the browser goes, and the cookie it has to come back with.  The address carries the state."""

    address: str
    cookie: Secret


class OidcSignIn:
    """Runs the redirect: authorization code with PKCE, state and nonce, in the browser that began."""

    def __init__(
        self,
        provider: OidcProvider,
        *,
        database: Database,
        vault: Vault,
        sessions: OperatorSessions,
        clock: Clock,
        public_url: str,
    ) -> None:
        self._provider = provider
        self._database = database
        self._vault = vault
        self._sessions = sessions
        self._matching = OidcOperators(provider.registration, database=database, clock=clock)
        self._clock = clock
        self._redirect_uri = public_url + CALLBACK_PATH

    @property
    def name(self) -> str:
        """What people call the provider."""
        return self._provider.registration.name

    async def begin(self, *, origin: Origin) -> Departure:
        """The provider's address, for one browser and ten minutes.

        Raises ``SignInRefused``: ``sign_in_limited`` or ``sign_in_provider_failed``.
        """
        now = self._clock.now()
        async with self._database.system() as transaction:
            sources = [f"redirect:{place}" for place in places(origin.source_address)]
            await count_try(transaction, sources, now=now, at_most=REDIRECTS)
        metadata = await self._provider.metadata()
        state, nonce, cookie, verifier = new_token(), new_token(), new_token(), new_verifier()
        attempt_id = new_id()
        try:
            address = authorization_url(
                metadata.server,
                self._provider.registration.client_id,
                redirect_uri=self._redirect_uri,
                scopes=_SCOPES,
                state=state,
                code_challenge=challenge(verifier),
                parameters={"nonce": nonce.reveal()},
            )
        except ConfigurationError as error:
            raise failed(error.message) from None
        sealed = await self._vault.encrypt(verifier, _verifier_context(attempt_id))
        attempt = SignInAttempt(
            attempt_id=attempt_id,
            nonce_hash=token_hash(nonce),
            verifier_ciphertext=sealed,
            created_at=now,
            expires_at=now + LIFETIME,
        )
        async with self._database.system() as transaction:
            await transaction.sign_in_attempts.add(
                attempt, state_hash=token_hash(state), browser_hash=token_hash(cookie)
            )
        return Departure(address=address, cookie=cookie)

    async def finish(
        self,
        query: Sequence[tuple[str, str]],
        browser: BrowserFacts,
        *,
        cookie: Secret | None,
        shown: Secret | None,
        origin: Origin,
    ) -> NewSession:
        """Open a session for the person whom the provider vouches for.

        ``query`` is the decoded query of the callback, ``cookie`` the departure's.  Raises
        ``SignInRefused``; an answer that fits the attempt uses it up, however it ends.
        """
        answer = _read(query)
        attempt = await self._take(answer, cookie)
        try:
            return await self._answered(attempt, answer, browser, shown=shown, origin=origin)
        except SignInRefused as error:
            await self._record_failure(error.reason, origin)
            raise

    async def _answered(
        self,
        attempt: SignInAttempt,
        answer: CallbackAnswer,
        browser: BrowserFacts,
        *,
        shown: Secret | None,
        origin: Origin,
    ) -> NewSession:
        metadata = await self._provider.metadata()
        identity, access_token = await self._identity(metadata, attempt, answer)
        operator = await self._matching.bound(identity)
        if operator is None:
            if identity.email is None:
                identity = await self._provider.told(metadata, identity, access_token)
            operator = await self._matching.by_email(identity, origin=origin)
        return await self._open(operator, browser, shown=shown, origin=origin)

    async def _take(self, answer: CallbackAnswer, cookie: Secret | None) -> SignInAttempt:
        attempt = None
        if answer.state is not None and cookie is not None:
            async with self._database.system() as transaction:
                attempt = await transaction.sign_in_attempts.take(
                    token_hash(answer.state), browser_hash=token_hash(cookie), now=self._clock.now()
                )
        if attempt is None:
            raise SignInRefused(
                SignInReason.STALE,
                "This answer was used already, is too old, or belongs to another browser. Sign in again.",
            )
        return attempt

    async def _identity(
        self, metadata: OidcMetadata, attempt: SignInAttempt, answer: CallbackAnswer
    ) -> tuple[Identity, Secret]:
        try:
            check_issuer(metadata.server, answer)
        except ConnectError:
            raise SignInRefused(
                SignInReason.OTHER_ISSUER,
                "The answer came from somebody else, and was not used. Sign in again.",
            ) from None
        if answer.error is not None or answer.code is None:
            raise SignInRefused(
                SignInReason.DENIED,
                "The identity provider did not sign you in. Nothing has changed; you can try again.",
                detail=f"{answer.error}: {answer.error_description}",
            )
        verifier = await self._vault.decrypt(
            attempt.verifier_ciphertext, _verifier_context(attempt.attempt_id)
        )
        registration = self._provider.registration
        request = code_request(
            metadata.server,
            registration.client,
            code=answer.code,
            redirect_uri=self._redirect_uri,
            verifier=verifier,
        )
        response = await self._provider.send(request)
        now = self._clock.now()
        try:
            grant = read_token_response(metadata.server, response, received_at=now, request=request)
        except ProviderError as error:
            raise failed(f"token endpoint: {error.detail or error.message}") from None
        found = (read_document(response) or {}).get("id_token")
        if not isinstance(found, str):
            raise refused("there is none in the token response")
        id_token = Secret(found)
        identity = read_id_token(
            id_token,
            await self._provider.keys(key_id(id_token)),
            issuer=registration.issuer,
            client_id=registration.client_id,
            algorithms=metadata.algorithms,
            nonce_hash=attempt.nonce_hash,
            now=now,
        )
        return identity, grant.access_token

    async def _record_failure(self, reason: SignInReason, origin: Origin) -> None:
        """Each needs an attempt of its own, and those are counted, so nobody can write many."""
        async with self._database.system() as transaction:
            await record(
                transaction,
                EventType.OPERATOR_SIGN_IN_FAILED,
                environment_id=WORKSPACE_ID,
                tenant_id=None,
                object_kind="operator",
                object_id="unknown",
                origin=origin,
                at=self._clock.now(),
                outcome=Outcome.FAILURE,
                data={"method": SignInMethod.OIDC.value, "reason": reason.value},
            )

    async def _open(
        self, operator: Operator, browser: BrowserFacts, *, shown: Secret | None, origin: Origin
    ) -> NewSession:
        async with self._database.system() as transaction:
            proof = await transaction.operators.proof(operator.operator_id)
            if proof is None or proof.operator.disabled_at is not None:
                raise unknown_operator()
            session, cookie = await self._sessions.open(
                transaction, proof.operator, SignInMethod.OIDC, browser, shown=shown, origin=origin
            )
        return NewSession(
            signed_in=SignedIn(operator=proof.operator, session=session),
            cookie=cookie,
            mark=browser_mark(proof.known_browser_key, operator.operator_id),
        )


def _read(query: Sequence[tuple[str, str]]) -> CallbackAnswer:
    try:
        return read_callback(query)
    except (ConnectError, ValueError) as error:
        detail = error.detail if isinstance(error, ConnectError) else None
        raise SignInRefused(
            SignInReason.MALFORMED,
            "The identity provider's answer is malformed. Sign in again.",
            detail=detail,
        ) from None


def _verifier_context(attempt_id: UUID) -> EncryptionContext:
    return EncryptionContext(environment_id=WORKSPACE_ID, tenant_id=None, row_id=attempt_id, field="verifier")
