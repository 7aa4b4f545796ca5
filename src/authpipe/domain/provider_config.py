"""One environment's client at one provider."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID


class Attachment(StrEnum):
    """Whom a connection made through this config belongs to: the tenant as a whole, or one user of it."""

    TENANT = "tenant"
    USER = "user"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderConfig:
    """Client id, scopes and addresses; the secrets are ciphertext and leave only through the vault.

    ``base_url`` replaces scheme and host of every endpoint of the definition (a sandbox, an on-premise
    server).  ``problem`` is set while the provider refuses the client itself (``invalid_client``): an
    app-wide incident that condemns no connection.
    """

    provider_config_id: UUID
    environment_id: UUID
    provider: str
    enabled: bool
    client_id: str | None
    client_secret_ciphertext: bytes | None
    app_credential_ciphertext: bytes | None
    scopes: tuple[str, ...]
    installation_scopes: tuple[str, ...]
    base_url: str | None
    attachment: Attachment
    parameters: Mapping[str, Any]
    problem: str | None
    version: int
    created_at: datetime
    updated_at: datetime
