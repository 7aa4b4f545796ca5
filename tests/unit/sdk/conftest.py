"""Things the SDK's unit tests make."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from authpipe.sdk.credential import Credential, SecretHeaders


@pytest.fixture
def make_credential() -> Callable[..., Credential]:
    """A credential with these fields."""

    def make(**over: Any) -> Credential:
        secret = over.get("credential", "canary-secret-0123456789")
        fields: dict[str, Any] = {
            "credential": secret,
            "headers": SecretHeaders({"Authorization": f"Bearer {secret}"}),
            "kind": "oauth_token",
            "provider": "discord",
            "tenant_id": "org_acme",
            "user_id": "user_123",
            "connection_id": "c1",
            "installation_id": None,
            "credential_id": "k1",
            "label": None,
            "expires_at": datetime(2026, 11, 24, tzinfo=UTC),
            "scopes": ("identify",),
            "metadata": {},
            "version": 1,
        }
        return Credential(**(fields | over))

    return make
