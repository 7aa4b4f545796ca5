"""Keysets as stored: data keys wrapped by a key-encryption key, one of them primary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple, Protocol
from uuid import UUID

from authpipe.domain.event import Origin
from authpipe.vault.associated_data import encode_facts

_PURPOSE = b"data_key"
_WRAP_FORMAT_VERSION = b"\x01"


class KeysetOwner(NamedTuple):
    """Whose keyset it is: a tenant's, or with ``tenant_id`` None the environment's own."""

    environment_id: UUID
    tenant_id: str | None

    def associated_data(self, key_id: UUID) -> bytes:
        """What binds a wrapped data key to its owner and id; no payload is ever bound to the same bytes."""
        return encode_facts(
            _PURPOSE,
            _WRAP_FORMAT_VERSION,
            self.environment_id.bytes,
            None if self.tenant_id is None else self.tenant_id.encode(),
            key_id.bytes,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class WrappedKey:
    """One data key of a keyset, unreadable without the KEK that ``kek_id`` names.

    ``encryptions`` counts what was reserved under it, never less than what was encrypted.
    """

    key_id: UUID
    environment_id: UUID
    tenant_id: str | None
    kek_id: str
    wrapped: bytes = field(repr=False)
    is_primary: bool
    encryptions: int
    created_at: datetime


class RotationReason(StrEnum):
    """Why a keyset got a new primary."""

    ENCRYPTIONS = "encryptions"
    AGE = "age"
    REQUESTED = "requested"


@dataclass(frozen=True, slots=True)
class RotationCause:
    """Why, and by whom."""

    reason: RotationReason
    origin: Origin


class KeysetStore(Protocol):
    """Where keysets are kept.  Errors of the storage pass through the vault unchanged.

    Every call commits by itself, apart from any transaction its caller may have open: ciphertexts are
    written under a key as soon as it was added, and must not outlive it when that transaction rolls back.
    """

    async def load(self, environment_id: UUID, tenant_id: str | None) -> Sequence[WrappedKey]:
        """Every key of the keyset, in any order; empty when there is none yet."""
        ...

    async def add_primary(self, key: WrappedKey, *, replaces: UUID | None, cause: RotationCause) -> bool:
        """Store ``key`` as the primary in place of ``replaces`` (None: the keyset has no primary).

        ``replaces`` stays in the keyset and decrypts; ``cause`` goes into the record of its replacement.
        False, with nothing stored, when the primary is no longer ``replaces``: another replica was first.
        """
        ...

    async def reserve_encryptions(
        self, environment_id: UUID, tenant_id: str | None, key_id: UUID, count: int
    ) -> int:
        """Add ``count`` to the key's counter and return the new total.

        Raises ``VaultError`` when the key does not exist any more.
        """
        ...
