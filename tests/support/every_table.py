"""One row in every table for each of several places, written behind row-level security's back."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg

NOW = datetime(2026, 5, 17, tzinfo=UTC)

#: Tables whose rows belong to an environment as a whole.
ENVIRONMENT_WIDE = frozenset(
    {"environments", "api_keys", "provider_configs", "installation_claims", "idempotency_keys"}
)
#: Tables that only system-wide work sees.
SYSTEM_ONLY = frozenset(
    {"operators", "operator_sessions", "sign_in_attempts", "sign_in_sources", "unchained_events"}
    | {"audit_chain", "audit_heads"}
)
#: Alembic's own.
NOT_OURS = frozenset({"alembic_version"})


async def tables(connection: asyncpg.Connection[Any]) -> list[str]:
    """Every table of the schema, so that a new one is looked at without being named."""
    rows = await connection.fetch(
        "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename"
    )
    return [row["tablename"] for row in rows if row["tablename"] not in NOT_OURS]


def rows_of(environment_id: UUID, tenant_id: str, number: int) -> dict[str, dict[str, Any]]:
    """A row for each table, by column; ``number`` keeps unique columns apart."""

    def other(kind: int) -> UUID:
        return UUID(int=environment_id.int + number * 100 + kind)

    place = {"environment_id": environment_id, "tenant_id": tenant_id}
    config = {"provider_config_id": UUID(int=environment_id.int + 1), "provider": "discord"}
    made = {"created_at": NOW, "updated_at": NOW}
    ends = {"created_at": NOW, "expires_at": NOW}
    mark = b"%d-%s" % (number, tenant_id.encode())
    return {
        "environments": {
            "environment_id": environment_id, "name": str(environment_id), "kind": "production",
            "created_at": NOW,
        },
        "api_keys": {
            "environment_id": environment_id, "api_key_id": other(1), "name": "key", "prefix": "ap",
            "role": "admin", "created_at": NOW,
            "key_hash": mark + environment_id.bytes,
        },
        "tenants": {**place, "created_at": NOW},
        "data_keys": {
            **place, "key_id": other(2), "kek_id": "kek", "wrapped": mark, "is_primary": False,
            "created_at": NOW, "retired_at": NOW,
        },
        "provider_configs": {
            "environment_id": environment_id, **config, **made, "enabled": True, "attachment": "user",
        },
        "installations": {
            **place, **config, **made, "installation_id": other(3), "external_id": "guild",
            "status": "active",
        },
        "installation_claims": {
            **place, "provider_config_id": config["provider_config_id"], "external_id": f"guild-{number}",
            "installation_id": other(3),
        },
        "connections": {
            **place, **config, **made, "connection_id": other(4), "user_id": f"{number}", "status": "active",
        },
        "credentials": {
            **place, **config, "credential_id": other(5), "owner_kind": "connection", "owner_id": other(4),
            "kind": "oauth_token", "source": "own", "secret_ciphertext": mark, "issued_at": NOW,
            "updated_at": NOW,
        },
        "connect_sessions": {
            **place, **config, **made, "session_id": other(6), "kind": "connection", "status": "pending",
            "return_mode": "popup", "return_url": "http://localhost/", "expires_at": NOW,
            "token_hash": mark + environment_id.bytes,
        },
        "authorization_attempts": {
            **place, **ends, "attempt_id": other(7), "session_id": other(6), "browser_hash": mark,
            "provider_config_id": config["provider_config_id"], "redirect_uri": "http://localhost/",
            "state_hash": mark + environment_id.bytes,
        },
        "candidates": {
            **place, **ends, "candidate_id": other(8), "session_id": other(6), "grant_ciphertext": mark,
            "provider_config_id": config["provider_config_id"], "account": {},
        },
        "events": {
            **place, "event_id": other(9), "type": "test.happened", "object_kind": "test", "object_id": "1",
            "actor_kind": "worker", "outcome": "success", "created_at": NOW,
        },
        "erasures": {**place, "actor_kind": "worker", "step": "rows", "created_at": NOW},
        "idempotency_keys": {
            "environment_id": environment_id, "api_key_id": other(1), "idempotency_key": f"{number}",
            "request_hash": mark, "row_id": other(10), "created_at": NOW,
        },
        "operators": {
            **made, "operator_id": other(11), "email": f"{other(11)}@example.com", "role": "owner",
            "known_browser_key": mark,
        },
        "operator_sessions": {
            **ends, "session_id": other(12), "session_hash": mark + environment_id.bytes,
            "operator_id": other(11), "method": "password", "last_seen_at": NOW,
        },
        "sign_in_attempts": {
            **ends, "attempt_id": other(13), "state_hash": mark + environment_id.bytes, "browser_hash": mark,
            "nonce_hash": mark, "verifier_ciphertext": mark,
        },
        "sign_in_sources": {"source": f"{environment_id}-{number}", "tries": 1, "ends_at": NOW},
        "unchained_events": {"environment_id": environment_id, "event_id": other(14)},
        "audit_chain": {
            "environment_id": environment_id, "position": number, "event_id": other(9), "hash": bytes(32),
        },
        "audit_heads": {"environment_id": other(15), "position": number, "hash": bytes(32)},
    }  # fmt: skip


async def insert(connection: asyncpg.Connection[Any], table: str, row: dict[str, Any]) -> None:
    """Write one row."""
    names = ", ".join(row)
    marks = ", ".join(f"${number}" for number in range(1, len(row) + 1))
    await connection.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", *row.values())


async def count(connection: Any, table: str) -> int:
    """How many rows this connection can see."""
    return int(await connection.fetchval(f"SELECT count(*) FROM {table}"))
