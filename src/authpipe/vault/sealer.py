"""Encryptions prepared ahead, for the moment when the store cannot be asked."""

from __future__ import annotations

from uuid import UUID

from authpipe.domain.secret import Secret
from authpipe.vault import envelope
from authpipe.vault.aes_key import AesKey
from authpipe.vault.context import EncryptionContext
from authpipe.vault.failure import unusable
from authpipe.vault.keyset import KeysetOwner


class Sealer:
    """A fixed number of encryptions for one owner, already counted, that need no storage and no waiting.

    A caller that is about to receive a secret it must not lose takes one first.  What it does not use up is
    counted all the same.
    """

    __slots__ = ("_keys", "_owner")

    def __init__(self, owner: KeysetOwner, keys: list[tuple[UUID, AesKey]]) -> None:
        self._owner = owner
        self._keys = keys

    def encrypt(self, plaintext: Secret, context: EncryptionContext) -> bytes:
        """As ``Vault.encrypt``.  Raises ``VaultError`` for another owner's context or when used up."""
        if (context.environment_id, context.tenant_id) != self._owner:
            raise unusable("a sealer encrypts for the owner it was made for")
        if not self._keys:
            raise unusable("the prepared encryptions are used up")
        key_id, key = self._keys.pop()
        return envelope.encrypt(plaintext, context, key_id=key_id, key=key)

    def __repr__(self) -> str:
        return f"Sealer({len(self._keys)} left)"
