"""Giving a grant back: revoked upstream where nobody else stands on it, then destroyed."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from uuid import UUID

from authpipe.catalog.definition import SideName
from authpipe.connect.grant import AccountGrant, grant_context, restore
from authpipe.credentials.provider import Provider, Providers
from authpipe.credentials.upstream import Held, Upstream
from authpipe.domain.clock import Clock
from authpipe.domain.connect_session import Candidate, ConnectSession
from authpipe.domain.credential import CredentialSource
from authpipe.domain.errors import AuthpipeError, VaultUnavailable
from authpipe.domain.event import Origin
from authpipe.events.record import record
from authpipe.events.types import EventType
from authpipe.store.database import Database
from authpipe.telemetry.logs import get_logger
from authpipe.vault.vault import Vault

#: How long one process may take to give one candidate back before another tries.
_LEASE = timedelta(seconds=60)

_log = get_logger(__name__)


class Upstreamed(StrEnum):
    """What became of the grant at the provider."""

    REVOKED = "revoked"
    SHARED = "skipped_shared"
    UNSUPPORTED = "unsupported"
    FAILED = "failed"


class Abandonment:
    """Revokes grants that no connection was made of, and destroys their candidates."""

    def __init__(
        self, *, database: Database, providers: Providers, upstream: Upstream, vault: Vault, clock: Clock
    ) -> None:
        self._database = database
        self._providers = providers
        self._upstream = upstream
        self._vault = vault
        self._clock = clock

    async def of_session(self, session: ConnectSession, *, reason: str, origin: Origin) -> Upstreamed | None:
        """Give back the session's candidate.  None when it has none, or somebody else is giving it back.

        Raises ``VaultUnavailable`` as :meth:`of_candidate` does.
        """
        now = self._clock.now()
        async with self._database.tenant(session.environment_id, session.tenant_id) as transaction:
            candidate = await transaction.candidates.claim_of_session(
                session.environment_id,
                session.tenant_id,
                session.session_id,
                now=now,
                lease_until=now + _LEASE,
            )
        if candidate is None:
            return None
        return await self.of_candidate(candidate, SideName(session.kind.value), reason=reason, origin=origin)

    async def overdue(self, *, origin: Origin, limit: int = 20) -> int:
        """Give back candidates that were not completed in time; returns how many were looked at.

        Those that cannot be read for the moment come up again when their lease is over.
        """
        now = self._clock.now()
        async with self._database.system() as transaction:
            candidates = await transaction.candidates.claim_expired(
                now=now, lease_until=now + _LEASE, limit=limit
            )
            sides = {}
            for candidate in candidates:
                session = await transaction.sessions.by_id(candidate.session_id)
                if session is not None:
                    sides[candidate.candidate_id] = SideName(session.kind.value)
        for candidate in candidates:
            side = sides.get(candidate.candidate_id)
            # A KEK that does not answer takes its time to say so, and leases end meanwhile.
            if side is None or self._clock.now() >= now + _LEASE:
                continue
            try:
                await self.of_candidate(candidate, side, reason="not_completed", origin=origin)
            except VaultUnavailable as error:
                _log.warning("a candidate waits for its key", error=error.code, detail=error.detail)
        return len(candidates)

    async def of_candidate(
        self, candidate: Candidate, side_name: SideName, *, reason: str, origin: Origin
    ) -> Upstreamed:
        """Revoke and destroy one candidate whose lease the caller holds.

        Raises ``VaultUnavailable`` while it cannot be read; it is then left as it is, lease and all.
        """
        upstream = Upstreamed.FAILED
        try:
            provider = await self._providers.by_id(candidate.environment_id, candidate.provider_config_id)
            secrets = await self._vault.decrypt(
                candidate.grant_ciphertext,
                grant_context(candidate.environment_id, candidate.tenant_id, candidate.candidate_id),
            )
            upstream = await self.of_grant(
                provider, side_name, restore(candidate, secrets), candidate_id=candidate.candidate_id
            )
        except VaultUnavailable:
            raise
        except AuthpipeError as error:
            _log.warning("a candidate could not be revoked", error=error.code, detail=error.detail)
        async with self._database.tenant(candidate.environment_id, candidate.tenant_id) as transaction:
            await transaction.candidates.destroy(candidate)
            await record(
                transaction,
                EventType.CANDIDATE_DESTROYED,
                environment_id=candidate.environment_id,
                tenant_id=candidate.tenant_id,
                object_kind="connect_session",
                object_id=candidate.session_id,
                origin=origin,
                at=self._clock.now(),
                data={"reason": reason, "upstream": upstream.value},
            )
        return upstream

    async def of_grant(
        self,
        provider: Provider,
        side_name: SideName,
        grant: AccountGrant,
        *,
        candidate_id: UUID | None = None,
    ) -> Upstreamed:
        """End a grant at the provider unless others stand on it.  ``candidate_id`` is its own, if stored."""
        if side_name is SideName.INSTALLATION:
            return await self._installation(provider, grant, candidate_id)
        return await self.authorization(
            provider,
            grant.held(installation=False),
            account_id=grant.account_id,
            apart_from=None,
            candidate_id=candidate_id,
        )

    async def of_token(self, provider: Provider, side_name: SideName, held: Held) -> None:
        """End tokens whose account could not be learnt, as far as the provider has a way to."""
        side = provider.side(side_name)
        if side_name is SideName.CONNECTION or side.revocation is None:
            if provider.definition.connection is not None:
                await self.authorization(provider, held, account_id=None, apart_from=None)
        else:
            await self._upstream.revoke(provider, side, held)

    async def authorization(
        self,
        provider: Provider,
        held: Held,
        *,
        account_id: str | None,
        apart_from: UUID | None,
        candidate_id: UUID | None = None,
    ) -> Upstreamed:
        """Revoke a user's authorization; where providers end all of an account's tokens at once, only if
        no other active connection or waiting grant stands on the same account through the same client."""
        side = provider.side(SideName.CONNECTION)
        if side.revocation is None:
            return Upstreamed.UNSUPPORTED
        if side.shares_authorization and await self._shared(provider, account_id, apart_from, candidate_id):
            return Upstreamed.SHARED
        done = await self._upstream.revoke(provider, side, held)
        return Upstreamed.REVOKED if done else Upstreamed.FAILED

    async def workspace(self, provider: Provider, held: Held) -> Upstreamed:
        """Remove the app from a workspace, or end the installation's token; not where another environment
        stands on the same app in the same workspace."""
        side = provider.side(SideName.INSTALLATION)
        if await self._installed_elsewhere(provider, held.external_id):
            return Upstreamed.SHARED
        if side.uninstall is not None:
            done = await self._upstream.uninstall(provider, side, held)
        elif side.revocation is not None:
            done = await self._upstream.revoke(provider, side, held)
        else:
            return Upstreamed.UNSUPPORTED
        return Upstreamed.REVOKED if done else Upstreamed.FAILED

    async def _installation(
        self, provider: Provider, grant: AccountGrant, candidate_id: UUID | None
    ) -> Upstreamed:
        config = provider.config
        async with self._database.environment(config.environment_id) as transaction:
            holder = await transaction.installations.claimed_by(
                config.environment_id, config.provider_config_id, grant.account_id
            )
            waits = await transaction.candidates.another_waits(
                config.environment_id,
                config.provider_config_id,
                grant.account_id,
                apart_from=candidate_id,
                now=self._clock.now(),
            )
        # The tokens the installing person got beside the app's membership are useless to us either way.
        if provider.definition.connection is not None:
            await self.authorization(
                provider,
                grant.held(installation=False),
                account_id=None,
                apart_from=None,
                candidate_id=candidate_id,
            )
        if holder is not None or waits:
            return Upstreamed.SHARED
        held = grant.held(installation=True)
        if provider.side(SideName.INSTALLATION).source is CredentialSource.PROVIDER_CONFIG:
            held = Held(secret=await self._providers.app_credential(provider), external_id=grant.account_id)
        return await self.workspace(provider, held)

    async def _shared(
        self,
        provider: Provider,
        account_id: str | None,
        apart_from: UUID | None,
        candidate_id: UUID | None,
    ) -> bool:
        config, now = provider.config, self._clock.now()
        async with self._database.environment(config.environment_id) as transaction:
            shared = await transaction.connections.account_is_shared(
                config.environment_id,
                config.provider_config_id,
                account_id=account_id,
                apart_from=apart_from,
                candidate_id=candidate_id,
                now=now,
            )
        if shared or config.client_id is None:
            return shared
        # To the provider, environments with one client are one application.
        async with self._database.system() as transaction:
            return await transaction.connections.account_is_shared_elsewhere(
                config, account_id=account_id, now=now
            )

    async def _installed_elsewhere(self, provider: Provider, external_id: str | None) -> bool:
        config = provider.config
        if config.client_id is None or external_id is None:
            return False
        async with self._database.system() as transaction:
            return await transaction.installations.claimed_elsewhere(config, external_id)
