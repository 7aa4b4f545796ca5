"""Refreshes a second from claim to commit, against the least that could do it.

Worker, PostgreSQL and provider share the machine's two cores.  Every refresh is decrypted, posted, encrypted,
put on disk, committed with its event, and linked into the audit chain as far as the worker gets meanwhile.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any

import asyncpg

from authpipe.vault.keks.uri import open_keks
from benchmarks.measurement import Measurement
from benchmarks.refreshing import (
    PROVIDER_PORT,
    Spent,
    onlooker,
    peak_memory_mib,
    postmaster,
    token_endpoint,
    worker,
)
from benchmarks.seed import Plan, seed
from benchmarks.stage import Stage, set_up

_CONNECTIONS, _TENANTS = 40_000, 200
_ROUNDS = 3
#: Everything is due again, and the token that was stored last goes on working.
_DUE_AGAIN = """
UPDATE credentials SET refresh_due_at = $1, expires_at = $2, lease = NULL, lease_until = NULL
"""


async def _due(connection: asyncpg.Connection[Any]) -> None:
    now = datetime.now(UTC)
    await connection.execute(_DUE_AGAIN, now - timedelta(seconds=1), now + timedelta(minutes=5))
    await connection.execute("RESET ROLE")
    await connection.execute("VACUUM ANALYZE credentials")
    await connection.execute("SET ROLE authpipe_system")


async def _worked_off(connection: asyncpg.Connection[Any]) -> None:
    async with asyncio.timeout(300):
        while await connection.fetchval(
            "SELECT EXISTS (SELECT FROM credentials WHERE refresh_due_at <= $1)", datetime.now(UTC)
        ):
            await asyncio.sleep(0.2)


async def _engine(stage: Stage, connection: asyncpg.Connection[Any]) -> dict[str, float]:
    await _due(connection)
    begun = datetime.now(UTC)
    server = postmaster(stage.directory)
    before = Spent.by(server)
    async with worker() as process:
        started = Spent.by(process)
        await _worked_off(connection)
        spent, database = Spent.by(process), Spent.by(server)
        memory = peak_memory_mib(process)
    first, last, count = await connection.fetchrow(
        "SELECT min(created_at), max(created_at), count(*) FROM events"
        " WHERE created_at > $1 AND type = 'credential.refreshed'",
        begun,
    )
    if count != _CONNECTIONS:
        raise RuntimeError(f"{count} refreshes instead of {_CONNECTIONS}")
    return {
        "rate": count / (last - first).total_seconds(),
        "cpu": (spent.seconds - started.seconds) / count * 1e6,
        "database": (database.seconds - before.seconds) / count * 1e6,
        "memory": memory,
    }


async def _bare(stage: Stage, connection: asyncpg.Connection[Any]) -> dict[str, float]:
    await _due(connection)
    file = stage.directory / "bare.json"
    file.write_text(json.dumps({"dsn": stage.dsn, "url": f"http://127.0.0.1:{PROVIDER_PORT}/token"}))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.bare_refresh", env={**os.environ, "BENCHMARK_FILE": str(file)}
    )
    begun, before = time.perf_counter(), Spent.by_dead_children()
    if await process.wait() != 0:
        raise RuntimeError("the bare loop failed")
    spent = Spent.by_dead_children().seconds - before.seconds
    return {"rate": _CONNECTIONS / (time.perf_counter() - begun), "cpu": spent / _CONNECTIONS * 1e6}


async def _measure() -> list[Measurement]:
    found: dict[str, list[dict[str, float]]] = {"engine": [], "bare": []}
    with token_endpoint(lifetime_s=3600):
        async with (
            set_up(base_url=f"http://127.0.0.1:{PROVIDER_PORT}") as stage,
            onlooker(stage.dsn) as connection,
        ):
            now = datetime.now(UTC)
            plan = Plan(
                connections=_CONNECTIONS,
                tenants=_TENANTS,
                due_from=now - timedelta(seconds=2),
                due_until=now - timedelta(seconds=1),
            )
            await seed(stage.dsn, open_keks(stage.settings.keks, production=False).primary, plan)
            for _ in range(_ROUNDS):
                found["engine"].append(await _engine(stage, connection))
            for _ in range(_ROUNDS):
                # It ends what was stored with a key of its own, so it comes last.
                found["bare"].append(await _bare(stage, connection))
    print(found, file=sys.stderr)

    def middle(whose: str, what: str) -> float:
        return median(each[what] for each in found[whose])

    return [
        Measurement(
            name="refreshes, claim to commit", value=middle("engine", "rate"), unit="refreshes/s",
            reference="bare loop: claim, POST, encrypt, UPDATE", reference_value=middle("bare", "rate"),
            bar=">= 3000",
        ),
        Measurement(
            name="worker's processor time for a refresh", value=middle("engine", "cpu"), unit="us",
            reference="bare loop", reference_value=middle("bare", "cpu"),
        ),
        Measurement(name="database's processor time for a refresh", value=middle("engine", "database"), unit="us"),
        Measurement(name="worker's peak memory", value=middle("engine", "memory"), unit="MiB"),
    ]  # fmt: skip


def run() -> list[Measurement]:
    """The engine several times, then the bare loop, and the median of each."""
    return asyncio.run(_measure())
