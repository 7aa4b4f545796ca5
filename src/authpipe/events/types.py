"""Every event Authpipe records, by its public name."""

from __future__ import annotations

from enum import StrEnum


class EventType(StrEnum):
    """``<object>.<what happened>``.  The names are part of the public API."""

    ENVIRONMENT_CREATED = "environment.created"
    ENVIRONMENT_UPDATED = "environment.updated"
    API_KEY_CREATED = "api_key.created"
    API_KEY_ROTATED = "api_key.rotated"
    API_KEY_REVOKED = "api_key.revoked"
    API_KEY_REFUSED = "api_key.refused"
    TENANT_CREATED = "tenant.created"
    TENANT_UPDATED = "tenant.updated"
    TENANT_ERASED = "tenant.erased"

    AUDIT_CHAIN_BEGUN = "audit_chain.begun"

    KEYSET_ROTATED = "keyset.rotated"
    KEYSET_REWRAPPED = "keyset.rewrapped"
    KEYSET_REENCRYPTED = "keyset.reencrypted"
    KEYSET_KEY_DESTROYED = "keyset.key_destroyed"

    OPERATOR_ADDED = "operator.added"
    OPERATOR_UPDATED = "operator.updated"
    OPERATOR_DISABLED = "operator.disabled"
    OPERATOR_SIGNED_IN = "operator.signed_in"
    OPERATOR_SIGN_IN_FAILED = "operator.sign_in_failed"
    OPERATOR_LOCKED = "operator.locked"
    OPERATOR_SIGNED_OUT = "operator.signed_out"
    OPERATOR_SESSION_REVOKED = "operator.session_revoked"

    PROVIDER_CONFIG_CREATED = "provider_config.created"
    PROVIDER_CONFIG_UPDATED = "provider_config.updated"
    PROVIDER_CONFIG_DELETED = "provider_config.deleted"
    PROVIDER_CONFIG_PROBLEM = "provider_config.problem"
    PROVIDER_CONFIG_RECOVERED = "provider_config.recovered"

    CONNECT_SESSION_CREATED = "connect_session.created"
    CONNECT_SESSION_OPENED = "connect_session.opened"
    CONNECT_SESSION_AUTHORIZING = "connect_session.authorizing"
    CONNECT_SESSION_REFUSED = "connect_session.refused"
    CONNECT_SESSION_CANDIDATE = "connect_session.candidate"
    CONNECT_SESSION_COMPLETED = "connect_session.completed"
    CONNECT_SESSION_FAILED = "connect_session.failed"
    CONNECT_SESSION_EXPIRED = "connect_session.expired"
    CANDIDATE_DESTROYED = "candidate.destroyed"

    CONNECTION_CREATED = "connection.created"
    CONNECTION_RECONNECTED = "connection.reconnected"
    CONNECTION_UPDATED = "connection.updated"
    CONNECTION_NEEDS_REAUTH = "connection.needs_reauth"
    CONNECTION_RECOVERED = "connection.recovered"
    CONNECTION_DISCONNECTED = "connection.disconnected"

    INSTALLATION_CREATED = "installation.created"
    INSTALLATION_RECONNECTED = "installation.reconnected"
    INSTALLATION_UPDATED = "installation.updated"
    INSTALLATION_NEEDS_REAUTH = "installation.needs_reauth"
    INSTALLATION_RECOVERED = "installation.recovered"
    INSTALLATION_DELETED = "installation.deleted"

    CREDENTIAL_STORED = "credential.stored"
    CREDENTIAL_READ = "credential.read"
    CREDENTIAL_REFRESH_REQUESTED = "credential.refresh_requested"
    CREDENTIAL_REFRESHED = "credential.refreshed"
    CREDENTIAL_REFRESH_FAILED = "credential.refresh_failed"
