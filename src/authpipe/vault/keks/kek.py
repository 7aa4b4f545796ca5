"""What the vault asks of a key-encryption key."""

from __future__ import annotations

from typing import Protocol

from authpipe.vault.aes_key import AesKey


class Kek(Protocol):
    """A key that leaves its place never, or only as itself: it wraps data keys and unwraps them again.

    One that is kept elsewhere raises ``VaultUnavailable`` from both calls while that place does not answer,
    and works again by itself once it does.
    """

    @property
    def uri(self) -> str:
        """Where it is: what an operator configures, without a PIN."""
        ...

    @property
    def kek_id(self) -> str:
        """Which key it is: stored beside what it wrapped.  Follows the key, not the place it is kept."""
        ...

    async def wrap(self, key: AesKey, associated_data: bytes) -> bytes:
        """Encrypt a data key, bound to ``associated_data``."""
        ...

    async def unwrap(self, wrapped: bytes, associated_data: bytes) -> AesKey:
        """The data key again.  Raises ``VaultError`` when it was altered or bound to something else."""
        ...

    def close(self) -> None:
        """Give connections and threads back.  The KEK is of no use afterwards; closing twice does nothing."""
        ...
