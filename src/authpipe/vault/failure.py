"""The one answer the vault gives when a ciphertext or key cannot be used."""

from __future__ import annotations

from authpipe.domain.errors import VaultError

#: What every caller sees, whatever went wrong: telling a forged ciphertext from a truncated one helps only
#: whoever made it.
PUBLIC_MESSAGE = "the stored secret cannot be decrypted"


def unusable(detail: str) -> VaultError:
    """A :class:`VaultError` with the public message.  ``detail`` is for our logs: ids and reasons only."""
    return VaultError(PUBLIC_MESSAGE, detail=detail)
