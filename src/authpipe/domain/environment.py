"""Environments and what belongs to one as a whole: API keys and tenants."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from authpipe.domain.access import ApiKeyRole

#: The workspace itself: what belongs to no environment (operators, their sign-ins) is recorded under it.
WORKSPACE_ID = UUID(int=0)


class EnvironmentKind(StrEnum):
    """What an environment is for.  Production is stricter: https return URLs only."""

    DEVELOPMENT = "development"
    PRODUCTION = "production"


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """An isolated partition of the workspace.

    ``return_urls`` are the allowed return URLs of connect sessions: exact, or a prefix ending in ``/*``.
    ``origins`` are the exact origins a popup may be answered to.
    """

    environment_id: UUID
    name: str
    kind: EnvironmentKind
    return_urls: tuple[str, ...]
    origins: tuple[str, ...]
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """An API key as stored: its hash is in the database, its text was shown once.

    With a ``tenant_id`` it reaches that tenant's objects and nothing else of the environment.
    ``replaced_by`` is the key that was made in its place and outlives it.
    """

    api_key_id: UUID
    environment_id: UUID
    name: str
    prefix: str
    role: ApiKeyRole
    tenant_id: str | None
    replaced_by: UUID | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """A customer of the application, under the id the application chose.

    Since ``erasing_at`` it is being erased, and nothing begins for it any more.
    """

    environment_id: UUID
    tenant_id: str
    name: str | None
    created_at: datetime
    erasing_at: datetime | None
