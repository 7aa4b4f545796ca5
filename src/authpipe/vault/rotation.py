"""A new primary for one keyset, and its payloads brought under it while everybody goes on reading."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from uuid import UUID

from authpipe.domain.clock import Clock
from authpipe.domain.errors import NotFound, VaultError
from authpipe.domain.event import Origin
from authpipe.telemetry.logs import get_logger
from authpipe.vault.keyset import KeysetOwner, KeysetStore, RotationCause, RotationReason
from authpipe.vault.payloads import Payload, PayloadStore, Reencryption
from authpipe.vault.vault import Vault

#: Payloads written by one transaction: few enough that its row locks last some milliseconds.
BATCH = 250
#: Walks over one owner's payloads, at most.  One moves all there is; others look for what came meanwhile.
_WALKS = 10

#: Told how many payloads are done, and of how many.
Progress = Callable[[int, int], None]

_log = get_logger(__name__)


def _unseen(done: int, total: int) -> None:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Reencrypted:
    """What became of the payloads under retired keys.

    ``left`` still are: the ciphertext or its key cannot be used, or somebody was writing the row each time.
    ``closed`` names the retired keys that cannot be unwrapped, each with its KEK.
    """

    moved: int
    left: int
    closed: Mapping[UUID, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotated:
    """``new_primary`` is None when an earlier rotation was finished instead of a new one begun."""

    new_primary: UUID | None
    reencrypted: Reencrypted


class KeysetRotation:
    """Rotates keysets online.

    Everything is safe to be cut off at any moment, to be run again and to be run by several processes at
    once: a retired key stays in its keyset and decrypts, and a payload is replaced by compare-and-swap.
    """

    def __init__(self, *, vault: Vault, keysets: KeysetStore, payloads: PayloadStore, clock: Clock) -> None:
        self._vault = vault
        self._keysets = keysets
        self._payloads = payloads
        self._clock = clock

    async def rotate(
        self, owner: KeysetOwner, *, origin: Origin, force: bool = False, progress: Progress = _unseen
    ) -> Rotated:
        """Add a new primary and re-encrypt, or finish that for a rotation that was cut off.

        ``force`` adds a primary in either case.  Raises ``NotFound`` when there is no keyset, ``VaultError``
        or ``VaultUnavailable`` when the KEK cannot wrap a new key.
        """
        keys = {key.key_id: key for key in await self._keysets.load(*owner)}
        primary_id = next((key.key_id for key in keys.values() if key.is_primary), None)
        if primary_id is None:
            raise NotFound("there is no keyset yet: nothing was ever encrypted under it")
        counts = await self._payloads.count(owner)
        begun = any(counts.get(key_id) for key_id in keys if key_id != primary_id)
        new_primary = None
        if force or not begun:
            cause = RotationCause(RotationReason.REQUESTED, origin)
            await self._vault.rotate(*owner, replaces=primary_id, cause=cause)
            loaded = await self._keysets.load(*owner)
            new_primary = next((key.key_id for key in loaded if key.is_primary), None)
        reencrypted = await self.reencrypt(owner, origin=origin, progress=progress)
        return Rotated(new_primary=new_primary, reencrypted=reencrypted)

    async def reencrypt(
        self, owner: KeysetOwner, *, origin: Origin, progress: Progress = _unseen
    ) -> Reencrypted:
        """Bring every payload under a retired key of the keyset under its primary.

        What readers have in hand stays readable.  Raises ``VaultUnavailable`` when a KEK does not answer.
        """
        moved = 0
        for _ in range(_WALKS):
            # What memory holds may be older than another replica's rotation: its primary may be retired.
            self._vault.forget(*owner)
            under, closed = await self._retired(owner)
            left = await self._count(owner, under)
            if left == 0:
                break
            before, total = moved, moved + left
            progress(moved, total)
            for column in self._payloads.columns(owner):
                moved = await self._walk(owner, column, under, origin, moved, total, progress)
            if moved == before:
                break
        return Reencrypted(moved=moved, left=await self._count(owner, [*under, *closed]), closed=closed)

    async def _count(self, owner: KeysetOwner, key_ids: list[UUID]) -> int:
        counts = await self._payloads.count(owner) if key_ids else {}
        return sum(counts.get(key_id, 0) for key_id in key_ids)

    async def _retired(self, owner: KeysetOwner) -> tuple[list[UUID], dict[UUID, str]]:
        """The keys to leave behind: those that can be unwrapped, and those that cannot, with their KEK."""
        usable, closed = [], {}
        for key in await self._keysets.load(*owner):
            if key.is_primary:
                continue
            try:
                await self._vault.check_key(*owner, key.key_id)
                usable.append(key.key_id)
            except VaultError as error:
                closed[key.key_id] = key.kek_id
                _log.warning("a retired key cannot be unwrapped", key_id=str(key.key_id), reason=error.detail)
        return usable, closed

    async def _walk(
        self,
        owner: KeysetOwner,
        column: str,
        under: list[UUID],
        origin: Origin,
        moved: int,
        total: int,
        progress: Progress,
    ) -> int:
        """Once over a column, each payload tried once, whatever comes of it.  Returns the new ``moved``."""
        after: UUID | None = None
        while page := await self._payloads.page(owner, column, under=under, after=after, limit=BATCH):
            after = page[-1].context.row_id
            done = [each for payload in page if (each := await self._reencrypted(payload)) is not None]
            if done:
                moved += await self._payloads.swap(owner, column, done, origin=origin, at=self._clock.now())
            progress(moved, max(moved, total))
            # A page of a warm vault is encrypted without once giving way.
            await asyncio.sleep(0)
        return moved

    async def _reencrypted(self, payload: Payload) -> Reencryption | None:
        try:
            becomes = await self._vault.reencrypt(payload.ciphertext, payload.context)
        except VaultError as error:
            _log.error(
                "a payload cannot be re-encrypted",
                row_id=str(payload.context.row_id),
                field=payload.context.field,
                reason=error.detail,
            )
            return None
        return Reencryption(payload.context.row_id, payload.ciphertext, becomes)
