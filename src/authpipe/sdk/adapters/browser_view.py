"""What a browser may see of what it just connected: ids, names, status, scopes."""

from __future__ import annotations

from typing import Any

from authpipe.sdk.objects import Connection, Installation


def connection_view(connection: Connection) -> dict[str, Any]:
    """A connection without its metadata, tenant and user."""
    return {
        "id": connection.id,
        "provider": connection.provider,
        "status": connection.status,
        "label": connection.label,
        "is_primary": connection.is_primary,
        "account_name": connection.account_name,
        "installation_id": connection.installation_id,
        "scopes": list(connection.scopes),
    }


def installation_view(installation: Installation) -> dict[str, Any]:
    """An installation without its metadata, tenant and installing user."""
    return {
        "id": installation.id,
        "provider": installation.provider,
        "status": installation.status,
        "label": installation.label,
        "is_primary": installation.is_primary,
        "external_name": installation.external_name,
        "scopes": list(installation.scopes),
    }
