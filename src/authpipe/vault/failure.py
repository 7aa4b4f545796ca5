"""The one answer of the vault when a ciphertext or key cannot be used, and the one when nobody can tell."""

from __future__ import annotations

from authpipe.domain.errors import VaultError, VaultUnavailable

#: What every caller sees, whatever went wrong: telling a forged ciphertext from a truncated one helps only
#: whoever made it.
PUBLIC_MESSAGE = "the stored secret cannot be decrypted"

#: Seconds after which to ask again for a KEK that could not be reached.
RETRY_AFTER_S = 5.0


def unusable(detail: str) -> VaultError:
    """A :class:`VaultError` with the public message.  ``detail`` is for our logs: ids and reasons only."""
    return VaultError(PUBLIC_MESSAGE, detail=detail)


def unavailable(detail: str) -> VaultUnavailable:
    """A :class:`VaultUnavailable` with a message fit for a caller.  ``detail`` is for our logs."""
    return VaultUnavailable(
        "the key-encryption key cannot be reached at the moment; try again",
        retry_after_s=RETRY_AFTER_S,
        detail=detail,
    )
