"""Making, listing and ending the API keys of an environment."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from authpipe.access.key_text import key_hash, key_prefix, new_key
from authpipe.domain.access import ApiKeyRole
from authpipe.domain.clock import Clock
from authpipe.domain.environment import ApiKey
from authpipe.domain.errors import InvalidInput, NotFound
from authpipe.domain.event import Origin
from authpipe.domain.identifiers import new_id
from authpipe.domain.secret import Secret
from authpipe.events.record import record
from authpipe.events.types import EventType
from authpipe.store.database import Database

_LONGEST_NAME = 100
#: A key meant to live longer may as well not expire.
_LONGEST_LIFE = timedelta(days=3650)


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
        role: ApiKeyRole = ApiKeyRole.ADMIN,
        tenant_id: str | None = None,
        expires_in: timedelta | None = None,
        origin: Origin,
    ) -> tuple[ApiKey, Secret]:
        """A new key and its text, which is stored nowhere and can never be shown again.

        Raises ``InvalidInput`` (``name`` of 1 to 100 printable characters, ``expires_in`` positive and at
        most ten years) and ``NotFound`` when there is no such environment.
        """
        if not 1 <= len(name) <= _LONGEST_NAME or not name.isprintable() or name != name.strip():
            raise InvalidInput(f"name must be 1 to {_LONGEST_NAME} printable characters", field="name")
        if expires_in is not None and not timedelta(0) < expires_in <= _LONGEST_LIFE:
            raise InvalidInput(
                "expires_in must be positive and at most 10 years; leave it out for a key without end",
                field="expires_in",
            )
        text = new_key()
        now = self.clock.now()
        key = ApiKey(
            api_key_id=new_id(),
            environment_id=environment_id,
            name=name,
            prefix=key_prefix(text),
            role=role,
            tenant_id=tenant_id,
            replaced_by=None,
            created_at=now,
            expires_at=None if expires_in is None else now + expires_in,
            revoked_at=None,
            last_used_at=None,
        )
        async with self.database.environment(environment_id) as transaction:
            if await transaction.environments.get(environment_id) is None:
                raise NotFound("no such environment")
            await transaction.api_keys.add(key, key_hash=key_hash(text))
            await record(
                transaction,
                EventType.API_KEY_CREATED,
                environment_id=environment_id,
                tenant_id=None,
                object_kind="api_key",
                object_id=key.api_key_id,
                origin=origin,
                at=now,
                data={
                    "name": name,
                    "prefix": key.prefix,
                    "expires_at": None if key.expires_at is None else key.expires_at.isoformat(),
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
