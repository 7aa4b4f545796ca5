"""Making, listing, replacing and ending the API keys of an environment."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from authpipe.access.key_text import key_hash, key_prefix, new_key
from authpipe.domain.access import ApiKeyRole
from authpipe.domain.clock import Clock
from authpipe.domain.environment import ApiKey
from authpipe.domain.errors import Conflict, InvalidInput, NotFound
from authpipe.domain.event import Origin
from authpipe.domain.identifiers import check_opaque_id, new_id
from authpipe.domain.secret import Secret
from authpipe.events.record import record
from authpipe.events.types import EventType
from authpipe.store.database import Database
from authpipe.store.transaction import Transaction

_LONGEST_NAME = 100
#: A key meant to live longer may as well not expire.
_LONGEST_LIFE = timedelta(days=3650)
#: How long a key that was replaced stays good, when nothing else is said: the time to roll out its successor.
OVERLAP = timedelta(days=1)
LONGEST_OVERLAP = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class ApiKeys:
    """The keys of every environment; each belongs to one and reaches nothing of another."""

    database: Database
    clock: Clock

    async def create(
        self,
        environment_id: UUID,
        *,
        name: str,
        role: ApiKeyRole,
        tenant_id: str | None = None,
        expires_in: timedelta | None = None,
        origin: Origin,
    ) -> tuple[ApiKey, Secret]:
        """A new key and its text, which is stored nowhere and can never be shown again.

        With a ``tenant_id`` the key reaches that tenant only; the tenant need not exist yet.  Raises
        ``InvalidInput`` (``name`` of 1 to 100 printable characters, ``expires_in`` positive and at most ten
        years, ``tenant_id``) and ``NotFound`` when there is no such environment.
        """
        if not 1 <= len(name) <= _LONGEST_NAME or not name.isprintable() or name != name.strip():
            raise InvalidInput(f"name must be 1 to {_LONGEST_NAME} printable characters", field="name")
        if expires_in is not None and not timedelta(0) < expires_in <= _LONGEST_LIFE:
            raise InvalidInput(
                "expires_in must be positive and at most 10 years; leave it out for a key without end",
                field="expires_in",
            )
        if tenant_id is not None:
            check_opaque_id(tenant_id, field="tenant_id")
        text = new_key()
        now = self.clock.now()
        key = _new(
            environment_id, text, name=name, role=role, tenant_id=tenant_id, life=expires_in, created_at=now
        )
        async with self.database.environment(environment_id) as transaction:
            if await transaction.environments.get(environment_id) is None:
                raise NotFound("no such environment")
            await _add(transaction, key, text, origin=origin)
        return key, text

    async def rotate(
        self,
        environment_id: UUID,
        api_key_id: UUID,
        *,
        overlap: timedelta = OVERLAP,
        origin: Origin,
    ) -> tuple[ApiKey, Secret]:
        """A successor with the same name, role and tenant, and its text; the key ends after ``overlap``,
        or when it expires, if that is sooner.

        The successor lives as long as the key was made for, from now on.  Every replica hears of the key's
        new end at once.  Raises ``InvalidInput`` (``overlap`` from nothing to 30 days), ``NotFound``, and
        ``Conflict`` when the key has ended (``api_key_ended``) or was replaced before (``api_key_replaced``).
        """
        if not timedelta(0) <= overlap <= LONGEST_OVERLAP:
            raise InvalidInput("overlap must be from 0 to 30 days", field="overlap_s")
        text = new_key()
        async with self.database.environment(environment_id) as transaction:
            old = await transaction.api_keys.lock(environment_id, api_key_id)
            if old is None:
                raise NotFound("no such API key in this environment")
            now = self.clock.now()
            if old.revoked_at is not None or (old.expires_at is not None and old.expires_at <= now):
                raise Conflict("the API key has ended: make a new one", code="api_key_ended")
            if old.replaced_by is not None:
                raise Conflict(f"the API key was replaced by {old.replaced_by}", code="api_key_replaced")
            key = _new(
                environment_id,
                text,
                name=old.name,
                role=old.role,
                tenant_id=old.tenant_id,
                life=None if old.expires_at is None else old.expires_at - old.created_at,
                created_at=now,
            )
            ends = now + overlap if old.expires_at is None else min(old.expires_at, now + overlap)
            await _add(transaction, key, text, origin=origin)
            await transaction.api_keys.replace(
                environment_id, api_key_id, replaced_by=key.api_key_id, expires_at=ends
            )
            await record(
                transaction,
                EventType.API_KEY_ROTATED,
                environment_id=environment_id,
                tenant_id=None,
                object_kind="api_key",
                object_id=api_key_id,
                origin=origin,
                at=now,
                data={
                    "name": old.name,
                    "prefix": old.prefix,
                    "replaced_by": str(key.api_key_id),
                    "expires_at": ends.isoformat(),
                },
            )
        return key, text

    async def list(self, environment_id: UUID) -> list[ApiKey]:
        """The environment's keys, oldest first, revoked and expired ones included."""
        async with self.database.environment(environment_id) as transaction:
            return await transaction.api_keys.all(environment_id)

    async def revoke(self, environment_id: UUID, api_key_id: UUID, *, origin: Origin) -> ApiKey:
        """End a key for good: every replica refuses it as soon as it hears of it, which is at once.

        A key that was revoked before keeps its first time and causes no second event.  Raises ``NotFound``.
        """
        now = self.clock.now()
        async with self.database.environment(environment_id) as transaction:
            before = await transaction.api_keys.get(environment_id, api_key_id)
            revoked = await transaction.api_keys.revoke(environment_id, api_key_id, at=now)
            if before is None or revoked is None:
                raise NotFound("no such API key in this environment")
            # Of two that revoke at the same moment, the one whose time was kept did it.
            if before.revoked_at is None and revoked.revoked_at == now:
                await record(
                    transaction,
                    EventType.API_KEY_REVOKED,
                    environment_id=environment_id,
                    tenant_id=None,
                    object_kind="api_key",
                    object_id=api_key_id,
                    origin=origin,
                    at=now,
                    data={"name": revoked.name, "prefix": revoked.prefix},
                )
        return revoked


def _new(
    environment_id: UUID,
    text: Secret,
    *,
    name: str,
    role: ApiKeyRole,
    tenant_id: str | None,
    life: timedelta | None,
    created_at: datetime,
) -> ApiKey:
    return ApiKey(
        api_key_id=new_id(),
        environment_id=environment_id,
        name=name,
        prefix=key_prefix(text),
        role=role,
        tenant_id=tenant_id,
        replaced_by=None,
        created_at=created_at,
        expires_at=None if life is None else created_at + life,
        revoked_at=None,
        last_used_at=None,
    )


async def _add(transaction: Transaction, key: ApiKey, text: Secret, *, origin: Origin) -> None:
    await transaction.api_keys.add(key, key_hash=key_hash(text))
    await record(
        transaction,
        EventType.API_KEY_CREATED,
        environment_id=key.environment_id,
        # It concerns the environment: a key of the tenant does not see who else has one.
        tenant_id=None,
        object_kind="api_key",
        object_id=key.api_key_id,
        origin=origin,
        at=key.created_at,
        data={
            "name": key.name,
            "prefix": key.prefix,
            "role": key.role.value,
            "tenant_id": key.tenant_id,
            "expires_at": None if key.expires_at is None else key.expires_at.isoformat(),
        },
    )
