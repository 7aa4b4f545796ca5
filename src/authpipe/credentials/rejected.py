"""A provider refused a credential that was thought to be good: find out once, for everybody who says so."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias
from uuid import UUID

from authpipe.catalog.definition import Reading, SideName
from authpipe.credentials.failures import needs_reauth
from authpipe.credentials.incident import open_incident
from authpipe.credentials.limits import NotAsked, ProviderLimits
from authpipe.credentials.outcome import REJECTED
from authpipe.credentials.provider import Providers
from authpipe.credentials.refresh_now import WAIT_S, RefreshNow
from authpipe.credentials.serve import CredentialReader, CredentialRequest
from authpipe.credentials.upstream import Held, Upstream
from authpipe.domain.clock import Clock
from authpipe.domain.connection import Connection, Installation
from authpipe.domain.credential import (
    CredentialFor,
    CredentialKind,
    OwnerKind,
    StoredCredential,
    UsableCredential,
)
from authpipe.domain.errors import (
    Conflict,
    InvalidInput,
    NotFound,
    ProviderUnavailable,
    ReauthorizationRequired,
)
from authpipe.store.database import Database
from authpipe.telemetry.metrics import Metrics

#: How long a probe's word, or a refresh, is taken as final: an application that reports again and again for a
#: reason of its own (a missing scope, a wrong address) must not become a storm at the provider.
SETTLED_FOR = timedelta(seconds=30)
#: Credentials whose last probe is remembered.
_REMEMBERED = 10_000

_Probed: TypeAlias = tuple[UUID, int]


@dataclass(frozen=True, slots=True)
class Reported:
    """A credential a provider refused, what it hangs on, and how it is read."""

    stored: StoredCredential
    owner: Connection | Installation
    request: CredentialRequest

    @property
    def can_be_refreshed(self) -> bool:
        """Whether another one can be had without a person."""
        return self.stored.refresh_ciphertext is not None and self.stored.refresh_due_at is not None


class RejectedReports:
    """N reports of one credential cause one refresh in all replicas, or one probe in each process."""

    def __init__(
        self,
        *,
        database: Database,
        reader: CredentialReader,
        refresh_now: RefreshNow,
        providers: Providers,
        upstream: Upstream,
        limits: ProviderLimits,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._database = database
        self._reader = reader
        self._refresh_now = refresh_now
        self._providers = providers
        self._upstream = upstream
        self._limits = limits
        self._clock = clock
        self._metrics = metrics
        self._probes: dict[_Probed, asyncio.Task[Reading]] = {}
        self._said: OrderedDict[_Probed, tuple[Reading, datetime]] = OrderedDict()

    async def find(self, environment_id: UUID, tenant_id: str, credential_id: UUID) -> Reported:
        """The credential of that id.  Raises ``NotFound``."""
        owner: Connection | Installation | None = None
        async with self._database.tenant(environment_id, tenant_id) as transaction:
            stored = await transaction.credentials.get(environment_id, tenant_id, credential_id)
            if stored is not None and stored.owner_kind is OwnerKind.CONNECTION:
                owner = await transaction.connections.get(environment_id, tenant_id, stored.owner_id)
            elif stored is not None:
                owner = await transaction.installations.get(environment_id, tenant_id, stored.owner_id)
        if stored is None or owner is None:
            raise NotFound("no such credential in this tenant: it was replaced, or what it hung on has ended")
        return Reported(stored, owner, _request(stored, owner))

    async def settle(self, reported: Reported, *, version: int) -> UsableCredential:
        """The credential that works now.

        A later one than ``version`` where there is, or can be, one; the same one when the provider says it is
        good.  Raises what :meth:`CredentialReader.get` raises, ``ReauthorizationRequired`` (``rejected``) for
        a credential that is dead, ``ProviderUnavailable`` when the provider cannot be asked, ``Conflict``
        (``provider_config_refused``, or ``nothing_to_check`` for a webhook's secret) and ``InvalidInput`` for
        a version there has not been.
        """
        outcome = "failed"
        try:
            outcome, credential = await self._settled(reported, version)
        except ReauthorizationRequired:
            outcome = "dead"
            raise
        finally:
            self._metrics.rejected_reports.labels(outcome).inc()
        return credential

    async def close(self) -> None:
        """Wait for the probes under way."""
        if self._probes:
            await asyncio.wait(self._probes.values(), timeout=WAIT_S)

    async def _settled(self, reported: Reported, version: int) -> tuple[str, UsableCredential]:
        stored, environment_id = reported.stored, reported.stored.environment_id
        if stored.version < version:
            raise InvalidInput("version is later than the latest there has been", field="version")
        credential = await self._reader.get(environment_id, reported.request)
        if credential.version > version:
            return "newer", credential
        if stored.kind is CredentialKind.WEBHOOK_SECRET:
            raise Conflict("a webhook's secret cannot be tried", code="nothing_to_check")
        if reported.can_be_refreshed and not self._is_fresh(stored):
            await self._refresh_now.beyond(
                environment_id, stored.tenant_id, stored.credential_id, version=version
            )
            return "refreshed", await self._reader.get(environment_id, reported.request)
        if await self._probed(reported, credential) is not Reading.DEAD:
            return "alive", credential
        if reported.can_be_refreshed:
            # Another refresh would bring one like it.
            raise ProviderUnavailable(
                "the provider refuses a token that it issued a moment ago",
                retry_after_s=SETTLED_FOR.total_seconds(),
            )
        return "newer", await self._reader.get(environment_id, reported.request)

    def _is_fresh(self, stored: StoredCredential) -> bool:
        return stored.version > 1 and self._clock.now() - stored.issued_at < SETTLED_FOR

    async def _probed(self, reported: Reported, credential: UsableCredential) -> Reading:
        """What the provider says, asked once for all callers."""
        key = (reported.stored.credential_id, credential.version)
        # A caller that read the credential before a probe condemned it comes here when that probe is over.
        said, until = self._said.get(key, (None, None))
        if said is not None and until is not None and self._clock.now() < until:
            return said
        task = self._probes.get(key)
        if task is None:
            task = self._probes[key] = asyncio.create_task(self._probe(reported, credential))
            task.add_done_callback(lambda done: self._done(key, done))
        try:
            # Shielded: a caller that hangs up must not cancel the answer of all the others.
            return await asyncio.wait_for(asyncio.shield(task), WAIT_S)
        except TimeoutError:
            raise ProviderUnavailable("the provider is busy; try again", retry_after_s=5) from None

    def _done(self, key: _Probed, task: asyncio.Task[Reading]) -> None:
        del self._probes[key]
        if task.cancelled() or task.exception() is not None:
            return
        self._said[key] = (task.result(), self._clock.now() + SETTLED_FOR)
        self._said.move_to_end(key)
        if len(self._said) > _REMEMBERED:
            self._said.popitem(last=False)

    async def _probe(self, reported: Reported, credential: UsableCredential) -> Reading:
        stored, owner = reported.stored, reported.owner
        config_id = stored.provider_config_id
        provider = await self._providers.by_id(stored.environment_id, config_id)
        side = provider.side(SideName(stored.owner_kind.value))
        held = Held(
            secret=credential.secret,
            external_id=owner.external_id if isinstance(owner, Installation) else None,
            account_id=owner.account_id if isinstance(owner, Connection) else None,
            facts=credential.metadata,
        )
        try:
            async with self._limits.slot(config_id):
                result = await self._upstream.probe(provider, side, held)
        except NotAsked:
            if provider.config.problem is not None:
                raise _app_refused(provider.config.problem) from None
            raise
        except ProviderUnavailable as error:
            self._limits.failed(config_id, retry_after_s=error.retry_after_s)
            raise
        if result.reading is Reading.TRANSIENT:
            self._limits.failed(config_id)
            raise ProviderUnavailable(
                "the provider cannot say whether the credential is good", retry_after_s=5
            )
        if result.reading is Reading.APP_WIDE:
            self._limits.failed(config_id, app_wide=True)
            await open_incident(
                self._database, stored.environment_id, config_id, problem=result.reason, at=self._clock.now()
            )
            raise _app_refused(result.reason)
        self._limits.succeeded(config_id)
        if result.reading is Reading.DEAD and not reported.can_be_refreshed:
            await self._condemn(stored)
        return result.reading

    async def _condemn(self, stored: StoredCredential) -> None:
        """A person must authorize again, unless somebody just did."""
        place = (stored.environment_id, stored.tenant_id)
        async with self._database.tenant(*place) as transaction:
            # The owner first, as a reconnect does it.
            if stored.owner_kind is OwnerKind.CONNECTION:
                await transaction.connections.lock(*place, stored.owner_id)
            else:
                await transaction.installations.lock(*place, stored.owner_id)
            current = await transaction.credentials.get(*place, stored.credential_id)
            if current is not None and current.version == stored.version:
                await needs_reauth(transaction, stored, reason=REJECTED, at=self._clock.now())


def _app_refused(problem: str) -> Conflict:
    return Conflict(
        f"the provider refuses the application itself ({problem}): mend the provider config",
        code="provider_config_refused",
    )


def _request(stored: StoredCredential, owner: Connection | Installation) -> CredentialRequest:
    is_connection = isinstance(owner, Connection)
    return CredentialRequest(
        provider=stored.provider,
        tenant_id=stored.tenant_id,
        user_id=owner.user_id if isinstance(owner, Connection) else None,
        credential_for=CredentialFor.USER if is_connection else CredentialFor.INSTALLATION,
        kind=stored.kind,
        credential_id=stored.credential_id,
    )
