"""Connections by the million: ``python -m benchmarks.seed --connections 1000000``, in under three minutes.

Rows are as the application writes them, each tenant with a keyset of its own and every secret really
encrypted; only the way into the tables is shorter: COPY, in one transaction of the tables' owner.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg

from authpipe.credentials.contexts import refresh_context, secret_context
from authpipe.domain.identifiers import new_id
from authpipe.domain.secret import Secret
from authpipe.vault import envelope
from authpipe.vault.aes_key import AesKey
from authpipe.vault.keks.kek import Kek
from authpipe.vault.keks.uri import open_keks
from authpipe.vault.keyset import KeysetOwner

_BATCH = 20_000
_TABLES = ("tenants", "data_keys", "connections", "credentials")
#: A token as long as most are, so that ciphertexts have their usual size.
_TOKEN_CHARACTERS = 120
#: A prime: multiples of it go through every number of connections that it does not divide, without a pattern.
_STRIDE = 611_953

_DATA_KEYS = (
    "environment_id", "tenant_id", "key_id", "kek_id", "wrapped", "is_primary", "encryptions", "created_at",
)  # fmt: skip
_CONNECTIONS = (
    "environment_id", "tenant_id", "connection_id", "user_id", "provider_config_id", "provider", "status",
    "account_id", "scopes", "metadata", "created_at", "updated_at",
)  # fmt: skip
_CREDENTIALS = (
    "environment_id", "tenant_id", "credential_id", "owner_kind", "owner_id", "provider_config_id", "provider",
    "kind", "source", "secret_ciphertext", "refresh_ciphertext", "scopes", "expires_at", "refresh_due_at",
    "issued_at", "updated_at",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Plan:
    """``connections`` spread evenly over ``tenants``, called ``tenant_0`` …, each user's named ``user_0`` ….

    Due times lie evenly between ``due_from`` and ``due_until``, in an order that has nothing to do with tenants;
    a token expires five minutes after it is due.
    """

    connections: int
    tenants: int
    due_from: datetime
    due_until: datetime


async def seed(dsn: str, kek: Kek, plan: Plan) -> float:
    """Add the plan's rows to the one environment and provider config there is; returns how long it took."""
    begun = time.perf_counter()
    connection = await asyncpg.connect(dsn)
    try:
        await connection.set_type_codec(
            "jsonb",
            # COPY is binary: a version byte before the text.
            encoder=lambda value: b"\x01" + json.dumps(value).encode(),
            decoder=lambda value: json.loads(value[1:]),
            schema="pg_catalog",
            format="binary",
        )
        async with connection.transaction():
            # COPY does not go through row-level security; the owner may do without it, and only the owner.
            for table in (*_TABLES, "provider_configs"):
                await connection.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
            config = await connection.fetchrow("SELECT * FROM provider_configs")
            if config is None:
                raise SystemExit("there is no provider config to connect to")
            environment_id: UUID = config["environment_id"]
            keys = await _tenants(connection, environment_id, kek, plan)
            per_tenant = -(-plan.connections // plan.tenants)
            rows = _rows(
                environment_id, config["provider_config_id"], config["provider"], keys, plan, per_tenant
            )
            done = False
            while not done:
                connections, credentials = [], []
                for connection_row, credential_row in rows:
                    connections.append(connection_row)
                    credentials.append(credential_row)
                    if len(connections) == _BATCH:
                        break
                else:
                    done = True
                await connection.copy_records_to_table(
                    "connections", records=connections, columns=_CONNECTIONS
                )
                await connection.copy_records_to_table(
                    "credentials", records=credentials, columns=_CREDENTIALS
                )
            for table in (*_TABLES, "provider_configs"):
                await connection.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        await connection.execute("VACUUM ANALYZE")
    finally:
        await connection.close()
    return time.perf_counter() - begun


async def _tenants(
    connection: asyncpg.Connection, environment_id: UUID, kek: Kek, plan: Plan
) -> list[tuple[str, UUID, AesKey]]:
    now = datetime.now(UTC)
    keys, wrapped = [], []
    for number in range(plan.tenants):
        tenant_id, key_id, key = f"tenant_{number}", new_id(), AesKey.generate()
        owner = KeysetOwner(environment_id, tenant_id)
        keys.append((tenant_id, key_id, key))
        wrapped.append(
            (
                environment_id, tenant_id, key_id, kek.kek_id,
                await kek.wrap(key, owner.associated_data(key_id)), True, 2**20, now,
            )
        )  # fmt: skip
    await connection.copy_records_to_table(
        "tenants",
        records=[(environment_id, tenant_id, None, now) for tenant_id, _, _ in keys],
        columns=("environment_id", "tenant_id", "name", "created_at"),
    )
    await connection.copy_records_to_table("data_keys", records=wrapped, columns=_DATA_KEYS)
    return keys


def _rows(
    environment_id: UUID,
    config_id: UUID,
    provider: str,
    keys: list[tuple[str, UUID, AesKey]],
    plan: Plan,
    per_tenant: int,
) -> Iterator[tuple[tuple[object, ...], tuple[object, ...]]]:
    now = datetime.now(UTC)
    step = (plan.due_until - plan.due_from) / plan.connections
    number = 0
    for tenant_id, key_id, key in keys:
        for user in range(min(per_tenant, plan.connections - number)):
            owner_id, credential_id = new_id(), new_id()
            due = plan.due_from + step * (number * _STRIDE % plan.connections)
            number += 1
            token = Secret(f"at-{credential_id.hex}-".ljust(_TOKEN_CHARACTERS, "x"))
            refresh = Secret(f"rt-{credential_id.hex}-".ljust(_TOKEN_CHARACTERS, "x"))
            secret = envelope.encrypt(
                token, secret_context(environment_id, tenant_id, credential_id), key_id=key_id, key=key
            )
            refresh_token = envelope.encrypt(
                refresh, refresh_context(environment_id, tenant_id, credential_id), key_id=key_id, key=key
            )
            yield (
                (
                    environment_id, tenant_id, owner_id, f"user_{user}", config_id, provider, "active",
                    owner_id.hex, ["identify"], {}, now, now,
                ),
                (
                    environment_id, tenant_id, credential_id, "connection", owner_id, config_id, provider,
                    "oauth_token", "own", secret, refresh_token, ["identify"], due + timedelta(minutes=5), due,
                    now, now,
                ),
            )  # fmt: skip


async def _main(connections: int, tenants: int) -> None:
    from benchmarks.stage import set_up

    async with set_up(base_url="http://127.0.0.1:9") as stage:
        now = datetime.now(UTC)
        took = await seed(
            stage.dsn,
            open_keks(stage.settings.keks, production=False).primary,
            Plan(
                connections=connections,
                tenants=tenants,
                due_from=now + timedelta(minutes=5),
                due_until=now + timedelta(hours=1),
            ),
        )
    print(f"{connections:,} connections of {tenants:,} tenants in {took:.1f} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--connections", type=int, default=1_000_000)
    parser.add_argument("--tenants", type=int, default=10_000)
    given = parser.parse_args()
    os.environ.setdefault("AUTHPIPE_LOG_LEVEL", "warning")
    asyncio.run(_main(given.connections, given.tenants))
