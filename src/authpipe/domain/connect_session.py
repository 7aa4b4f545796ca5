"""The short-lived objects of connecting: sessions, authorization attempts, candidates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID


class SessionKind(StrEnum):
    """What a connect session may make."""

    CONNECTION = "connection"
    INSTALLATION = "installation"


class SessionStatus(StrEnum):
    """Where a connect session stands.  Only ``pending`` may be opened, only ``candidate`` completed."""

    PENDING = "pending"
    OPENED = "opened"
    AUTHORIZING = "authorizing"
    CANDIDATE = "candidate"
    COMPLETED = "completed"
    FAILED = "failed"
    EXPIRED = "expired"


class ReturnMode(StrEnum):
    """How the browser goes back to the application: a redirect, or a message from a popup."""

    REDIRECT = "redirect"
    POPUP = "popup"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectSession:
    """Permission for one browser to make or repair one connection or installation.

    Token, browser cookie and completion code are stored only as SHA-256 digests of 256-bit random values.
    """

    session_id: UUID
    environment_id: UUID
    tenant_id: str
    user_id: str | None
    kind: SessionKind
    provider_config_id: UUID
    provider: str
    status: SessionStatus
    scopes: tuple[str, ...]
    label: str | None
    installation_id: UUID | None
    reconnect_id: UUID | None
    return_mode: ReturnMode
    return_url: str
    browser_hash: bytes | None
    error_code: str | None
    connection_id: UUID | None
    made_installation_id: UUID | None
    expires_at: datetime
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationAttempt:
    """One run of the redirect inside a connect session, taken exactly once by its callback."""

    attempt_id: UUID
    session_id: UUID
    environment_id: UUID
    tenant_id: str
    provider_config_id: UUID
    verifier_ciphertext: bytes | None
    redirect_uri: str
    scopes: tuple[str, ...]
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What a provider granted, encrypted and unreadable through any credential call until completed.

    ``grant_ciphertext`` holds the secrets, ``account`` the non-secret facts the provider told.
    """

    candidate_id: UUID
    session_id: UUID
    environment_id: UUID
    tenant_id: str
    provider_config_id: UUID
    grant_ciphertext: bytes
    account: Mapping[str, Any]
    created_at: datetime
    expires_at: datetime
