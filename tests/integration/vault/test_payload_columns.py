"""The list of what is re-encrypted is whole, and says of each ciphertext where it belongs."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import asyncpg
import pytest

from authpipe.access import oidc_sign_in
from authpipe.api import idempotency
from authpipe.connect.grant import grant_context
from authpipe.connect.start import verifier_context
from authpipe.credentials.contexts import refresh_context, secret_context
from authpipe.credentials.provider import app_credential_context, client_secret_context
from authpipe.domain.connect_session import AuthorizationAttempt
from authpipe.domain.environment import WORKSPACE_ID
from authpipe.domain.identifiers import new_id
from authpipe.events import head_seal
from authpipe.store.payload_columns import PAYLOAD_COLUMNS
from authpipe.vault.context import EncryptionContext
from authpipe.vault.keyset import KeysetOwner
from support.postgres import Dsns

#: Columns of bytes that the vault did not make: digests, what a digest is made with, and wrapped keys.
NO_PAYLOADS = {
    "api_keys.key_hash",
    "audit_chain.hash",
    "audit_heads.hash",
    "authorization_attempts.browser_hash",
    "authorization_attempts.state_hash",
    "connect_sessions.browser_hash",
    "connect_sessions.completion_hash",
    "connect_sessions.token_hash",
    "data_keys.wrapped",
    "idempotency_keys.request_hash",
    "operator_sessions.session_hash",
    "operators.invitation_hash",
    "operators.known_browser_key",
    "sign_in_attempts.browser_hash",
    "sign_in_attempts.nonce_hash",
    "sign_in_attempts.state_hash",
}

ENVIRONMENT, ROW = new_id(), new_id()
TENANT = "org_acme"


async def test_every_column_of_bytes_is_a_payload_or_known_to_be_none(dsns: Dsns) -> None:
    """A new one fails this test until somebody says which it is."""
    connection: asyncpg.Connection[Any] = await asyncpg.connect(dsns.owner)
    rows = await connection.fetch(
        "SELECT table_name || '.' || column_name AS name FROM information_schema.columns"
        " WHERE table_schema = 'public' AND data_type = 'bytea'"
    )
    await connection.close()
    listed = {column.name for column in PAYLOAD_COLUMNS}
    assert len(listed) == len(PAYLOAD_COLUMNS)
    assert {row["name"] for row in rows} - NO_PAYLOADS == listed


def attempt() -> AuthorizationAttempt:
    """With ids and nothing else of interest."""
    made = AuthorizationAttempt.__new__(AuthorizationAttempt)
    for name, value in {"environment_id": ENVIRONMENT, "tenant_id": TENANT, "attempt_id": ROW}.items():
        object.__setattr__(made, name, value)
    return made


@pytest.mark.parametrize(
    ("column", "context"),
    [
        ("credentials.secret_ciphertext", secret_context(ENVIRONMENT, TENANT, ROW)),
        ("credentials.previous_secret_ciphertext", secret_context(ENVIRONMENT, TENANT, ROW)),
        ("credentials.refresh_ciphertext", refresh_context(ENVIRONMENT, TENANT, ROW)),
        ("credentials.previous_refresh_ciphertext", refresh_context(ENVIRONMENT, TENANT, ROW)),
        ("authorization_attempts.verifier_ciphertext", verifier_context(attempt())),
        ("candidates.grant_ciphertext", grant_context(ENVIRONMENT, TENANT, ROW)),
        ("provider_configs.client_secret_ciphertext", client_secret_context(ENVIRONMENT, ROW)),
        ("provider_configs.app_credential_ciphertext", app_credential_context(ENVIRONMENT, ROW)),
        ("idempotency_keys.response_ciphertext", idempotency._context(ENVIRONMENT, ROW)),
        ("audit_heads.seal", head_seal._context(ENVIRONMENT)),
        ("sign_in_attempts.verifier_ciphertext", oidc_sign_in._verifier_context(ROW)),
    ],
)
def test_the_list_knows_the_context_of_each_column(column: str, context: EncryptionContext) -> None:
    """As the code that encrypts makes it; re-encryption with another would fail for every row."""
    [listed] = [each for each in PAYLOAD_COLUMNS if each.name == column]
    owner = KeysetOwner(context.environment_id, context.tenant_id)
    assert listed.context(owner, context.row_id) == context
    assert listed.holds(owner)
    row_id = ENVIRONMENT if column == "audit_heads.seal" else ROW
    assert context.row_id == row_id


@pytest.mark.parametrize(
    ("owner", "tables"),
    [
        (KeysetOwner(ENVIRONMENT, TENANT), {"credentials", "authorization_attempts", "candidates"}),
        (KeysetOwner(ENVIRONMENT, None), {"provider_configs", "idempotency_keys", "audit_heads"}),
        (
            KeysetOwner(WORKSPACE_ID, None),
            {"provider_configs", "idempotency_keys", "audit_heads", "sign_in_attempts"},
        ),
    ],
)
def test_each_kind_of_keyset_has_its_tables(owner: KeysetOwner, tables: set[str]) -> None:
    """A tenant's, an environment's, and the workspace's, which has a chain of its own as well."""
    assert {column.table for column in PAYLOAD_COLUMNS if column.holds(owner)} == tables


def test_the_list_names_rows_by_uuids() -> None:
    """What the context names is the value of the column, whatever it is called."""
    assert isinstance(ROW, UUID)
    assert {column.row_id for column in PAYLOAD_COLUMNS} == {
        "credential_id", "attempt_id", "candidate_id", "provider_config_id", "row_id", "environment_id",
    }  # fmt: skip
