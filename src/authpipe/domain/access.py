"""Who may do what: roles of API keys and of operators, and the operators themselves."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID


class ApiKeyRole(StrEnum):
    """What an API key may do.  Each role includes the ones below it."""

    ADMIN = "admin"
    SERVER = "server"
    VIEWER = "viewer"

    def includes(self, needed: ApiKeyRole) -> bool:
        """Whether a key of this role may do what ``needed`` may."""
        order = (ApiKeyRole.VIEWER, ApiKeyRole.SERVER, ApiKeyRole.ADMIN)
        return order.index(self) >= order.index(needed)


class OperatorRole(StrEnum):
    """What an operator may do in the dashboard.  Each role includes the ones below it."""

    OWNER = "owner"
    DEVELOPER = "developer"
    VIEWER = "viewer"

    def includes(self, needed: OperatorRole) -> bool:
        """Whether an operator of this role may do what ``needed`` may."""
        order = (OperatorRole.VIEWER, OperatorRole.DEVELOPER, OperatorRole.OWNER)
        return order.index(self) >= order.index(needed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """A person who signs in to the dashboard.  The password is stored as an argon2id hash, elsewhere."""

    operator_id: UUID
    email: str
    name: str | None
    role: OperatorRole
    has_password: bool
    oidc_issuer: str | None
    oidc_subject: str | None
    failed_sign_ins: int
    locked_until: datetime | None
    disabled_at: datetime | None
    last_sign_in_at: datetime | None
    created_at: datetime
    updated_at: datetime


class SignInMethod(StrEnum):
    """How an operator proved who they are."""

    PASSWORD = "password"
    OIDC = "oidc"


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorSession:
    """One browser in which an operator is signed in.  Its cookie is known by its SHA-256 only."""

    session_id: UUID
    operator_id: UUID
    method: SignInMethod
    source_address: str | None
    user_agent: str | None
    created_at: datetime
    last_seen_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SignInAttempt:
    """One run of the redirect to the OpenID provider that operators sign in with."""

    attempt_id: UUID
    nonce_hash: bytes
    verifier_ciphertext: bytes
    created_at: datetime
    expires_at: datetime
