"""A 256-bit AES-GCM key that never prints."""

from __future__ import annotations

import hashlib
import os
from typing import NoReturn, final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from authpipe.vault.failure import unusable

KEY_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16


@final
class AesKey:
    """Encrypts and decrypts with AES-256-GCM (NIST SP 800-38D); refuses printing, pickling and copying.

    Nonces are 96 random bits each, so one key must not encrypt more than 2**32 messages (SP 800-38D section
    8.3); whoever holds the key keeps count.  Python cannot wipe memory: the bytes live until the last
    reference to this object is dropped.
    """

    __slots__ = ("_aead", "_value")

    def __init__(self, value: bytes) -> None:
        if len(value) != KEY_BYTES:
            raise ValueError(f"an AES-256 key has {KEY_BYTES} bytes, not {len(value)}")
        self._value = value
        self._aead = AESGCM(value)

    @classmethod
    def generate(cls) -> AesKey:
        """A new key from the operating system's random source."""
        return cls(os.urandom(KEY_BYTES))

    def encrypt(self, plaintext: bytes, associated_data: bytes) -> bytes:
        """Nonce, then ciphertext and tag."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._aead.encrypt(nonce, plaintext, associated_data)

    def decrypt(self, encrypted: bytes, associated_data: bytes) -> bytes:
        """The plaintext of what :meth:`encrypt` returned.

        Raises ``VaultError`` unless key, associated data and every bit of ``encrypted`` are unchanged.
        """
        if len(encrypted) < NONCE_BYTES + TAG_BYTES:
            raise unusable("shorter than a nonce and a tag")
        try:
            return self._aead.decrypt(encrypted[:NONCE_BYTES], encrypted[NONCE_BYTES:], associated_data)
        except InvalidTag:
            raise unusable("authentication failed") from None

    def fingerprint(self) -> str:
        """32 hexadecimal digits that name this key and tell nothing about it."""
        return hashlib.sha256(b"authpipe key fingerprint 1\x00" + self._value).hexdigest()[:32]

    def reveal_key_bytes(self) -> bytes:
        """The key itself, for wrapping it or writing its key file and for nothing else."""
        return self._value

    def __repr__(self) -> str:
        return "AesKey(***)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("an AesKey cannot be pickled or copied")

    def __getstate__(self) -> NoReturn:
        raise TypeError("an AesKey cannot be pickled or copied")
