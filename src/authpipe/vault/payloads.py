"""Stored ciphertexts, as those who re-encrypt them see them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple, Protocol
from uuid import UUID

from authpipe.domain.event import Origin
from authpipe.vault.context import EncryptionContext
from authpipe.vault.keyset import KeysetOwner


@dataclass(frozen=True, slots=True)
class Payload:
    """A ciphertext and the context it was encrypted with."""

    context: EncryptionContext
    ciphertext: bytes = field(repr=False)


class Reencryption(NamedTuple):
    """A payload and its successor: the same plaintext in the same place under another key."""

    row_id: UUID
    was: bytes
    becomes: bytes


class PayloadStore(Protocol):
    """Where ciphertexts are kept: columns of which each belongs to one kind of keyset."""

    def columns(self, owner: KeysetOwner) -> Sequence[str]:
        """The columns that can hold payloads of this owner."""
        ...

    async def count(self, owner: KeysetOwner) -> Mapping[UUID, int]:
        """How many payloads of the owner name each key, whether or not the key exists."""
        ...

    async def page(
        self, owner: KeysetOwner, column: str, *, under: Sequence[UUID], after: UUID | None, limit: int
    ) -> Sequence[Payload]:
        """Payloads under one of these keys, in the order of their row ids, from beyond row ``after``."""
        ...

    async def swap(
        self,
        owner: KeysetOwner,
        column: str,
        reencryptions: Sequence[Reencryption],
        *,
        origin: Origin,
        at: datetime,
    ) -> int:
        """Write the successors of those ciphertexts that are still as they were; returns how many.

        Nothing else of a row changes, so that whoever works on it by its version or lease goes on.  Never
        waits for a row that somebody else is writing: it is left as it is.
        """
        ...
