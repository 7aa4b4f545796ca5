"""The grants of a tenant that is being erased, ended at their providers as far as time allows."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

from authpipe.catalog.definition import SideName
from authpipe.connect.abandon import Abandonment, Upstreamed
from authpipe.connect.disconnect import Disconnection
from authpipe.credentials.provider import Providers
from authpipe.domain.clock import Clock
from authpipe.domain.connect_session import ConnectSession
from authpipe.domain.connection import Connection, ConnectionStatus, Installation, InstallationStatus
from authpipe.domain.erasure import Erasure, ErasureCounts, ErasureStep
from authpipe.domain.errors import AuthpipeError, VaultUnavailable
from authpipe.store.database import Database, is_outage
from authpipe.store.transaction import Transaction
from authpipe.telemetry.logs import get_logger

_log = get_logger(__name__)

#: How many grants are ended at the same time; also how many are looked at between two notes of the progress.
_AT_ONCE = 16
#: Seconds they have, waiting for a refresh under way included: half of the lease of an erasure.
_TOGETHER_S = 30.0
#: Seconds between two looks at a candidate that somebody else gives back, and before the end of the time.
_POLL_S = 0.1
_LAST_LOOK_S = 1.0

#: One step of the work: its transaction writes the progress down.  Raises when the lease is lost.
Advance = Callable[[Erasure], Awaitable[Erasure]]
#: A session stands for its candidate.
Grant = ConnectSession | Connection | Installation


class OutOfTime(Exception):
    """The time is over, and grants are left that somebody else shall go on with."""


@dataclass(slots=True)
class _Batch:
    """Grants that are ended together, and what became of them.  ``is_cut_off``: who was not ended in time has
    more time later."""

    until: float = 0.0
    is_cut_off: bool = False
    ended: list[tuple[Grant, Upstreamed]] = field(default_factory=list)
    #: Provider accounts of which an authorization was revoked, in this batch or an earlier one.
    revoked: set[tuple[UUID, str]] = field(default_factory=set)


class UpstreamErasure:
    """Revokes what the tenant alone stands on.  What fails or takes too long is counted and stops nothing.

    What cannot be read for the moment does stop it: the keyset must not be destroyed before it was.
    """

    def __init__(
        self,
        *,
        database: Database,
        providers: Providers,
        abandonment: Abandonment,
        disconnection: Disconnection,
        clock: Clock,
    ) -> None:
        self._database = database
        self._providers = providers
        self._abandonment = abandonment
        self._disconnection = disconnection
        self._clock = clock

    async def run(self, erasure: Erasure, advance: Advance, *, until: float, gives_up: bool) -> Erasure:
        """Work off the step the erasure is at, until the event loop's clock says ``until``.

        Returns the erasure with the step done.  Grants that are left then are counted as not revoked or,
        unless it ``gives_up``, left to whoever goes on: raises :class:`OutOfTime`, as also for a candidate
        that somebody else does not give up.  Raises ``VaultUnavailable`` while the KEK is away.  Either way
        the progress so far is written down.
        """
        batch = _Batch()
        while True:
            async with self._database.tenant(erasure.environment_id, erasure.tenant_id) as transaction:
                grants = await self._next(transaction, erasure)
                if grants and _left(until) <= 0:
                    if not gives_up:
                        raise OutOfTime
                    left = await transaction.erasures.count_left(erasure)
                    counts = replace(erasure.counts, not_revoked=erasure.counts.not_revoked + left)
                    _log.warning("grants were not revoked for want of time", count=left)
                    return replace(erasure, counts=counts)
            if not grants:
                return erasure
            together = asyncio.get_running_loop().time() + _TOGETHER_S
            batch = _Batch(
                until=min(until, together),
                is_cut_off=not gives_up and until < together,
                revoked=batch.revoked,
            )
            error = await self._end_all(grants, erasure, batch)
            if error is not None:
                erasure = await self._leave(erasure, batch)
                await advance(erasure)
                raise error
            counts = _counted(erasure.counts, [outcome for _, outcome in batch.ended])
            erasure = await advance(replace(erasure, after=_id(grants[-1]), counts=counts))

    async def _next(self, transaction: Transaction, erasure: Erasure) -> Sequence[Grant]:
        if erasure.step is ErasureStep.CANDIDATES:
            return await transaction.erasures.candidate_sessions(erasure, limit=_AT_ONCE)
        if erasure.step is ErasureStep.CONNECTIONS:
            return await transaction.erasures.live_connections(erasure, limit=_AT_ONCE)
        return await transaction.erasures.live_installations(erasure, limit=_AT_ONCE)

    async def _leave(self, erasure: Erasure, batch: _Batch) -> Erasure:
        """Count what was ended of a batch that will be looked at again, and see that it is not ended twice:
        a provider refuses what it has ended."""
        # Candidates are gone however it went.
        done = [
            (grant, outcome)
            for grant, outcome in batch.ended
            if isinstance(grant, ConnectSession) or outcome is not Upstreamed.FAILED
        ]
        place, now = (erasure.environment_id, erasure.tenant_id), self._clock.now()
        async with self._database.tenant(*place) as transaction:
            for grant, _ in done:
                if isinstance(grant, Connection):
                    await transaction.connections.set_status(
                        *place, _id(grant), status=ConnectionStatus.REVOKED, reason="tenant_erased", at=now
                    )
                elif isinstance(grant, Installation):
                    await transaction.installations.set_status(
                        *place, _id(grant), status=InstallationStatus.DELETED, reason="tenant_erased", at=now
                    )
        return replace(erasure, counts=_counted(erasure.counts, [outcome for _, outcome in done]))

    async def _end_all(
        self, grants: Sequence[Grant], erasure: Erasure, batch: _Batch
    ) -> BaseException | None:
        """Grants of one account one after the other, since one call may end them all; others at once.

        Returns the error that ended some of it, when all has come to an end: nothing goes on behind the back
        of an erasure that was given back.
        """
        groups: dict[object, list[Grant]] = defaultdict(list)
        for grant in grants:
            groups[_account(grant) or _id(grant)].append(grant)
        ended = await asyncio.gather(
            *(self._end_group(group, erasure, batch) for group in groups.values()), return_exceptions=True
        )
        return next((each for each in ended if each is not None), None)

    async def _end_group(self, group: Sequence[Grant], erasure: Erasure, batch: _Batch) -> None:
        for grant in group:
            account = _account(grant)
            outcome = await self._end(grant, erasure, batch)
            if outcome is not None:
                batch.ended.append((grant, outcome))
            if outcome is Upstreamed.REVOKED and account is not None:
                batch.revoked.add(account)

    async def _is_shared(self, grant: Grant) -> bool:
        """Whether one revocation ends all authorizations of its account."""
        provider = await self._providers.by_id(grant.environment_id, grant.provider_config_id)
        return provider.side(SideName.CONNECTION).shares_authorization

    async def _end(self, grant: Grant, erasure: Erasure, batch: _Batch) -> Upstreamed | None:
        try:
            async with asyncio.timeout(max(_left(batch.until), 0)):
                if _account(grant) in batch.revoked and await self._is_shared(grant):
                    return Upstreamed.REVOKED
                if isinstance(grant, Connection):
                    return (await self._disconnection.revoke(grant))[0]
                if isinstance(grant, Installation):
                    return (await self._disconnection.uninstall(grant))[0]
                return await self._give_back(grant, erasure, batch.until)
        except (VaultUnavailable, OutOfTime):
            raise
        except (AuthpipeError, TimeoutError) as error:
            if batch.is_cut_off and _left(batch.until) <= 0:
                raise OutOfTime from None
            _log.warning("a grant was not revoked", id=str(_id(grant)), error=type(error).__name__)
        except Exception as error:
            if is_outage(error):
                raise
            _log.error("a grant was not revoked", id=str(_id(grant)), error=type(error).__name__)
        return Upstreamed.FAILED

    async def _give_back(self, session: ConnectSession, erasure: Erasure, until: float) -> Upstreamed | None:
        """Somebody else may be giving it back, or may have tried to: the lease of that ends by itself."""
        place = (session.environment_id, session.tenant_id)
        while True:
            outcome = await self._abandonment.of_session(
                session, reason="tenant_erased", origin=erasure.origin
            )
            if outcome is not None:
                return outcome
            async with self._database.tenant(*place) as transaction:
                if await transaction.candidates.of_session(*place, session.session_id) is None:
                    return None
            if _left(until) <= _LAST_LOOK_S:
                raise OutOfTime
            await asyncio.sleep(_POLL_S)


def _left(until: float) -> float:
    return until - asyncio.get_running_loop().time()


def _id(grant: Grant) -> UUID:
    if isinstance(grant, Connection):
        return grant.connection_id
    return grant.installation_id if isinstance(grant, Installation) else grant.session_id


def _account(grant: Grant) -> tuple[UUID, str] | None:
    """The provider account of a user's authorization, of which there may be several."""
    if not isinstance(grant, Connection) or grant.account_id is None:
        return None
    return grant.provider_config_id, grant.account_id


def _counted(counts: ErasureCounts, outcomes: Sequence[Upstreamed]) -> ErasureCounts:
    return replace(
        counts,
        revoked_upstream=counts.revoked_upstream + outcomes.count(Upstreamed.REVOKED),
        left_shared=counts.left_shared + outcomes.count(Upstreamed.SHARED),
        not_revocable=counts.not_revocable + outcomes.count(Upstreamed.UNSUPPORTED),
        not_revoked=counts.not_revoked + outcomes.count(Upstreamed.FAILED),
    )
