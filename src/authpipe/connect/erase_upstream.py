"""The grants of a tenant that is being erased, ended at their providers as far as time allows."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from uuid import UUID

from authpipe.catalog.definition import SideName
from authpipe.connect.abandon import Abandonment, Upstreamed
from authpipe.connect.disconnect import Disconnection
from authpipe.credentials.provider import Providers
from authpipe.domain.connect_session import ConnectSession
from authpipe.domain.connection import Connection, Installation
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

#: One step of the work: its transaction writes the progress down.  Raises when the lease is lost.
Advance = Callable[[Erasure], Awaitable[Erasure]]
#: A session stands for its candidate.
Grant = ConnectSession | Connection | Installation


class OutOfTime(Exception):
    """The time for providers is over, and grants are left that somebody else shall go on with."""


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
    ) -> None:
        self._database = database
        self._providers = providers
        self._abandonment = abandonment
        self._disconnection = disconnection

    async def run(self, erasure: Erasure, advance: Advance, *, until: float, gives_up: bool) -> Erasure:
        """Work off the step the erasure is at, until the event loop's clock says ``until``.

        Returns the erasure with the step done.  Grants that are left then are counted as not revoked or,
        unless it ``gives_up``, left to whoever goes on: raises :class:`OutOfTime`.  Raises
        ``VaultUnavailable`` while the KEK is away, with the progress so far written down.
        """
        revoked: set[tuple[UUID, str]] = set()
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
            outcomes = await self._end_all(grants, erasure, revoked, until)
            if not gives_up and Upstreamed.FAILED in outcomes and _left(until) <= 0:
                # Some were cut off.  Those that were ended may be ended once more.
                raise OutOfTime
            erasure = await advance(
                replace(erasure, after=_id(grants[-1]), counts=_counted(erasure.counts, outcomes))
            )

    async def _next(self, transaction: Transaction, erasure: Erasure) -> Sequence[Grant]:
        if erasure.step is ErasureStep.CANDIDATES:
            return await transaction.erasures.candidate_sessions(erasure, limit=_AT_ONCE)
        if erasure.step is ErasureStep.CONNECTIONS:
            return await transaction.erasures.live_connections(erasure, limit=_AT_ONCE)
        return await transaction.erasures.live_installations(erasure, limit=_AT_ONCE)

    async def _end_all(
        self, grants: Sequence[Grant], erasure: Erasure, revoked: set[tuple[UUID, str]], until: float
    ) -> list[Upstreamed]:
        """Grants of one account one after the other, since one call may end them all; others at once."""
        until = min(until, asyncio.get_running_loop().time() + _TOGETHER_S)
        groups: dict[object, list[Grant]] = defaultdict(list)
        for grant in grants:
            groups[_account(grant) or _id(grant)].append(grant)
        ended = await asyncio.gather(
            *(self._end_group(group, erasure, revoked, until) for group in groups.values()),
            return_exceptions=True,
        )
        outcomes: list[Upstreamed] = []
        for group in ended:
            # Only now: nothing goes on behind the back of an erasure that was given back.
            if isinstance(group, BaseException):
                raise group
            outcomes += group
        return outcomes

    async def _end_group(
        self,
        group: Sequence[Grant],
        erasure: Erasure,
        revoked: set[tuple[UUID, str]],
        until: float,
    ) -> list[Upstreamed]:
        outcomes = []
        for grant in group:
            account = _account(grant)
            outcome = await self._end(grant, erasure, until, is_revoked=account in revoked)
            if outcome is not None:
                outcomes.append(outcome)
            if outcome is Upstreamed.REVOKED and account is not None:
                revoked.add(account)
        return outcomes

    async def _is_shared(self, grant: Grant) -> bool:
        """Whether one revocation ends all authorizations of its account."""
        provider = await self._providers.by_id(grant.environment_id, grant.provider_config_id)
        return provider.side(SideName.CONNECTION).shares_authorization

    async def _end(
        self, grant: Grant, erasure: Erasure, until: float, *, is_revoked: bool
    ) -> Upstreamed | None:
        """``is_revoked``: an authorization of the same account was."""
        try:
            async with asyncio.timeout(max(_left(until), 0)):
                if is_revoked and await self._is_shared(grant):
                    return Upstreamed.REVOKED
                if isinstance(grant, Connection):
                    return (await self._disconnection.revoke(grant))[0]
                if isinstance(grant, Installation):
                    return (await self._disconnection.uninstall(grant))[0]
                return await self._abandonment.of_session(
                    grant, reason="tenant_erased", origin=erasure.origin
                )
        except VaultUnavailable:
            raise
        except (AuthpipeError, TimeoutError) as error:
            _log.warning("a grant was not revoked", id=str(_id(grant)), error=type(error).__name__)
        except Exception as error:
            if is_outage(error):
                raise
            _log.error("a grant was not revoked", id=str(_id(grant)), error=type(error).__name__)
        return Upstreamed.FAILED


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
