"""One refresh attempt on a leased credential: ask, spool, commit by compare-and-swap, or judge."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from datetime import timedelta

from authpipe.catalog.definition import SideName
from authpipe.credentials.contexts import refresh_context, secret_context
from authpipe.credentials.failures import RefreshJudgement
from authpipe.credentials.limits import NotAsked, ProviderLimits
from authpipe.credentials.outcome import Refreshed, Step
from authpipe.credentials.provider import Provider, Providers, ProvidersForAWhile
from authpipe.credentials.schedule import refresh_due_at
from authpipe.credentials.spool import SpoolRecord
from authpipe.credentials.spool_replay import SpoolReplay
from authpipe.domain.clock import Clock
from authpipe.domain.credential import OwnerKind, StoredCredential
from authpipe.domain.errors import AuthpipeError, ConfigurationError
from authpipe.net.client import HttpClient
from authpipe.oauth.token import TokenGrant, read_token_response, refresh_request
from authpipe.store.credentials import RefreshedSecrets
from authpipe.store.database import Database
from authpipe.telemetry import traces
from authpipe.telemetry.logs import get_logger
from authpipe.telemetry.metrics import Metrics
from authpipe.telemetry.provider_call import provider_call
from authpipe.vault.sealer import Sealer
from authpipe.vault.vault import Vault

#: How long a claim is exclusive.
LEASE = timedelta(seconds=60)
#: The total time one provider call may take, in seconds: well inside the lease.
PROVIDER_DEADLINE_S = 20.0
#: How far the clocks of two replicas may be apart without two holders of one lease.
CLOCK_MARGIN = timedelta(seconds=10)
#: How long the previous secrets stay, encrypted, after a refresh.
PREVIOUS_KEPT = timedelta(hours=1)

_log = get_logger(__name__)


#: Asked before a line is made: five of them for every refresh cost more than its encryption.
_level = logging.getLogger(__name__)


def _unobserved(step: Step, credential: StoredCredential) -> None:
    if _level.isEnabledFor(logging.DEBUG):
        _log.debug("refresh step", step=step.value, credential_id=str(credential.credential_id))


class RefreshEngine:
    """Runs attempts.  Whoever calls it holds the lease; every outcome gives the lease back.

    ``observe`` is told each step as it is reached; the default writes a debug log line.
    """

    def __init__(
        self,
        *,
        database: Database,
        vault: Vault,
        providers: Providers,
        http: HttpClient,
        replay: SpoolReplay,
        limits: ProviderLimits,
        clock: Clock,
        metrics: Metrics,
        observe: Callable[[Step, StoredCredential], None] = _unobserved,
        spread: random.Random | None = None,
    ) -> None:
        self._database = database
        self._vault = vault
        self._providers = providers
        self._http = http
        self._replay = replay
        self._limits = limits
        self._clock = clock
        self._metrics = metrics
        self._observe = observe
        self._spread = spread or random.SystemRandom()
        self._judgement = RefreshJudgement(
            database=database, limits=limits, clock=clock, metrics=metrics, spread=self._spread
        )

    def batch(self) -> ProvidersForAWhile:
        """Providers for credentials that were claimed together; hold it for their attempts and no longer."""
        return self._providers.for_a_while()

    async def attempt(
        self, credential: StoredCredential, providers: ProvidersForAWhile | None = None
    ) -> Refreshed:
        """Refresh a credential whose lease the caller holds, one of a :meth:`batch` or by itself.

        Raises only what the database raises while it is away, and never after the provider answered: from
        then on the answer is on disk and will be committed.
        """
        with traces.span(
            "refresh.attempt", provider=credential.provider, credential_id=credential.credential_id
        ) as span:
            refreshed = await self._attempt(credential, providers or self._providers)
            span.set(outcome=refreshed.value)
            return refreshed

    async def _attempt(
        self, credential: StoredCredential, providers: Providers | ProvidersForAWhile
    ) -> Refreshed:
        self._observe(Step.CLAIMED, credential)
        # After an outage longer than the lease: the answer is here, and its token must not be used twice.
        held = await self._replay.held(credential)
        if held is not None:
            return held
        place = (credential.environment_id, credential.tenant_id)
        try:
            provider = await providers.by_id(credential.environment_id, credential.provider_config_id)
            # Taken before the call: the answer must be encrypted even if the database goes away meanwhile.
            sealer = await self._vault.sealer(*place, encryptions=2)
            grant = await self._ask(provider, providers, credential)
        except AuthpipeError as error:
            return await self._judgement.failed(credential, error)
        self._limits.succeeded(credential.provider_config_id)
        self._observe(Step.ANSWERED, credential)
        record = SpoolRecord(
            environment_id=credential.environment_id,
            tenant_id=credential.tenant_id,
            credential_id=credential.credential_id,
            version=credential.version,
            secrets=self._encrypt(sealer, credential, grant),
        )
        outcome = await self._replay.write(
            record, credential, spooled=lambda: self._observe(Step.SPOOLED, credential)
        )
        self._observe(Step.COMMITTED, credential)
        if provider.config.problem is not None:
            await self._judgement.recovered(provider.config)
        self._metrics.refreshes.labels(credential.provider, outcome).inc()
        if credential.expires_at is not None and self._clock.now() >= credential.expires_at:
            self._metrics.refreshed_too_late.inc()
        if credential.refresh_due_at is not None:
            late = (self._clock.now() - credential.refresh_due_at).total_seconds()
            self._metrics.refresh_lateness.observe(max(late, 0.0))
        return Refreshed(outcome)

    async def _ask(
        self, provider: Provider, providers: Providers | ProvidersForAWhile, credential: StoredCredential
    ) -> TokenGrant:
        side = provider.side(
            SideName.CONNECTION if credential.owner_kind is OwnerKind.CONNECTION else SideName.INSTALLATION
        )
        if credential.refresh_ciphertext is None:
            raise ConfigurationError(f"{side.credential.value} has no refresh token")
        refresh_token = await self._vault.decrypt(
            credential.refresh_ciphertext,
            refresh_context(credential.environment_id, credential.tenant_id, credential.credential_id),
        )
        client = await providers.client(provider)
        request = refresh_request(provider.oauth, client, refresh_token=refresh_token)
        async with self._limits.slot(credential.provider_config_id):
            self._check_lease(credential)
            with provider_call(self._metrics, credential.provider, "refresh") as call:
                self._observe(Step.SENT, credential)
                response = await self._http.send(request, deadline_s=PROVIDER_DEADLINE_S)
                call.set(status=response.status)
        return read_token_response(provider.oauth, response, received_at=self._clock.now(), request=request)

    def _check_lease(self, credential: StoredCredential) -> None:
        """A call that could outlive the lease is not made: two holders would use one refresh token."""
        needed = timedelta(seconds=PROVIDER_DEADLINE_S) + CLOCK_MARGIN
        if credential.lease_until is None or self._clock.now() + needed >= credential.lease_until:
            raise NotAsked("the provider is busy; the claim ran out while waiting")

    def _encrypt(self, sealer: Sealer, credential: StoredCredential, grant: TokenGrant) -> RefreshedSecrets:
        now = self._clock.now()
        place = (credential.environment_id, credential.tenant_id, credential.credential_id)
        refresh = None
        if grant.refresh_token is not None:
            refresh = sealer.encrypt(grant.refresh_token, refresh_context(*place))
        due = None
        expires_at = grant.expires_at
        if expires_at is None and credential.expires_at is not None:
            # An answer that names no lifetime does not make a token that has one last for ever.
            expires_at = now + (credential.expires_at - credential.issued_at)
        if expires_at is not None:
            due = refresh_due_at(now, expires_at, spread=self._spread)
        return RefreshedSecrets(
            secret_ciphertext=sealer.encrypt(grant.access_token, secret_context(*place)),
            refresh_ciphertext=refresh,
            scopes=credential.scopes if grant.scopes is None else grant.scopes,
            expires_at=expires_at,
            refresh_due_at=due,
            refresh_expires_at=grant.refresh_expires_at,
            issued_at=now,
            previous_until=now + PREVIOUS_KEPT,
        )
