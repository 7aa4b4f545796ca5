"""The authenticated facts that bind a ciphertext to its place."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from authpipe.vault.associated_data import encode_facts

_PURPOSE = b"payload"


@dataclass(frozen=True, slots=True, kw_only=True)
class EncryptionContext:
    """Where a secret belongs: decryption succeeds only with the context it was encrypted with.

    ``tenant_id`` is None for what belongs to the environment as a whole (client secrets, bot tokens), which
    is encrypted under the environment's own keyset.  ``field`` names the column, such as ``secret``,
    ``refresh_token`` or ``client_secret``, so that two secrets of one row cannot change places.
    """

    environment_id: UUID
    tenant_id: str | None
    row_id: UUID
    field: str

    def associated_data(self, *, format_version: int, key_id: UUID) -> bytes:
        """The bytes authenticated with the payload; different for every different set of facts."""
        return encode_facts(
            _PURPOSE,
            format_version.to_bytes(1, "big"),
            self.environment_id.bytes,
            None if self.tenant_id is None else self.tenant_id.encode(),
            self.row_id.bytes,
            self.field.encode(),
            key_id.bytes,
        )
