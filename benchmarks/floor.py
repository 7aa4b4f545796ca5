"""The least that can answer the credential read in Python: bare ASGI, asyncpg, one statement, one decryption."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import struct
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl
from uuid import UUID

import asyncpg
import msgspec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_GIVEN = json.loads(Path(os.environ["BENCHMARK_FILE"]).read_text())
_KEYS = {key_id: AESGCM(bytes.fromhex(key)) for key_id, key in _GIVEN["keys"].items()}
_ENVIRONMENT_ID = UUID(_GIVEN["environment_id"])
_KEY_HASH = hashlib.sha256(_GIVEN["api_key"].encode()).digest()
_STATEMENT = "SELECT * FROM authpipe_read_credential($1, $2, $3, $4, $5, $6, $7, $8)"
_HEAD = struct.Struct(">BI")
_encode = msgspec.json.Encoder().encode
_pool: asyncpg.Pool[Any] | None = None


async def _prepare(connection: asyncpg.Connection[Any]) -> None:
    await connection.set_type_codec("jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog")


async def _no_reset(connection: asyncpg.Connection[Any]) -> None:
    """As the server does it: nothing outlives the statement."""


async def _answer(scope: Any) -> bytes:
    headers = dict(scope["headers"])
    if hashlib.sha256(headers[b"authorization"].removeprefix(b"Bearer ")).digest() != _KEY_HASH:
        raise PermissionError
    query = dict(parse_qsl(scope["query_string"].decode()))
    assert _pool is not None
    async with _pool.acquire() as connection:
        row = await connection.fetchrow(
            _STATEMENT, _ENVIRONMENT_ID, query["tenant_id"], query["provider"], query["user_id"],
            "any", None, None, None,
        )  # fmt: skip
    assert row is not None
    ciphertext = row["secret_ciphertext"]
    facts = (
        b"payload", ciphertext[:1], _ENVIRONMENT_ID.bytes, query["tenant_id"].encode(),
        row["credential_id"].bytes, b"secret", ciphertext[1:17],
    )  # fmt: skip
    associated = b"".join([_HEAD.pack(1, len(fact)) + fact for fact in facts])
    secret = _KEYS[ciphertext[1:17].hex()].decrypt(ciphertext[17:29], ciphertext[29:], associated).decode()
    return _encode(
        {
            "object": "credential",
            "credential_id": row["credential_id"],
            "kind": row["kind"],
            "provider": query["provider"],
            "tenant_id": query["tenant_id"],
            "user_id": row["user_id"],
            "connection_id": row["owner_id"],
            "installation_id": row["installation_id"],
            "label": row["label"],
            "credential": secret,
            "headers": {"Authorization": f"Bearer {secret}"},
            "expires_at": row["expires_at"],
            "refetch_at": row["refresh_due_at"],
            "scopes": row["scopes"],
            "metadata": {**row["metadata"], **row["facts"]},
            "version": row["version"],
        }
    )


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Answers every request as the credential read."""
    body = await _answer(scope)
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [
                (b"content-type", b"application/json"),
                (b"content-length", str(len(body)).encode()),
                (b"cache-control", b"no-store"),
            ],
        }
    )
    await send({"type": "http.response.body", "body": body})


async def _serve() -> None:
    global _pool  # noqa: PLW0603  # one process, one pool
    from granian.constants import Interfaces
    from granian.server.embed import Server

    _pool = await asyncpg.create_pool(
        _GIVEN["dsn"], min_size=1, max_size=16, init=_prepare, reset=_no_reset,
        server_settings={"role": "authpipe_app", "timezone": "UTC"},
    )  # fmt: skip
    await Server(
        application, interface=Interfaces.ASGINL, address="127.0.0.1", port=_GIVEN["port"], log_access=False
    ).serve()


if __name__ == "__main__":
    asyncio.run(_serve())
