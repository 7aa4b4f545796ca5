"""Objects as JSON documents, with the field names of the HTTP API."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

from authpipe.domain.connection import Connection, Installation
from authpipe.domain.environment import ApiKey, Environment, Tenant
from authpipe.domain.erasure import ErasureCertificate
from authpipe.domain.provider_config import ProviderConfig

if TYPE_CHECKING:
    from authpipe.catalog.definition import ProviderDefinition


def listed(documents: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """A whole list as one document."""
    return {"object": "list", "data": list(documents)}


def environment_document(environment: Environment) -> dict[str, Any]:
    """An environment."""
    return {
        "object": "environment",
        "id": environment.environment_id,
        "name": environment.name,
        "kind": environment.kind.value,
        "return_urls": environment.return_urls,
        "origins": environment.origins,
        "created_at": environment.created_at,
    }


def tenant_document(tenant: Tenant) -> dict[str, Any]:
    """A tenant."""
    return {
        "object": "tenant",
        "id": tenant.tenant_id,
        "name": tenant.name,
        "created_at": tenant.created_at,
        "erasing_at": tenant.erasing_at,
    }


def erasure_document(certificate: ErasureCertificate) -> dict[str, Any]:
    """The certificate of an erasure."""
    return {
        "object": "tenant_erasure",
        "id": certificate.event_id,
        "tenant_id": certificate.tenant_id,
        **asdict(certificate.counts),
        "began_at": certificate.began_at,
        "finished_at": certificate.finished_at,
    }


def config_document(config: ProviderConfig, redirect_uri: str | None) -> dict[str, Any]:
    """A provider config; of its secrets only whether they are set."""
    return {
        "object": "provider_config",
        "id": config.provider_config_id,
        "provider": config.provider,
        "enabled": config.enabled,
        "client_id": config.client_id,
        "has_client_secret": config.client_secret_ciphertext is not None,
        "has_app_credential": config.app_credential_ciphertext is not None,
        "scopes": config.scopes,
        "installation_scopes": config.installation_scopes,
        "base_url": config.base_url,
        "attachment": config.attachment.value,
        "parameters": dict(config.parameters),
        "redirect_uri": redirect_uri,
        "problem": config.problem,
        "version": config.version,
        "created_at": config.created_at,
        "updated_at": config.updated_at,
    }


def key_document(key: ApiKey, now: datetime) -> dict[str, Any]:
    """An API key without its text."""
    return {
        "object": "api_key",
        "id": key.api_key_id,
        "name": key.name,
        "prefix": key.prefix,
        "role": key.role.value,
        "tenant_id": key.tenant_id,
        "replaced_by": key.replaced_by,
        "status": key_status(key, now),
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
        "last_used_at": key.last_used_at,
    }


def key_status(key: ApiKey, now: datetime) -> str:
    """Whether a key opens anything: ``active``, ``revoked`` or ``expired``."""
    if key.revoked_at is not None:
        return "revoked"
    return "expired" if key.expires_at is not None and key.expires_at <= now else "active"


def connection_document(connection: Connection) -> dict[str, Any]:
    """A connection."""
    return {
        "object": "connection",
        "id": connection.connection_id,
        "provider": connection.provider,
        "provider_config_id": connection.provider_config_id,
        "tenant_id": connection.tenant_id,
        "user_id": connection.user_id,
        "installation_id": connection.installation_id,
        "status": connection.status.value,
        "status_reason": connection.status_reason,
        "label": connection.label,
        "is_primary": connection.is_primary,
        "account_id": connection.account_id,
        "account_name": connection.account_name,
        "scopes": connection.scopes,
        "metadata": dict(connection.metadata),
        "created_at": connection.created_at,
        "updated_at": connection.updated_at,
    }


def installation_document(installation: Installation) -> dict[str, Any]:
    """An installation."""
    return {
        "object": "installation",
        "id": installation.installation_id,
        "provider": installation.provider,
        "provider_config_id": installation.provider_config_id,
        "tenant_id": installation.tenant_id,
        "external_id": installation.external_id,
        "external_name": installation.external_name,
        "status": installation.status.value,
        "status_reason": installation.status_reason,
        "label": installation.label,
        "is_primary": installation.is_primary,
        "installed_by": installation.installed_by,
        "scopes": installation.scopes,
        "metadata": dict(installation.metadata),
        "created_at": installation.created_at,
        "updated_at": installation.updated_at,
    }


def provider_document(definition: ProviderDefinition) -> dict[str, Any]:
    """What the catalog tells about a provider."""
    from authpipe.catalog.definition import SideName

    return {
        "object": "provider",
        "id": definition.id,
        "name": definition.name,
        "description": definition.description,
        "category": definition.category,
        "auth_model": definition.auth_model.value,
        "auth_model_label": definition.auth_model.label,
        "kinds": [side.value for side in SideName if definition.side(side) is not None],
        "docs_url": definition.docs_url,
        "api_base_url": definition.api_base_url,
        "scopes": [
            {
                "name": scope.name,
                "meaning": scope.meaning,
                "kinds": sorted(side.value for side in scope.sides),
                "default": scope.default,
                "required": scope.required,
                "note": scope.note,
            }
            for scope in definition.scopes
        ],
        "setup": [{"title": step.title, "text": step.text} for step in definition.setup],
        "notes": definition.notes,
    }
