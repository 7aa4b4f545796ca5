"""What a failed refresh does to the credential, its connection and its provider config."""

from __future__ import annotations

import random
from datetime import datetime, timedelta

from authpipe.credentials.incident import close_incident, open_incident
from authpipe.credentials.limits import NotAsked, ProviderLimits
from authpipe.credentials.outcome import OUTCOME_UNKNOWN, REVOKED, Refreshed
from authpipe.credentials.postponements import Postponements
from authpipe.credentials.schedule import retry_at
from authpipe.domain.clock import Clock
from authpipe.domain.connection import Connection, ConnectionStatus, Installation, InstallationStatus
from authpipe.domain.credential import OwnerKind, StoredCredential
from authpipe.domain.errors import (
    AuthpipeError,
    ProviderError,
    ProviderRejected,
    ProviderUnavailable,
    VaultUnavailable,
)
from authpipe.domain.event import ActorKind, Event, Origin, Outcome
from authpipe.domain.provider_config import ProviderConfig
from authpipe.events.record import fact, record
from authpipe.events.types import EventType
from authpipe.oauth.failure import RefreshFailure, classify
from authpipe.store.credentials import Postponement
from authpipe.store.database import Database
from authpipe.store.transaction import Transaction
from authpipe.telemetry.logs import get_logger
from authpipe.telemetry.metrics import Metrics

_log = get_logger(__name__)
_origin = Origin(actor_kind=ActorKind.WORKER)

#: Seconds before a refresh is tried again that only an operator can mend.
_OPERATOR_RETRY_S = 600.0
#: Seconds before a call is tried again that was kept back for want of a slot.
_NOT_ASKED_RETRY_S = 1.0


class RefreshJudgement:
    """Decides by the class of a failure; only a revoked grant costs a person a click."""

    def __init__(
        self,
        *,
        database: Database,
        limits: ProviderLimits,
        clock: Clock,
        metrics: Metrics,
        spread: random.Random,
    ) -> None:
        self._database = database
        self._postponements = Postponements(database)
        self._limits = limits
        self._clock = clock
        self._metrics = metrics
        self._spread = spread

    async def failed(self, credential: StoredCredential, error: AuthpipeError) -> Refreshed:
        """Write down a failed attempt and give the lease back."""
        failure = _classify(error)
        self._tell_circuit(credential, error, failure)
        if failure is RefreshFailure.REVOKED:
            outcome = await self._revoked(credential, error)
        else:
            outcome = await self._later(credential, error, failure)
        self._metrics.refreshes.labels(
            credential.provider, failure.value if outcome is not Refreshed.SUPERSEDED else outcome.value
        ).inc()
        return outcome

    def _tell_circuit(
        self, credential: StoredCredential, error: AuthpipeError, failure: RefreshFailure
    ) -> None:
        config = credential.provider_config_id
        if failure is RefreshFailure.APP_WIDE:
            self._limits.failed(config, app_wide=True)
        elif isinstance(error, ProviderRejected):
            self._limits.succeeded(config)
        elif isinstance(error, ProviderUnavailable) and not isinstance(error, NotAsked):
            self._limits.failed(config, retry_after_s=error.retry_after_s)

    async def recovered(self, config: ProviderConfig) -> None:
        """The provider accepts the app again: close the incident."""
        await close_incident(self._database, config, at=self._clock.now())

    async def _revoked(self, credential: StoredCredential, error: AuthpipeError) -> Refreshed:
        """``invalid_grant`` is final only if nobody stored a newer refresh token meanwhile."""
        now = self._clock.now()
        reason = OUTCOME_UNKNOWN if credential.outcome_unknown else REVOKED
        async with self._database.tenant(credential.environment_id, credential.tenant_id) as transaction:
            condemned = await transaction.credentials.condemn(credential, error=_word(error), at=now)
            if condemned is None:
                _log.info(
                    "a refused refresh was superseded by a newer one",
                    credential_id=str(credential.credential_id),
                )
                return Refreshed.SUPERSEDED
            await needs_reauth(transaction, credential, reason=reason, at=now)
        return Refreshed.CONDEMNED

    async def _later(
        self, credential: StoredCredential, error: AuthpipeError, failure: RefreshFailure
    ) -> Refreshed:
        now = self._clock.now()
        if isinstance(error, NotAsked | VaultUnavailable):
            return await self._not_asked(credential, error)
        wish: float | None = None
        unknown = False
        if isinstance(error, ProviderUnavailable):
            wish, unknown = error.retry_after_s, error.sent
        if failure is RefreshFailure.MISCONFIGURED:
            wish = _OPERATOR_RETRY_S
        until = retry_at(now, credential.refresh_failures, retry_after_s=wish, spread=self._spread)
        postponement = Postponement(
            credential=credential, until=until, at=now, error=_word(error), outcome_unknown=unknown
        )
        outcome = await self._postponements.write(
            postponement, first_failure=_first_failure(postponement, failure)
        )
        if outcome is Refreshed.SUPERSEDED:
            return outcome
        if failure is RefreshFailure.APP_WIDE:
            await open_incident(
                self._database,
                credential.environment_id,
                credential.provider_config_id,
                problem=_word(error),
                at=self._clock.now(),
            )
        _log.warning(
            "refresh postponed",
            credential_id=str(credential.credential_id),
            failure=failure.value,
            error=_word(error),
            detail=error.detail,
        )
        return Refreshed.POSTPONED

    async def _not_asked(self, credential: StoredCredential, error: NotAsked | VaultUnavailable) -> Refreshed:
        """We kept the call back ourselves, which says nothing against the credential."""
        if isinstance(error, VaultUnavailable):
            _log.warning(
                "refresh put off: the vault is unavailable",
                credential_id=str(credential.credential_id),
                detail=error.detail,
            )
        wait = timedelta(seconds=max(error.retry_after_s or 0.0, _NOT_ASKED_RETRY_S))
        now = self._clock.now()
        until = now + wait * self._spread.uniform(1.0, 1.25)
        return await self._postponements.write(Postponement(credential=credential, until=until, at=now))


def _first_failure(postponement: Postponement, failure: RefreshFailure) -> Event:
    credential = postponement.credential
    return fact(
        EventType.CREDENTIAL_REFRESH_FAILED,
        environment_id=credential.environment_id,
        tenant_id=credential.tenant_id,
        object_kind="credential",
        object_id=credential.credential_id,
        origin=_origin,
        at=postponement.at,
        outcome=Outcome.FAILURE,
        data={
            "provider": credential.provider,
            f"{credential.owner_kind.value}_id": str(credential.owner_id),
            "class": failure.value,
            "error": postponement.error,
            "retry_at": postponement.until.isoformat(),
        },
    )


async def needs_reauth(
    transaction: Transaction, credential: StoredCredential, *, reason: str, at: datetime
) -> None:
    """Mark the owner of a dead credential, with one event; nothing if it already stands so or has ended."""
    place = (credential.environment_id, credential.tenant_id, credential.owner_id)
    changed: Connection | Installation | None
    if credential.owner_kind is OwnerKind.CONNECTION:
        told = EventType.CONNECTION_NEEDS_REAUTH
        changed = await transaction.connections.set_status(
            *place, status=ConnectionStatus.NEEDS_REAUTH, reason=reason, at=at
        )
    else:
        told = EventType.INSTALLATION_NEEDS_REAUTH
        changed = await transaction.installations.set_status(
            *place, status=InstallationStatus.NEEDS_REAUTH, reason=reason, at=at
        )
    if changed is None:
        return
    data = {"provider": credential.provider, "reason": reason}
    if isinstance(changed, Connection) and changed.user_id is not None:
        data["user_id"] = changed.user_id
    await record(
        transaction,
        told,
        environment_id=credential.environment_id,
        tenant_id=credential.tenant_id,
        object_kind=credential.owner_kind.value,
        object_id=credential.owner_id,
        origin=_origin,
        at=at,
        outcome=Outcome.FAILURE,
        data=data,
    )


def _classify(error: AuthpipeError) -> RefreshFailure:
    if isinstance(error, ProviderError):
        return classify(error)
    return RefreshFailure.TRANSIENT if error.retryable else RefreshFailure.MISCONFIGURED


def _word(error: AuthpipeError) -> str:
    """What of the failure may be stored and shown: the provider's own code, or ours."""
    return error.error if isinstance(error, ProviderRejected) else error.code
