"""The layout of a ciphertext.

====== ===== ====================================================
offset bytes what
====== ===== ====================================================
0      1     format version, 1
1      16    id of the data key
17     12    nonce, random
29     n+16  AES-256-GCM ciphertext and tag
====== ===== ====================================================

Format version and key id are authenticated through the encryption context, so none of the header can be
changed either.
"""

from __future__ import annotations

from uuid import UUID

from authpipe.domain.secret import Secret
from authpipe.vault.aes_key import NONCE_BYTES, TAG_BYTES, AesKey
from authpipe.vault.context import EncryptionContext
from authpipe.vault.failure import unusable

FORMAT_VERSION = 1
_HEADER_BYTES = 1 + 16
_SHORTEST = _HEADER_BYTES + NONCE_BYTES + TAG_BYTES


def encrypt(plaintext: Secret, context: EncryptionContext, *, key_id: UUID, key: AesKey) -> bytes:
    """The ciphertext of ``plaintext``, bound to ``context`` and ``key_id``."""
    associated_data = context.associated_data(format_version=FORMAT_VERSION, key_id=key_id)
    header = FORMAT_VERSION.to_bytes(1, "big") + key_id.bytes
    return header + key.encrypt(plaintext.reveal_bytes(), associated_data)


def key_id_of(ciphertext: bytes) -> UUID:
    """Which data key a ciphertext names.  Raises ``VaultError`` when it cannot be one of ours."""
    if len(ciphertext) < _SHORTEST:
        raise unusable("the ciphertext is truncated")
    if ciphertext[0] != FORMAT_VERSION:
        raise unusable("the ciphertext has an unknown format version")
    return UUID(bytes=ciphertext[1:_HEADER_BYTES])


def decrypt(ciphertext: bytes, context: EncryptionContext, *, key_id: UUID, key: AesKey) -> Secret:
    """The plaintext, when ``context`` is the one it was encrypted with.  Raises ``VaultError`` otherwise."""
    associated_data = context.associated_data(format_version=FORMAT_VERSION, key_id=key_id)
    return Secret.from_bytes(key.decrypt(ciphertext[_HEADER_BYTES:], associated_data))
