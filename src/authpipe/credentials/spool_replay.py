"""From the spool into the database: at once, again after an outage, and for processes that died."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from authpipe.credentials.outcome import GIVEN_UP, Refreshed
from authpipe.credentials.spool import Receipt, Spool, SpoolRecord
from authpipe.domain.clock import Clock
from authpipe.domain.connection import ConnectionStatus, InstallationStatus
from authpipe.domain.credential import OwnerKind, StoredCredential
from authpipe.domain.event import ActorKind, Origin
from authpipe.events.record import record as record_event
from authpipe.events.types import EventType
from authpipe.store.database import Database, is_outage
from authpipe.store.transaction import Transaction
from authpipe.telemetry import traces
from authpipe.telemetry.logs import get_logger
from authpipe.telemetry.metrics import Metrics
from authpipe.vault.envelope import key_id_of

#: Seconds between two tries while the database is away.
RETRY_S = 0.5

_log = get_logger(__name__)
_origin = Origin(actor_kind=ActorKind.WORKER)


class SpoolReplay:
    """Every answer a provider gave is on disk before the database is told, and stays until it was told."""

    def __init__(self, database: Database, spool: Spool, clock: Clock, metrics: Metrics) -> None:
        self._database = database
        self._spool = spool
        self._clock = clock
        self._metrics = metrics
        self._pending: dict[asyncio.Task[None], SpoolRecord] = {}

    async def write(
        self, record: SpoolRecord, credential: StoredCredential, *, spooled: Callable[[], None]
    ) -> Refreshed:
        """Put the answer on disk, then into the database.

        ``SPOOLED`` means the database does not take it now and the answer will follow; ``SUPERSEDED`` that a
        later writer had stored newer secrets.  A disk that refuses is logged and does not stop the commit.
        """
        receipt: Receipt | None = None
        try:
            receipt = await self._spool.append(record)
        except OSError as error:
            _log.error("the spool cannot be written", error=type(error).__name__, errno=error.errno)
        spooled()
        self._metrics.spool_records.set(self._spool.outstanding)
        try:
            outcome = await self._commit(record, credential)
        except Exception as error:  # noqa: BLE001  # whatever it was, the answer is the only one there is
            level = _log.warning if is_outage(error) else _log.error
            level(
                "the database does not take it now; a refreshed credential waits on local disk",
                credential_id=str(record.credential_id),
                error=type(error).__name__,
            )
            task = asyncio.create_task(self._commit_later(record, receipt))
            self._pending[task] = record
            task.add_done_callback(self._pending.pop)
            return Refreshed.SPOOLED
        self._settle(receipt)
        return outcome

    async def held(self, credential: StoredCredential) -> Refreshed | None:
        """Commit the answer this process already has for a credential at this version, if it has one.

        Raises what the database raises while it is away.  None: there is no such answer.
        """
        place = (credential.environment_id, credential.tenant_id, credential.credential_id)
        for record in list(self._pending.values()):
            if (record.environment_id, record.tenant_id, record.credential_id) == place and (
                record.version == credential.version
            ):
                return await self._commit(record, None)
        return None

    async def adopt(self) -> int:
        """Commit what processes that died left on this machine's disk; returns how many records there were.

        Raises what the database raises while it is away; the files stay for the next try.  A file that
        cannot be worked off for another reason stays too, and keeps nobody from the others.
        """
        count = 0
        for orphan in self._spool.orphans():
            try:
                for record in orphan.records():
                    outcome = await self._commit(record, None)
                    count += 1
                    _log.info(
                        "replayed a spooled credential",
                        credential_id=str(record.credential_id),
                        outcome=outcome.value,
                    )
                if not orphan.finish():
                    _log.error("a spool file holds records of another release", file=orphan.path.name)
            except Exception as error:
                if is_outage(error):
                    raise
                _log.error(
                    "a spool file cannot be worked off",
                    file=orphan.path.name,
                    error=type(error).__name__,
                )
            finally:
                orphan.release()
        return count

    async def drain(self) -> None:
        """Wait until every record of this process is in the database."""
        while self._pending:
            await asyncio.wait(list(self._pending))

    async def close(self) -> None:
        """Stop retrying.  What is still outstanding stays on disk for the next process."""
        for task in list(self._pending):
            task.cancel()
        if self._pending:
            await asyncio.wait(list(self._pending))
        self._spool.close()

    def _settle(self, receipt: Receipt | None) -> None:
        if receipt is not None:
            self._spool.settle(receipt)
        self._metrics.spool_records.set(self._spool.outstanding)

    async def _commit_later(self, record: SpoolRecord, receipt: Receipt | None) -> None:
        while True:
            await asyncio.sleep(RETRY_S)
            try:
                await self._commit(record, None)
            except Exception as error:  # noqa: BLE001  # an outage ends; anything else must not lose the record
                if not is_outage(error):
                    _log.error("a spooled credential cannot be committed", error=type(error).__name__)
                continue
            self._settle(receipt)
            return

    async def _commit(self, record: SpoolRecord, leased: StoredCredential | None) -> Refreshed:
        """Compare and swap on the version.

        The lease is not asked for: one that ran out does not make the answer worse.  While the version
        stands nobody has stored anything newer, and the provider may have ended the old refresh token.
        """
        with traces.span("refresh.commit", credential_id=record.credential_id) as span:
            outcome = await self._swap(record, leased)
            span.set(outcome=outcome.value)
            return outcome

    async def _swap(self, record: SpoolRecord, leased: StoredCredential | None) -> Refreshed:
        async with self._database.tenant(record.environment_id, record.tenant_id) as transaction:
            stored = leased or await transaction.credentials.get(
                record.environment_id, record.tenant_id, record.credential_id
            )
            if stored is None or stored.version != record.version:
                return Refreshed.SUPERSEDED
            if leased is None and not await self._keys_held(transaction, record):
                return Refreshed.SUPERSEDED
            committed = await transaction.credentials.commit_refresh(stored, record.secrets)
            if committed is None:
                _log.info("a late refresh lost to a newer one", credential_id=str(record.credential_id))
                return Refreshed.SUPERSEDED
            await self._tell(transaction, committed, record)
        return Refreshed.REFRESHED

    async def _keys_held(self, transaction: Transaction, record: SpoolRecord) -> bool:
        """Keep the keys of an answer that comes late, perhaps by weeks, from being destroyed meanwhile."""
        secrets = (record.secrets.secret_ciphertext, record.secrets.refresh_ciphertext)
        key_ids = {key_id_of(ciphertext) for ciphertext in secrets if ciphertext is not None}
        if await transaction.data_keys.hold(record.environment_id, record.tenant_id, key_ids):
            return True
        _log.error(
            "the key of a spooled credential was destroyed; it cannot be used",
            credential_id=str(record.credential_id),
        )
        return False

    async def _tell(
        self, transaction: Transaction, credential: StoredCredential, record: SpoolRecord
    ) -> None:
        now = self._clock.now()
        place = (credential.environment_id, credential.tenant_id, credential.owner_id)
        # Looked at without a lock: a reconnect locks connection, then credential, the other way.
        connection = None
        if credential.owner_kind is OwnerKind.CONNECTION:
            connection = await transaction.connections.get(*place)
        whose = {} if connection is None or connection.user_id is None else {"user_id": connection.user_id}
        await record_event(
            transaction,
            EventType.CREDENTIAL_REFRESHED,
            environment_id=credential.environment_id,
            tenant_id=credential.tenant_id,
            object_kind="credential",
            object_id=credential.credential_id,
            origin=_origin,
            at=now,
            data={
                "provider": credential.provider,
                f"{credential.owner_kind.value}_id": str(credential.owner_id),
                **whose,
                "version": credential.version,
                "expires_at": None if credential.expires_at is None else credential.expires_at.isoformat(),
            },
        )
        # The answer may have arrived after the connection was given up for lack of it.
        if credential.owner_kind is OwnerKind.CONNECTION:
            if connection is None or not (
                connection.status is ConnectionStatus.NEEDS_REAUTH and connection.status_reason in GIVEN_UP
            ):
                return
            await transaction.connections.set_status(
                *place, status=ConnectionStatus.ACTIVE, reason=None, at=now
            )
            recovered = EventType.CONNECTION_RECOVERED
        else:
            installation = await transaction.installations.get(*place)
            if installation is None or not (
                installation.status is InstallationStatus.NEEDS_REAUTH
                and installation.status_reason in GIVEN_UP
            ):
                return
            await transaction.installations.set_status(
                *place, status=InstallationStatus.ACTIVE, reason=None, at=now
            )
            recovered = EventType.INSTALLATION_RECOVERED
        await record_event(
            transaction,
            recovered,
            environment_id=credential.environment_id,
            tenant_id=credential.tenant_id,
            object_kind=credential.owner_kind.value,
            object_id=credential.owner_id,
            origin=_origin,
            at=now,
            data={"provider": credential.provider, **whose, "reason": "refreshed"},
        )
