"""Credentials: ciphertext, due times, leases, and the compare-and-swap that ends every refresh."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple
from uuid import UUID

from authpipe.domain.credential import CredentialKind, StoredCredential
from authpipe.store.records import read
from authpipe.store.repository import Repository


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshedSecrets:
    """What a successful refresh writes.  ``refresh_ciphertext`` None keeps the stored refresh token."""

    secret_ciphertext: bytes
    refresh_ciphertext: bytes | None
    scopes: tuple[str, ...]
    expires_at: datetime | None
    refresh_due_at: datetime | None
    refresh_expires_at: datetime | None
    issued_at: datetime
    previous_until: datetime


class Owner(NamedTuple):
    """Of a credential: the user of a connection, and how connection or installation stands.

    All None: there is none any more.
    """

    user_id: str | None
    status: str | None
    status_reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Postponement:
    """An attempt to be repeated at ``until``.  ``error`` None: nobody was asked, and nothing failed."""

    credential: StoredCredential
    until: datetime
    at: datetime
    error: str | None = None
    outcome_unknown: bool = False


@lru_cache(maxsize=1024)
def _text_array(values: tuple[str, ...]) -> str:
    """As PostgreSQL writes a ``text[]``: arrays of arrays cannot differ in length."""
    quoted = (value.replace("\\", "\\\\").replace('"', '\\"') for value in values)
    return "{" + ",".join(f'"{value}"' for value in quoted) + "}"


class Credentials(Repository):
    """Rows keyed by environment, tenant and credential."""

    aggregate = "credentials"

    async def put(self, credential: StoredCredential, *, facts: Mapping[str, Any]) -> None:
        """Store a new credential; the owner's earlier one of the same kind must be destroyed first."""
        await self._run(
            "put",
            credential.environment_id,
            credential.tenant_id,
            credential.credential_id,
            credential.owner_kind.value,
            credential.owner_id,
            credential.provider_config_id,
            credential.provider,
            credential.kind.value,
            credential.source.value,
            credential.secret_ciphertext,
            credential.refresh_ciphertext,
            dict(facts),
            list(credential.scopes),
            credential.expires_at,
            credential.refresh_due_at,
            credential.refresh_expires_at,
            credential.issued_at,
        )
        await self._value("announce", str(credential.credential_id))

    async def destroy_owned(
        self, environment_id: UUID, tenant_id: str, owner_id: UUID
    ) -> list[StoredCredential]:
        """Delete every credential of a connection or installation; returns each as it was in that moment."""
        rows = await self._all("destroy_owned", environment_id, tenant_id, owner_id)
        for row in rows:
            await self._value("announce", str(row["credential_id"]))
        return [read(StoredCredential, row) for row in rows]

    async def destroy_kind(
        self, environment_id: UUID, tenant_id: str, owner_id: UUID, kind: CredentialKind
    ) -> None:
        """Delete the owner's credential of one kind, if it has one."""
        await self._run("destroy_kind", environment_id, tenant_id, owner_id, kind.value)

    async def owned(self, environment_id: UUID, tenant_id: str, owner_id: UUID) -> list[StoredCredential]:
        """The credentials of one connection or installation."""
        rows = await self._all("owned", environment_id, tenant_id, owner_id)
        return [read(StoredCredential, row) for row in rows]

    async def get(self, environment_id: UUID, tenant_id: str, credential_id: UUID) -> StoredCredential | None:
        """The credential, or None."""
        row = await self._one("get", environment_id, tenant_id, credential_id)
        return None if row is None else read(StoredCredential, row)

    async def claim_due(
        self,
        *,
        now: datetime,
        lease_until: datetime,
        limit: int,
        room: int = 10_000,
        rooms: Mapping[UUID, int] = MappingProxyType({}),
    ) -> list[StoredCredential]:
        """Lease up to ``limit`` due credentials: system-wide work.

        ``room`` is the most of one provider config, unless ``rooms`` names another number for it, 0 for none.
        Configs take turns; of one config that comes first what expires first.  A row whose earlier lease ran
        out without being given back comes with ``outcome_unknown``.
        """
        await self._by_index()
        rows = await self._all(
            "claim_due", now, lease_until, limit, room, list(rooms), [max(each, 0) for each in rooms.values()]
        )
        return [read(StoredCredential, row) for row in rows]

    async def claim_one(
        self,
        environment_id: UUID,
        tenant_id: str,
        credential_id: UUID,
        *,
        now: datetime,
        lease_until: datetime,
        as_read: StoredCredential | None = None,
    ) -> StoredCredential | None:
        """Lease one credential, or None while somebody else holds it.

        With ``as_read`` also None when the row is not any more as it was read: refreshed, or judged.
        """
        row = await self._one(
            "claim_one",
            environment_id,
            tenant_id,
            credential_id,
            now,
            lease_until,
            None if as_read is None else as_read.version,
            None if as_read is None else as_read.refresh_due_at,
        )
        return None if row is None else read(StoredCredential, row)

    async def defer(self, credential: StoredCredential, *, until: datetime) -> bool:
        """Give the lease back because nobody was asked: that is no failure.  False when the lease is lost."""
        row = await self._one(
            "defer",
            credential.environment_id,
            credential.tenant_id,
            credential.credential_id,
            credential.version,
            credential.lease,
            until,
        )
        if row is None:
            return False
        await self._value("announce", str(credential.credential_id))
        return True

    async def release(self, credential: StoredCredential) -> None:
        """Give a lease back without an attempt having been made."""
        await self._run(
            "release",
            credential.environment_id,
            credential.tenant_id,
            credential.credential_id,
            credential.lease,
        )
        await self._value("announce", str(credential.credential_id))

    async def commit_refresh(
        self, credential: StoredCredential, secrets: RefreshedSecrets
    ) -> StoredCredential | None:
        """Write new secrets if the version is still that of ``credential``, and end whatever lease there is.

        None means a later writer was first.
        """
        row = await self._one(
            "commit_refresh",
            credential.environment_id,
            credential.tenant_id,
            credential.credential_id,
            credential.version,
            secrets.previous_until,
            secrets.secret_ciphertext,
            secrets.refresh_ciphertext,
            list(secrets.scopes),
            secrets.expires_at,
            secrets.refresh_due_at,
            secrets.refresh_expires_at,
            secrets.issued_at,
        )
        if row is None:
            return None
        await self._value("announce", str(credential.credential_id))
        return read(StoredCredential, row)

    async def commit_refreshes(
        self, answers: Sequence[tuple[StoredCredential, RefreshedSecrets]]
    ) -> list[bool]:
        """As :meth:`commit_refresh` for many at once, of any tenants: system-wide work.

        False says only that this one was not written: somebody holds the row at the moment, or it has another
        version.
        """
        rows = await self._all(
            "commit_refreshes",
            *zip(
                *(
                    (
                        credential.environment_id,
                        credential.tenant_id,
                        credential.credential_id,
                        credential.version,
                        new.previous_until,
                        new.secret_ciphertext,
                        new.refresh_ciphertext,
                        _text_array(new.scopes),
                        new.expires_at,
                        new.refresh_due_at,
                        new.refresh_expires_at,
                        new.issued_at,
                    )
                    for credential, new in answers
                ),
                strict=True,
            ),
        )
        written = {row["number"] for row in rows}
        return [number in written for number in range(1, len(answers) + 1)]

    async def owners_of(self, credentials: Sequence[StoredCredential]) -> list[Owner]:
        """What each hangs on, in the same order, looked at without a lock."""
        rows = await self._all(
            "owners_of",
            *zip(
                *(
                    (each.environment_id, each.tenant_id, each.owner_kind.value, each.owner_id)
                    for each in credentials
                ),
                strict=True,
            ),
        )
        return [Owner(row["user_id"], row["status"], row["status_reason"]) for row in rows]

    async def postpone(
        self,
        credential: StoredCredential,
        *,
        until: datetime,
        error: str,
        at: datetime,
        outcome_unknown: bool,
    ) -> StoredCredential | None:
        """Give the lease back after a transient failure; the next attempt is due at ``until``.

        ``outcome_unknown`` raises a doubt that only a success ends: a later failure says nothing of this
        attempt.
        """
        row = await self._one(
            "postpone",
            credential.environment_id,
            credential.tenant_id,
            credential.credential_id,
            credential.version,
            credential.lease,
            until,
            error,
            at,
            outcome_unknown,
        )
        if row is None:
            return None
        await self._value("announce", str(credential.credential_id))
        return read(StoredCredential, row)

    async def postpone_all(self, postponements: Sequence[Postponement]) -> list[int | None]:
        """As :meth:`postpone` or :meth:`defer` for many at once, of any tenants: system-wide work.

        Returns the failures in a row that each has now.  None says only that this one was not written:
        somebody holds the row at the moment, or lease or version is another's.
        """
        rows = await self._all(
            "postpone_all",
            *zip(
                *(
                    (
                        each.credential.environment_id,
                        each.credential.tenant_id,
                        each.credential.credential_id,
                        each.credential.version,
                        each.credential.lease,
                        each.until,
                        each.error,
                        each.at,
                        each.outcome_unknown,
                        each.error is not None,
                    )
                    for each in postponements
                ),
                strict=True,
            ),
        )
        written: dict[int, int] = {row["number"]: row["refresh_failures"] for row in rows}
        return [written.get(number) for number in range(1, len(postponements) + 1)]

    async def condemn(
        self, credential: StoredCredential, *, error: str, at: datetime
    ) -> StoredCredential | None:
        """End refreshing if version and lease still hold.  None when somebody stored newer secrets."""
        row = await self._one(
            "condemn",
            credential.environment_id,
            credential.tenant_id,
            credential.credential_id,
            credential.version,
            credential.lease,
            error,
            at,
        )
        if row is None:
            return None
        await self._value("announce", str(credential.credential_id))
        return read(StoredCredential, row)

    async def purge_previous(self, *, now: datetime) -> int:
        """Drop previous secrets whose grace period is over: system-wide work."""
        return await self._run("purge_previous", now)

    async def due_count(self, *, now: datetime) -> int:
        """How many credentials are due and free, up to 10,000: system-wide work."""
        await self._by_index()
        return int(await self._value("due_count", now))
