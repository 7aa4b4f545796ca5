"""Credentials: the secrets usable to call a provider, as stored and as handed out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from authpipe.domain.secret import Secret


class CredentialKind(StrEnum):
    """What sort of secret it is."""

    OAUTH_TOKEN = "oauth_token"
    BOT_TOKEN = "bot_token"
    INSTALLATION_TOKEN = "installation_token"
    API_KEY = "api_key"
    BASIC = "basic"
    WEBHOOK_SECRET = "webhook_secret"


class CredentialFor(StrEnum):
    """Which side of a dual-credential provider a caller asks for."""

    ANY = "any"
    INSTALLATION = "installation"
    USER = "user"


class OwnerKind(StrEnum):
    """What a credential hangs on."""

    CONNECTION = "connection"
    INSTALLATION = "installation"


class CredentialSource(StrEnum):
    """Where the secret itself is kept: in the credential's own row, or once on the provider config."""

    OWN = "own"
    PROVIDER_CONFIG = "provider_config"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCredential:
    """A credential row.  Ciphertext only; ``version`` and ``lease`` are what later writes must present.

    ``refresh_due_at`` is when a worker should refresh it (None: never), ``refresh_failures`` counts
    transient failures in a row, ``outcome_unknown`` says an earlier attempt ended without an answer.
    """

    credential_id: UUID
    environment_id: UUID
    tenant_id: str
    owner_kind: OwnerKind
    owner_id: UUID
    provider_config_id: UUID
    provider: str
    kind: CredentialKind
    source: CredentialSource
    secret_ciphertext: bytes | None
    refresh_ciphertext: bytes | None
    scopes: tuple[str, ...]
    expires_at: datetime | None
    refresh_due_at: datetime | None
    refresh_expires_at: datetime | None
    version: int
    lease: UUID | None
    lease_until: datetime | None
    outcome_unknown: bool
    refresh_failures: int
    issued_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class UsableCredential:
    """A credential that works now, with the header to send it in, on its way to the application.

    ``header`` is None for a secret that is not sent in one (a webhook's address).
    ``refetch_at`` is when a cache should ask again: before expiry, after a refresh has become likely.
    """

    credential_id: UUID
    kind: CredentialKind
    provider: str
    tenant_id: str
    user_id: str | None
    connection_id: UUID | None
    installation_id: UUID | None
    label: str | None
    secret: Secret
    header: tuple[str, Secret] | None
    expires_at: datetime | None
    refetch_at: datetime | None
    scopes: tuple[str, ...]
    metadata: Mapping[str, Any]
    version: int
