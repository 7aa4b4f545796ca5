"""Connections and installations: durable links that outlive their credentials."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID


class ConnectionStatus(StrEnum):
    """The lifecycle fact of a connection."""

    ACTIVE = "active"
    NEEDS_REAUTH = "needs_reauth"
    FAILED = "failed"
    REVOKED = "revoked"


class InstallationStatus(StrEnum):
    """The lifecycle fact of an installation."""

    ACTIVE = "active"
    NEEDS_REAUTH = "needs_reauth"
    SUSPENDED = "suspended"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """The link of a tenant (``user_id`` is None) or of one user of it to a provider account.

    ``account_id`` and ``account_name`` are the provider's; ``metadata`` is what else it told.
    ``installation_id`` is set when the connection stands under an installation of its tenant.
    """

    connection_id: UUID
    environment_id: UUID
    tenant_id: str
    user_id: str | None
    provider_config_id: UUID
    provider: str
    installation_id: UUID | None
    status: ConnectionStatus
    status_reason: str | None
    label: str | None
    is_primary: bool
    account_id: str | None
    account_name: str | None
    scopes: tuple[str, ...]
    metadata: Mapping[str, Any]
    version: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """The provider's record that the app was installed in a tenant's workspace there.

    ``external_id`` is the provider's id of that workspace (a guild, a team, an organisation).
    """

    installation_id: UUID
    environment_id: UUID
    tenant_id: str
    provider_config_id: UUID
    provider: str
    external_id: str
    external_name: str | None
    status: InstallationStatus
    status_reason: str | None
    label: str | None
    is_primary: bool
    installed_by: str | None
    scopes: tuple[str, ...]
    metadata: Mapping[str, Any]
    version: int
    created_at: datetime
    updated_at: datetime
