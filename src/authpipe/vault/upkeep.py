"""What keysets need without anybody asking: primaries not too old, retired keys that go in the end."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol
from uuid import UUID

from authpipe.domain.clock import Clock
from authpipe.domain.errors import Conflict, VaultError
from authpipe.domain.event import ActorKind, Origin
from authpipe.telemetry.logs import get_logger
from authpipe.vault.keyset import KeysetOwner, RotationCause, RotationReason
from authpipe.vault.payloads import PayloadStore
from authpipe.vault.rotation import KeysetRotation
from authpipe.vault.vault import Vault

#: Seconds between two rounds.
EVERY_S = 30.0
#: Keysets that one round rotates for their age: a thousand made in one hour are spread over ten minutes.
AGED_AT_ONCE = 50
#: Retired keys that one claim takes, and the claims of one round: three million looks a day, at some forty
#: for each key from its retirement to its end.
EXAMINED_AT_ONCE = 50
_CLAIMS = 20
#: How long a key that one process looks at is left alone by the others.
EXAMINATION = timedelta(minutes=10)
#: How long a retired key is kept, in use or not: answers of providers that wait on some machine's disk, and
#: backups of that disk, are encrypted under it.
RETIRED_KEPT = timedelta(days=30)
#: How long nothing must have been found under it: whoever read a row before it was re-encrypted has long
#: finished, or written it back as it was.
UNUSED_KEPT = timedelta(days=1)
_SOONEST, _LATEST = timedelta(minutes=1), timedelta(days=1)

_log = get_logger(__name__)
_origin = Origin(actor_kind=ActorKind.WORKER)


class PrimaryKey(NamedTuple):
    """The primary of a keyset."""

    owner: KeysetOwner
    key_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class RetiredKey:
    """A key that encrypts no more.  ``unused_since`` None: something was under it when last looked at."""

    owner: KeysetOwner
    key_id: UUID
    retired_at: datetime
    unused_since: datetime | None


class RetiredKeyStore(Protocol):
    """Keys by age, and what was found out about those that retired."""

    async def aged(self, *, created_until: datetime, limit: int) -> Sequence[PrimaryKey]:
        """Primaries made by then, the oldest first."""
        ...

    async def claim(self, *, now: datetime, until: datetime, limit: int) -> Sequence[RetiredKey]:
        """Retired keys that are to be looked at now; nobody else is given them before ``until``."""
        ...

    async def settle(self, key: RetiredKey, *, used: bool, now: datetime, examine_at: datetime) -> None:
        """Note whether anything was found under the key, and when to look again."""
        ...

    async def destroy(
        self,
        key: RetiredKey,
        *,
        retired_until: datetime,
        unused_until: datetime,
        origin: Origin,
        at: datetime,
    ) -> bool:
        """Delete the key for good if it retired and was found unused by then, and if no payload names it.

        Looked at once more with the key locked against whoever is storing such a payload.  False: it stays.
        """
        ...


class KeysetUpkeep:
    """Runs in every worker.  Everything it does is safe to be cut off and to be done by several at once.

    ``max_age`` None rotates nothing for its age.
    """

    def __init__(
        self,
        *,
        vault: Vault,
        rotation: KeysetRotation,
        keys: RetiredKeyStore,
        payloads: PayloadStore,
        clock: Clock,
        max_age: timedelta | None,
    ) -> None:
        self._vault = vault
        self._rotation = rotation
        self._keys = keys
        self._payloads = payloads
        self._clock = clock
        self._max_age = max_age
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Work until :meth:`stop`.  Outages of database and KEKs are waited out."""
        told = asyncio.create_task(self._stopping.wait())
        rounds = asyncio.create_task(self._rounds())
        try:
            await asyncio.wait({rounds, told}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            rounds.cancel()
            told.cancel()
            await asyncio.wait({rounds, told})

    def stop(self) -> None:
        """Let go of the running round at once: the next process goes on where it stands."""
        self._stopping.set()

    async def round(self) -> int:
        """What is due now, within bounds; returns how many keys were rotated or looked at."""
        return await self._rotate_aged() + await self._examine_retired()

    async def _rounds(self) -> None:
        while True:
            try:
                await self.round()
            except Exception as error:  # noqa: BLE001  # the next round tries again
                _log.warning("keysets cannot be looked after", error=type(error).__name__)
            await asyncio.sleep(EVERY_S)

    async def _rotate_aged(self) -> int:
        if self._max_age is None:
            return 0
        aged = await self._keys.aged(created_until=self._clock.now() - self._max_age, limit=AGED_AT_ONCE)
        cause = RotationCause(RotationReason.AGE, _origin)
        for primary in aged:
            try:
                await self._vault.rotate(*primary.owner, replaces=primary.key_id, cause=cause)
            except (Conflict, VaultError) as error:  # as when the tenant is being erased
                _tell(primary.owner, error)
        return len(aged)

    async def _examine_retired(self) -> int:
        examined = 0
        for _ in range(_CLAIMS):
            claimed = await self._examine_some()
            examined += claimed
            if claimed < EXAMINED_AT_ONCE:
                break
        return examined

    async def _examine_some(self) -> int:
        now = self._clock.now()
        claimed = await self._keys.claim(now=now, until=now + EXAMINATION, limit=EXAMINED_AT_ONCE)
        by_owner: dict[KeysetOwner, list[RetiredKey]] = {}
        for key in claimed:
            by_owner.setdefault(key.owner, []).append(key)
        for owner, keys in by_owner.items():
            try:
                await self._examine(owner, keys)
            except Exception as error:  # noqa: BLE001  # one keyset's trouble is not the others'
                _tell(owner, error)
        return len(claimed)

    async def _examine(self, owner: KeysetOwner, keys: list[RetiredKey]) -> None:
        counts = await self._payloads.count(owner)
        if any(counts.get(key.key_id) for key in keys):
            await self._rotation.reencrypt(owner, origin=_origin)
        now = self._clock.now()
        for key in keys:
            # By what was found, not by what is left: whoever had it in hand may still need the key.
            used = counts.get(key.key_id, 0) > 0
            if not used and await self._destroyed(key, now):
                continue
            # Soon after it retired there are stragglers; later only what lay on some disk.
            pause = min(max(now - key.retired_at, _SOONEST), _LATEST)
            await self._keys.settle(key, used=used, now=now, examine_at=now + pause)

    async def _destroyed(self, key: RetiredKey, now: datetime) -> bool:
        retired_until, unused_until = now - RETIRED_KEPT, now - UNUSED_KEPT
        if key.retired_at > retired_until or key.unused_since is None or key.unused_since > unused_until:
            return False
        return await self._keys.destroy(
            key, retired_until=retired_until, unused_until=unused_until, origin=_origin, at=now
        )


def _tell(owner: KeysetOwner, error: Exception) -> None:
    _log.warning(
        "a keyset cannot be looked after",
        environment_id=str(owner.environment_id),
        tenant_id=owner.tenant_id,
        error=type(error).__name__,
    )
