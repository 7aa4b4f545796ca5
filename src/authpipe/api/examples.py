"""The objects that the documentation shows: one story, told in every example."""

from __future__ import annotations

from typing import Any, Final

#: Stands for a provider's id and name; the document is made with one of the catalog's.
PROVIDER: Final = "<provider>"
PROVIDER_NAME: Final = "<Provider>"

_AT = "2026-11-24T09:30:00.125Z"
_LATER = "2026-12-01T09:30:00Z"
CONFIG_ID = "019e3564-2d30-7b1c-a2d4-5e6f7a8b9c0d"
CONNECTION_ID = "019e3564-2d40-7c11-9a9e-7f0f9a1b2c3d"
INSTALLATION_ID = "019e3564-2d38-7f02-8d1a-2b3c4d5e6f70"
SESSION_ID = "019e3564-2d3c-7e55-b3c4-d5e6f7a8b9c0"
CREDENTIAL_ID = "019e3564-2d44-7d33-9b8a-7c6d5e4f3a2b"
API_KEY_ID = "019e3564-2d10-7a0b-8c9d-0e1f2a3b4c5d"
ENVIRONMENT_ID = "019e3564-2d00-7000-8000-0242ac120001"
EVENT_ID = "019e3564-2d50-7a1b-8c2d-3e4f5a6b7c8d"

CONNECTION: dict[str, Any] = {
    "object": "connection",
    "id": CONNECTION_ID,
    "provider": PROVIDER,
    "provider_config_id": CONFIG_ID,
    "tenant_id": "org_acme",
    "user_id": "user_123",
    "installation_id": INSTALLATION_ID,
    "status": "active",
    "status_reason": None,
    "label": None,
    "is_primary": False,
    "account_id": "210000000000000001",
    "account_name": "ada",
    "scopes": ["identify"],
    "metadata": {},
    "created_at": _AT,
    "updated_at": _AT,
}
CREDENTIAL_FACTS: dict[str, Any] = {
    "credential_id": CREDENTIAL_ID,
    "kind": "oauth_token",
    "expires_at": _LATER,
    "refresh_due_at": "2026-11-30T16:42:00Z",
    "refreshed_at": _AT,
    "version": 3,
}
CONNECTION_DETAIL = {
    **CONNECTION,
    "credential_expires_at": _LATER,
    "credentials": [CREDENTIAL_FACTS],
}
INSTALLATION: dict[str, Any] = {
    "object": "installation",
    "id": INSTALLATION_ID,
    "provider": PROVIDER,
    "provider_config_id": CONFIG_ID,
    "tenant_id": "org_acme",
    "external_id": "310000000000000001",
    "external_name": "Analytical Engine Club",
    "status": "active",
    "status_reason": None,
    "label": None,
    "is_primary": False,
    "installed_by": "user_123",
    "scopes": ["bot"],
    "metadata": {"guild_id": "310000000000000001"},
    "created_at": _AT,
    "updated_at": _AT,
}
INSTALLATION_DETAIL = {
    **INSTALLATION,
    "credential_expires_at": None,
    "credentials": [
        {
            **CREDENTIAL_FACTS,
            "kind": "bot_token",
            "expires_at": None,
            "refresh_due_at": None,
            "version": 1,
        }
    ],
}
CREATE_SESSION = {
    "provider": PROVIDER,
    "tenant_id": "org_acme",
    "user_id": "user_123",
    "kind": "connection",
    "return_url": "https://app.example.com/connected",
    "return_mode": "redirect",
}
SESSION: dict[str, Any] = {
    "object": "connect_session",
    "id": SESSION_ID,
    "status": "pending",
    "url": "https://auth.example.com/connect/Jx2vT0c3m5XhV9fQ4bq8rYk1s7wPzL6uNdAeGiKoMtB",
    "provider": PROVIDER,
    "provider_config_id": CONFIG_ID,
    "tenant_id": "org_acme",
    "user_id": "user_123",
    "kind": "connection",
    "scopes": ["identify"],
    "label": None,
    "installation_id": None,
    "reconnect_id": None,
    "return_url": "https://app.example.com/connected",
    "return_mode": "redirect",
    "error": None,
    "connection": None,
    "installation": None,
    "expires_at": "2026-11-24T09:40:00.125Z",
    "created_at": _AT,
    "updated_at": _AT,
}
COMPLETE = {
    "completion_code": "uV3kq0Zt7nRb2yXw9sLd5mGh8pJc4fTa6eQiKoMvBxN",
    "tenant_id": "org_acme",
    "user_id": "user_123",
}
COMPLETED = {
    **SESSION,
    "status": "completed",
    "url": None,
    "connection": CONNECTION,
}
CREDENTIAL: dict[str, Any] = {
    "object": "credential",
    "credential_id": CREDENTIAL_ID,
    "kind": "oauth_token",
    "provider": PROVIDER,
    "tenant_id": "org_acme",
    "user_id": "user_123",
    "connection_id": CONNECTION_ID,
    "installation_id": INSTALLATION_ID,
    "label": None,
    "credential": "6qrZcUqja7812RVdnEKjpzOL4CvHBFG",
    "headers": {"Authorization": "Bearer 6qrZcUqja7812RVdnEKjpzOL4CvHBFG"},
    "expires_at": _LATER,
    "refetch_at": "2026-11-30T20:54:00Z",
    "scopes": ["identify"],
    "metadata": {},
    "version": 3,
}
REJECTED = {"tenant_id": "org_acme", "version": 3}
CREDENTIAL_BATCH: dict[str, Any] = {
    "credentials": [
        {"provider": PROVIDER, "tenant_id": "org_acme", "user_id": "user_123"},
        {"provider": PROVIDER, "tenant_id": "org_other", "credential_for": "installation"},
    ]
}
CREDENTIAL_BATCH_ANSWER: dict[str, Any] = {
    "object": "list",
    "data": [
        CREDENTIAL,
        {
            "object": "error",
            "type": "urn:authpipe:error:not_connected",
            "title": "Not connected",
            "status": 404,
            "detail": f"{PROVIDER} is not installed in this tenant: start a connect session",
            "code": "not_connected",
            "request_id": "019e3564-2d42-7001-8c55-0242ac120002",
        },
    ],
}
STORE_KEY = {
    "provider": PROVIDER,
    "tenant_id": "org_acme",
    "fields": {"username": "ada@example.com", "api_key": "the customer's key"},
}
STORE_WEBHOOK_SECRET = {
    "installation_id": INSTALLATION_ID,
    "kind": "webhook_secret",
    "secret": "https://hooks.example.com/the-secret-address",
}
STORED_KEY: dict[str, Any] = {
    "object": "stored_credential",
    "credential_id": CREDENTIAL_ID,
    "kind": "basic",
    "connection": CONNECTION,
    "installation": None,
}
CREATE_CONFIG = {
    "provider": PROVIDER,
    "client_id": "1100000000000000001",
    "client_secret": "the-client-secret-of-the-console",
    "app_credential": "the-bot-token-of-the-console",
    "installation_scopes": ["bot"],
}
CONFIG: dict[str, Any] = {
    "object": "provider_config",
    "id": CONFIG_ID,
    "provider": PROVIDER,
    "enabled": True,
    "client_id": "1100000000000000001",
    "has_client_secret": True,
    "has_app_credential": True,
    "scopes": [],
    "installation_scopes": ["bot"],
    "base_url": None,
    "attachment": "user",
    "parameters": {},
    "redirect_uri": f"https://auth.example.com/oauth/callback/{CONFIG_ID}",
    "problem": None,
    "version": 1,
    "created_at": _AT,
    "updated_at": _AT,
}
CHECK = {
    "object": "provider_config_check",
    "provider_config_id": CONFIG_ID,
    "reading": "alive",
    "reason": "ok",
    "checked_at": _AT,
}
API_KEY: dict[str, Any] = {
    "object": "api_key",
    "id": API_KEY_ID,
    "name": "backend",
    "prefix": "apk_k3x2m4qa",
    "role": "server",
    "tenant_id": None,
    "replaced_by": None,
    "created_at": _AT,
    "expires_at": None,
    "revoked_at": None,
    "last_used_at": _AT,
}
NEW_API_KEY = {
    **API_KEY,
    "last_used_at": None,
    "key": "apk_k3x2m4qa_0123456789abcdefghijklmnopqrstuvwxyzABCDEFA",
}
ENVIRONMENT: dict[str, Any] = {
    "object": "environment",
    "id": ENVIRONMENT_ID,
    "name": "production",
    "kind": "production",
    "return_urls": ["https://app.example.com/connected", "https://app.example.com/settings/*"],
    "origins": ["https://app.example.com"],
    "created_at": _AT,
}
TENANT: dict[str, Any] = {
    "object": "tenant",
    "id": "org_acme",
    "name": "Acme Ltd",
    "created_at": _AT,
    "erasing_at": None,
}
ERASURE: dict[str, Any] = {
    "object": "tenant_erasure",
    "id": EVENT_ID,
    "tenant_id": "org_acme",
    "connections": 12,
    "installations": 1,
    "credentials": 13,
    "connect_sessions": 31,
    "remembered_answers": 2,
    "api_keys": 1,
    "data_keys": 1,
    "revoked_upstream": 11,
    "left_shared": 1,
    "not_revocable": 1,
    "not_revoked": 0,
    "began_at": _AT,
    "finished_at": "2026-11-24T09:30:02.311Z",
}
EVENT: dict[str, Any] = {
    "object": "event",
    "id": EVENT_ID,
    "type": "connection.created",
    "tenant_id": "org_acme",
    "object_kind": "connection",
    "object_id": CONNECTION_ID,
    "outcome": "success",
    "actor": {"kind": "api_key", "id": API_KEY_ID},
    "request_id": "019e3564-2d42-7001-8c55-0242ac120002",
    "source_address": "203.0.113.7",
    "data": {"provider": PROVIDER, "user_id": "user_123", "scopes": ["identify"]},
    "created_at": _AT,
}
PROVIDER_SUMMARY: dict[str, Any] = {
    "object": "provider",
    "id": PROVIDER,
    "name": PROVIDER_NAME,
    "description": "Bots in servers, and what users share about themselves",
    "category": "communication",
    "auth_model": "installation_and_user",
    "auth_model_label": "Installation + User OAuth",
    "kinds": ["connection", "installation"],
    "docs_url": "https://provider.example.com/docs",
}
PROVIDER_DETAIL = {
    **PROVIDER_SUMMARY,
    "api_base_url": "https://provider.example.com/api",
    "default_attachment": "user",
    "needs_client": True,
    "authorize_url": "https://provider.example.com/oauth2/authorize",
    "token_url": "https://provider.example.com/oauth2/token",
    "scopes": [
        {
            "name": "identify",
            "meaning": "Read your name, avatar and id",
            "kinds": ["connection"],
            "default": True,
            "required": True,
            "note": None,
        }
    ],
    "connection": {
        "credential": "oauth_token",
        "refreshes": True,
        "key_fields": [],
        "parameters": [],
        "requires_installation": False,
    },
    "installation": {
        "credential": "bot_token",
        "refreshes": False,
        "key_fields": [],
        "parameters": [
            {
                "name": "permissions",
                "meaning": "The bot's permissions, as a decimal sum",
                "pattern": "0|[1-9][0-9]{0,19}",
                "default": None,
            }
        ],
        "requires_installation": False,
    },
    "app_credential": {
        "name": "bot_token",
        "label": "Bot token",
        "help": "In the provider's console, under Bot. It is shown once.",
    },
    "setup": [{"title": "Create an application", "text": "In the provider's console."}],
    "notes": [],
}

CATEGORY: dict[str, Any] = {"object": "provider_category", "id": "communication", "providers": 5}


def page_of(*objects: dict[str, Any], more: bool = True) -> dict[str, Any]:
    """A list that holds these."""
    return {
        "object": "list",
        "data": list(objects),
        "next_cursor": "YWZ0ZXI6MDE5ZTM1NjQ" if more else None,
    }


def shown(example: dict[str, Any]) -> dict[str, Any]:
    """A model's schema with this example."""
    return {"examples": [example]}
