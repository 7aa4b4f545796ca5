"""The least that refreshing can be: claim, POST, encrypt, one UPDATE for many; no spool, no event, no limits."""

from __future__ import annotations

import asyncio
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_GIVEN = json.loads(Path(os.environ["BENCHMARK_FILE"]).read_text())
_BATCH, _IN_FLIGHT = 128, 3
_KEY = AESGCM(AESGCM.generate_key(256))

_CLAIM = """
WITH due AS MATERIALIZED (
    SELECT environment_id, tenant_id, credential_id FROM credentials
    WHERE refresh_due_at <= $1 AND lease IS NULL ORDER BY refresh_due_at LIMIT $2 FOR UPDATE SKIP LOCKED
)
UPDATE credentials c SET lease = gen_random_uuid(), lease_until = $3 FROM due
WHERE c.environment_id = due.environment_id AND c.tenant_id = due.tenant_id
  AND c.credential_id = due.credential_id
RETURNING c.environment_id, c.tenant_id, c.credential_id, c.version, c.refresh_ciphertext
"""
_COMMIT = """
UPDATE credentials c SET
    secret_ciphertext = n.secret, refresh_ciphertext = n.refresh, expires_at = $6, refresh_due_at = $7,
    version = c.version + 1, lease = NULL, lease_until = NULL
FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::bytea[], $5::bytea[], $8::bigint[])
  AS n (environment_id, tenant_id, credential_id, secret, refresh, version)
WHERE c.environment_id = n.environment_id AND c.tenant_id = n.tenant_id
  AND c.credential_id = n.credential_id AND c.version = n.version
"""


def _encrypted(token: str, row: asyncpg.Record) -> bytes:
    nonce = os.urandom(12)
    return nonce + _KEY.encrypt(nonce, token.encode(), row["credential_id"].bytes)


async def _refreshed(session: aiohttp.ClientSession, row: asyncpg.Record) -> tuple[bytes, bytes]:
    form = {"grant_type": "refresh_token", "refresh_token": "rt-".ljust(120, "x"), "client_id": "1"}
    async with session.post(_GIVEN["url"], data=form) as response:
        document = await response.json()
    return _encrypted(document["access_token"], row), _encrypted(document["refresh_token"], row)


async def _work(session: aiohttp.ClientSession, pool: asyncpg.Pool[Any]) -> None:
    while True:
        now = datetime.now(UTC)
        rows = await pool.fetch(_CLAIM, now, _BATCH, now + timedelta(minutes=1))
        if not rows:
            return
        new = await asyncio.gather(*(_refreshed(session, row) for row in rows))
        now = datetime.now(UTC)
        await pool.execute(
            _COMMIT,
            [row["environment_id"] for row in rows],
            [row["tenant_id"] for row in rows],
            [row["credential_id"] for row in rows],
            [secret for secret, _ in new],
            [refresh for _, refresh in new],
            now + timedelta(hours=1),
            now + timedelta(minutes=55),
            [row["version"] for row in rows],
        )


async def _main() -> None:
    async with (
        asyncpg.create_pool(_GIVEN["dsn"], server_settings={"role": "authpipe_system"}) as pool,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=_BATCH * _IN_FLIGHT)) as session,
    ):
        await asyncio.gather(*(_work(session, pool) for _ in range(_IN_FLIGHT)))


if __name__ == "__main__":
    asyncio.run(_main())
