"""Answers of providers go into the database: compare-and-swap on the version, each with its event."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from authpipe.credentials.grouping import Grouping
from authpipe.credentials.outcome import GIVEN_UP, Refreshed
from authpipe.credentials.spool import SpoolRecord
from authpipe.domain.clock import Clock
from authpipe.domain.connection import ConnectionStatus, InstallationStatus
from authpipe.domain.credential import OwnerKind, StoredCredential
from authpipe.domain.event import ActorKind, Event, Origin
from authpipe.events.record import fact, record_all
from authpipe.events.types import EventType
from authpipe.store.database import Database
from authpipe.store.transaction import Transaction
from authpipe.telemetry import traces
from authpipe.telemetry.logs import get_logger
from authpipe.vault.envelope import key_id_of

_log = get_logger(__name__)
_origin = Origin(actor_kind=ActorKind.WORKER)


class Answer(NamedTuple):
    """What a provider gave, and the credential as it was when it was asked."""

    record: SpoolRecord
    credential: StoredCredential


class Commits:
    """Writes answers: those that come together in one transaction, one that comes alone at once.

    The lease is not asked for: one that ran out does not make the answer worse.  While the version stands
    nobody has stored anything newer, and the provider may have ended the old refresh token.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._groups: Grouping[Answer, Refreshed] = Grouping(self._write_group, self._write_one)

    async def write(self, record: SpoolRecord, credential: StoredCredential) -> Refreshed:
        """Commit a fresh answer for a credential as it was claimed.  Raises what the database raises."""
        with traces.span("refresh.commit", credential_id=record.credential_id) as span:
            outcome = await self._groups.write(Answer(record, credential))
            span.set(outcome=outcome.value)
            return outcome

    async def write_late(self, record: SpoolRecord) -> Refreshed:
        """Commit an answer that has waited, perhaps for weeks, and looks at the row as it is now."""
        with traces.span("refresh.commit", credential_id=record.credential_id) as span:
            async with self._database.tenant(record.environment_id, record.tenant_id) as transaction:
                outcome = await self._swap_late(transaction, record)
            span.set(outcome=outcome.value)
            return outcome

    async def _write_one(self, answer: Answer) -> Refreshed:
        record, _ = answer
        async with self._database.tenant(record.environment_id, record.tenant_id) as transaction:
            return await self._swap(transaction, answer)

    async def _write_group(self, answers: Sequence[Answer]) -> list[Refreshed | None]:
        async with self._database.system() as transaction:
            written = await transaction.credentials.commit_refreshes(
                [(credential, record.secrets) for record, credential in answers]
            )
            await self._tell(transaction, [each for each, yes in zip(answers, written, strict=True) if yes])
        return [Refreshed.REFRESHED if yes else None for yes in written]

    async def _swap_late(self, transaction: Transaction, record: SpoolRecord) -> Refreshed:
        stored = await transaction.credentials.get(
            record.environment_id, record.tenant_id, record.credential_id
        )
        if stored is None or stored.version != record.version:
            return Refreshed.SUPERSEDED
        if not await _keys_held(transaction, record):
            return Refreshed.SUPERSEDED
        return await self._swap(transaction, Answer(record, stored))

    async def _swap(self, transaction: Transaction, answer: Answer) -> Refreshed:
        record, credential = answer
        if await transaction.credentials.commit_refresh(credential, record.secrets) is None:
            _log.info("a late refresh lost to a newer one", credential_id=str(record.credential_id))
            return Refreshed.SUPERSEDED
        await self._tell(transaction, [answer])
        return Refreshed.REFRESHED

    async def _tell(self, transaction: Transaction, written: Sequence[Answer]) -> None:
        """Events for what was written, and the recovery of owners that were given up for lack of it."""
        if not written:
            return
        now = self._clock.now()
        # A statement of its own: it sees whatever was committed before the rows were ours.
        owners = await transaction.credentials.owners_of([credential for _, credential in written])
        facts = []
        for (record, credential), owner in zip(written, owners, strict=True):
            whose = {} if owner.user_id is None else {"user_id": owner.user_id}
            facts.append(_refreshed(record, credential, whose, now))
            # Looked at without a lock: a reconnect locks connection, then credential, the other way.
            if owner.status == ConnectionStatus.NEEDS_REAUTH and owner.status_reason in GIVEN_UP:
                facts.append(await _recover(transaction, credential, whose, now))
        await record_all(transaction, facts)


def _refreshed(
    record: SpoolRecord, credential: StoredCredential, whose: dict[str, str], at: datetime
) -> Event:
    expires_at = record.secrets.expires_at
    return fact(
        EventType.CREDENTIAL_REFRESHED,
        environment_id=credential.environment_id,
        tenant_id=credential.tenant_id,
        object_kind="credential",
        object_id=credential.credential_id,
        origin=_origin,
        at=at,
        data={
            "provider": credential.provider,
            f"{credential.owner_kind.value}_id": str(credential.owner_id),
            **whose,
            "version": credential.version + 1,
            "expires_at": None if expires_at is None else expires_at.isoformat(),
        },
    )


async def _recover(
    transaction: Transaction, credential: StoredCredential, whose: dict[str, str], at: datetime
) -> Event:
    """The answer arrived after its owner was given up for lack of it."""
    place = (credential.environment_id, credential.tenant_id, credential.owner_id)
    if credential.owner_kind is OwnerKind.CONNECTION:
        recovered = EventType.CONNECTION_RECOVERED
        await transaction.connections.set_status(*place, status=ConnectionStatus.ACTIVE, reason=None, at=at)
    else:
        recovered = EventType.INSTALLATION_RECOVERED
        await transaction.installations.set_status(
            *place, status=InstallationStatus.ACTIVE, reason=None, at=at
        )
    return fact(
        recovered,
        environment_id=credential.environment_id,
        tenant_id=credential.tenant_id,
        object_kind=credential.owner_kind.value,
        object_id=credential.owner_id,
        origin=_origin,
        at=at,
        data={"provider": credential.provider, **whose, "reason": "refreshed"},
    )


async def _keys_held(transaction: Transaction, record: SpoolRecord) -> bool:
    """Keep the keys of an answer that comes late from being destroyed meanwhile."""
    secrets = (record.secrets.secret_ciphertext, record.secrets.refresh_ciphertext)
    key_ids = {key_id_of(ciphertext) for ciphertext in secrets if ciphertext is not None}
    if await transaction.data_keys.hold(record.environment_id, record.tenant_id, key_ids):
        return True
    _log.error(
        "the key of a spooled credential was destroyed; it cannot be used",
        credential_id=str(record.credential_id),
    )
    return False
