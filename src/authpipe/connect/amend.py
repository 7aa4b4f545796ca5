"""What the application may change by hand: labels, the primary mark, a tenant's name."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any, TypedDict
from uuid import UUID

from authpipe.domain.clock import Clock
from authpipe.domain.connection import Connection, ConnectionStatus, Installation, InstallationStatus
from authpipe.domain.environment import Tenant
from authpipe.domain.errors import Conflict, NotFound
from authpipe.domain.event import Origin
from authpipe.domain.identifiers import check_opaque_id
from authpipe.events.record import record
from authpipe.events.types import EventType
from authpipe.store.database import Database
from authpipe.store.transaction import Transaction


class Amendments(TypedDict, total=False):
    """What to change; a key that is missing leaves its field as it is, ``label`` None removes it."""

    label: str | None
    is_primary: bool


class Amendment:
    """Changes that touch no credential.  What changes nothing leaves no event."""

    def __init__(self, *, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def connection(
        self, environment_id: UUID, connection_id: UUID, amendments: Amendments, *, origin: Origin
    ) -> Connection:
        """The connection as it is afterwards; making it primary ends the mark of the user's others.

        Raises ``NotFound`` and ``Conflict`` (``connection_ended``, ``label_taken``).
        """
        async with self._database.environment(environment_id) as transaction:
            found = await transaction.connections.find(environment_id, connection_id)
        if found is None:
            raise NotFound("no such connection in this environment")
        now = self._clock.now()
        async with self._database.tenant(environment_id, found.tenant_id) as transaction:
            before = await transaction.connections.lock(environment_id, found.tenant_id, connection_id)
            if before is None or before.status is ConnectionStatus.REVOKED:
                raise Conflict("the connection was disconnected", code="connection_ended")
            wanted = replace(before, **amendments)
            if wanted == before:
                return before
            if wanted.label != before.label:
                await self._check_label(transaction, wanted)
            if wanted.is_primary and not before.is_primary:
                for other in await transaction.connections.make_primary(before, at=now):
                    await _told(transaction, EventType.CONNECTION_UPDATED, other, origin, now)
            after = await transaction.connections.update(wanted, at=now)
            await _told(transaction, EventType.CONNECTION_UPDATED, after, origin, now)
        return after

    async def installation(
        self, environment_id: UUID, installation_id: UUID, amendments: Amendments, *, origin: Origin
    ) -> Installation:
        """As :meth:`connection`.  Raises ``NotFound`` and ``Conflict`` (``installation_ended``)."""
        async with self._database.environment(environment_id) as transaction:
            found = await transaction.installations.find(environment_id, installation_id)
        if found is None:
            raise NotFound("no such installation in this environment")
        now = self._clock.now()
        async with self._database.tenant(environment_id, found.tenant_id) as transaction:
            before = await transaction.installations.lock(environment_id, found.tenant_id, installation_id)
            if before is None or before.status is InstallationStatus.DELETED:
                raise Conflict("the installation was removed", code="installation_ended")
            wanted = replace(before, **amendments)
            if wanted == before:
                return before
            if wanted.is_primary and not before.is_primary:
                for other in await transaction.installations.make_primary(before, at=now):
                    await _told(transaction, EventType.INSTALLATION_UPDATED, other, origin, now)
            after = await transaction.installations.update(wanted, at=now)
            await _told(transaction, EventType.INSTALLATION_UPDATED, after, origin, now)
        return after

    async def tenant(
        self, environment_id: UUID, tenant_id: str, *, name: str | None, origin: Origin
    ) -> Tenant:
        """The tenant of that id, made when it did not exist, under this name.  Raises ``InvalidInput``."""
        check_opaque_id(tenant_id, field="tenant_id")
        now = self._clock.now()
        async with self._database.tenant(environment_id, tenant_id) as transaction:
            before = await transaction.tenants.get(environment_id, tenant_id)
            if before is not None and before.name == name:
                return before
            after = await transaction.tenants.put(environment_id, tenant_id, name=name, at=now)
            await record(
                transaction,
                EventType.TENANT_CREATED if before is None else EventType.TENANT_UPDATED,
                environment_id=environment_id,
                tenant_id=tenant_id,
                object_kind="tenant",
                object_id=tenant_id,
                origin=origin,
                at=now,
                data={"name": name},
            )
        return after

    @staticmethod
    async def _check_label(transaction: Transaction, wanted: Connection) -> None:
        holder = await transaction.connections.for_slot(
            wanted.environment_id,
            wanted.tenant_id,
            wanted.provider_config_id,
            user_id=wanted.user_id,
            label=wanted.label,
        )
        if holder is not None and holder.connection_id != wanted.connection_id:
            raise Conflict(
                "another connection in this place has that label, or none either: choose another",
                code="label_taken",
            )


async def _told(
    transaction: Transaction,
    type: EventType,  # noqa: A002  # the field's own name
    changed: Connection | Installation,
    origin: Origin,
    at: datetime,
) -> None:
    data: dict[str, Any] = {
        "provider": changed.provider,
        "label": changed.label,
        "is_primary": changed.is_primary,
    }
    is_connection = isinstance(changed, Connection)
    if isinstance(changed, Connection):
        data["user_id"] = changed.user_id
    await record(
        transaction,
        type,
        environment_id=changed.environment_id,
        tenant_id=changed.tenant_id,
        object_kind="connection" if is_connection else "installation",
        object_id=changed.connection_id if isinstance(changed, Connection) else changed.installation_id,
        origin=origin,
        at=at,
        data=data,
    )
