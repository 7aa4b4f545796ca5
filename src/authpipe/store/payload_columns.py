"""Every column of the schema that holds ciphertexts of the vault."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from uuid import UUID

from authpipe.domain.environment import WORKSPACE_ID
from authpipe.vault.context import EncryptionContext
from authpipe.vault.keyset import KeysetOwner


class Belonging(Enum):
    """Whose keyset the ciphertexts of a column are under."""

    TENANT = "tenant"
    ENVIRONMENT = "environment"
    WORKSPACE = "workspace"


@dataclass(frozen=True, slots=True)
class PayloadColumn:
    """Where ciphertexts are, and the facts of their encryption context that are not in the row.

    ``row_id`` is the column whose value the context names; ``field`` is the context's.
    """

    table: str
    column: str
    row_id: str
    field: str
    belonging: Belonging

    @property
    def name(self) -> str:
        """The column in full."""
        return f"{self.table}.{self.column}"

    def holds(self, owner: KeysetOwner) -> bool:
        """Whether ciphertexts of this owner can be here."""
        if self.belonging is Belonging.TENANT:
            return owner.tenant_id is not None
        is_workspace = owner.environment_id == WORKSPACE_ID
        return owner.tenant_id is None and (self.belonging is Belonging.ENVIRONMENT or is_workspace)

    def context(self, owner: KeysetOwner, row_id: UUID) -> EncryptionContext:
        """The context of a ciphertext found here."""
        return EncryptionContext(
            environment_id=owner.environment_id, tenant_id=owner.tenant_id, row_id=row_id, field=self.field
        )


_TENANT, _ENVIRONMENT, _WORKSPACE = Belonging.TENANT, Belonging.ENVIRONMENT, Belonging.WORKSPACE

#: What is missing here is not re-encrypted when its key retires, and lost when the key is destroyed.
PAYLOAD_COLUMNS = (
    PayloadColumn("credentials", "secret_ciphertext", "credential_id", "secret", _TENANT),
    PayloadColumn("credentials", "refresh_ciphertext", "credential_id", "refresh_token", _TENANT),
    PayloadColumn("credentials", "previous_secret_ciphertext", "credential_id", "secret", _TENANT),
    PayloadColumn("credentials", "previous_refresh_ciphertext", "credential_id", "refresh_token", _TENANT),
    PayloadColumn("authorization_attempts", "verifier_ciphertext", "attempt_id", "verifier", _TENANT),
    PayloadColumn("candidates", "grant_ciphertext", "candidate_id", "grant", _TENANT),
    PayloadColumn(
        "provider_configs", "client_secret_ciphertext", "provider_config_id", "client_secret", _ENVIRONMENT
    ),
    PayloadColumn(
        "provider_configs", "app_credential_ciphertext", "provider_config_id", "app_credential", _ENVIRONMENT
    ),
    PayloadColumn("idempotency_keys", "response_ciphertext", "row_id", "idempotent_response", _ENVIRONMENT),
    PayloadColumn("audit_heads", "seal", "environment_id", "audit_head", _ENVIRONMENT),
    PayloadColumn("sign_in_attempts", "verifier_ciphertext", "attempt_id", "verifier", _WORKSPACE),
)
