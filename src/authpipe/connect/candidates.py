"""From a grant to a candidate: encrypted, unreadable, and waiting for the application's word."""

from __future__ import annotations

import contextlib

from authpipe.catalog.definition import SideName
from authpipe.connect.abandon import Abandonment
from authpipe.connect.grant import AccountGrant, account_of, grant_context, secrets_of
from authpipe.connect.one_time import CANDIDATE_LIFETIME, digest, new_value
from authpipe.credentials.provider import Provider
from authpipe.domain.clock import Clock
from authpipe.domain.connect_session import Candidate, ConnectSession
from authpipe.domain.errors import Conflict, ConnectError
from authpipe.domain.event import Origin
from authpipe.domain.identifiers import new_id
from authpipe.domain.secret import Secret
from authpipe.events.record import record
from authpipe.events.types import EventType
from authpipe.store.database import Database
from authpipe.vault.vault import Vault


class CandidateMaking:
    """Stores candidates and hands out the completion code the browser carries to the application."""

    def __init__(self, *, database: Database, vault: Vault, abandonment: Abandonment, clock: Clock) -> None:
        self._database = database
        self._vault = vault
        self._abandonment = abandonment
        self._clock = clock

    async def make(
        self, session: ConnectSession, provider: Provider, grant: AccountGrant, *, origin: Origin
    ) -> tuple[ConnectSession, Secret]:
        """The session, now waiting for completion, and the one-time completion code.

        A session that ended meanwhile, or whose tenant is being erased, raises ``ConnectError``
        (``session_ended``); the grant is given back.
        """
        # A conflict says that the tenant is being erased, and with it the session.
        with contextlib.suppress(Conflict):
            made = await self._make(session, grant, origin)
            if made is not None:
                return made
        await self._abandonment.of_grant(provider, SideName(session.kind.value), grant)
        raise ConnectError("This is already finished. Go back to the application.", code="session_ended")

    async def _make(
        self, session: ConnectSession, grant: AccountGrant, origin: Origin
    ) -> tuple[ConnectSession, Secret] | None:
        now = self._clock.now()
        candidate_id = new_id()
        expires_at = now + CANDIDATE_LIFETIME
        completion_code = new_value()
        candidate = Candidate(
            candidate_id=candidate_id,
            session_id=session.session_id,
            environment_id=session.environment_id,
            tenant_id=session.tenant_id,
            provider_config_id=session.provider_config_id,
            grant_ciphertext=await self._vault.encrypt(
                secrets_of(grant), grant_context(session.environment_id, session.tenant_id, candidate_id)
            ),
            account=account_of(grant),
            created_at=now,
            expires_at=expires_at,
        )
        async with self._database.tenant(session.environment_id, session.tenant_id) as transaction:
            await transaction.tenants.keep(session.environment_id, session.tenant_id)
            waiting = await transaction.sessions.candidate(
                session, completion_hash=digest(completion_code), expires_at=expires_at, at=now
            )
            if waiting is None:
                return None
            await transaction.candidates.add(candidate)
            await record(
                transaction,
                EventType.CONNECT_SESSION_CANDIDATE,
                environment_id=session.environment_id,
                tenant_id=session.tenant_id,
                object_kind="connect_session",
                object_id=session.session_id,
                origin=origin,
                at=now,
                data={"provider": session.provider, "account_id": grant.account_id},
            )
        return waiting, completion_code
