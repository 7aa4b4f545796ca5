"""Where a credential's secrets belong, as encryption contexts."""

from __future__ import annotations

from uuid import UUID

from authpipe.vault.context import EncryptionContext


def secret_context(environment_id: UUID, tenant_id: str, credential_id: UUID) -> EncryptionContext:
    """Of the secret that is handed out."""
    return EncryptionContext(
        environment_id=environment_id, tenant_id=tenant_id, row_id=credential_id, field="secret"
    )


def refresh_context(environment_id: UUID, tenant_id: str, credential_id: UUID) -> EncryptionContext:
    """Of the refresh token, which never leaves the server."""
    return EncryptionContext(
        environment_id=environment_id, tenant_id=tenant_id, row_id=credential_id, field="refresh_token"
    )
