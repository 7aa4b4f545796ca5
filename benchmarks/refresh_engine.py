"""Refreshes a second from claim to commit, against the least that could do it.

Two workers, PostgreSQL and the provider share the machine's two cores.  Every refresh is decrypted, posted, encrypted,
put on disk, committed with its event, and linked into the audit chain as far as the worker gets meanwhile.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from contextlib import AsyncExitStack
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
_WORKERS = 2


async def _due_at(connection: asyncpg.Connection[Any], due_at: datetime) -> None:
    """Everything at once; the token that was stored last goes on working meanwhile."""
    await connection.execute(
        "UPDATE credentials SET refresh_due_at = $1, expires_at = $2, lease = NULL, lease_until = NULL",
        due_at, due_at + timedelta(minutes=5),
    )  # fmt: skip


async def _rest(connection: asyncpg.Connection[Any]) -> None:
    """Nothing is due, and the database has nothing left to clear away."""
    await _due_at(connection, datetime.now(UTC) + timedelta(hours=1))
    await connection.execute("RESET ROLE")
    await connection.execute("VACUUM ANALYZE")
    await connection.execute("SET ROLE authpipe_system")


async def _worked_off(connection: asyncpg.Connection[Any]) -> None:
    async with asyncio.timeout(300):
        while await connection.fetchval(
            "SELECT EXISTS (SELECT FROM credentials WHERE refresh_due_at <= $1)", datetime.now(UTC)
        ):
            await asyncio.sleep(0.2)


async def _engine(stage: Stage, connection: asyncpg.Connection[Any]) -> dict[str, float]:
    await _rest(connection)
    server = postmaster(stage.directory)
    async with AsyncExitStack() as stack:
        workers = [await stack.enter_async_context(worker()) for _ in range(_WORKERS)]
        await asyncio.sleep(2)
        await _due_at(connection, datetime.now(UTC) - timedelta(seconds=1))
        begun = datetime.now(UTC) - timedelta(seconds=1)
        working, serving = Spent.by(*workers), Spent.by(server)
        await _worked_off(connection)
        worked, served = Spent.by(*workers), Spent.by(server)
        memory = max(peak_memory_mib(process) for process in workers)
    first, last, count = await connection.fetchrow(
        "SELECT min(created_at), max(created_at), count(*) FROM events"
        " WHERE created_at > $1 AND type = 'credential.refreshed'",
        begun,
    )
    if count != _CONNECTIONS:
        raise RuntimeError(f"{count} refreshes instead of {_CONNECTIONS}")
    return {
        "rate": count / (last - first).total_seconds(),
        "cpu": (worked.seconds - working.seconds) / count * 1e6,
        "database": (served.seconds - serving.seconds) / count * 1e6,
        "memory": memory,
    }


async def _bare(stage: Stage, connection: asyncpg.Connection[Any]) -> dict[str, float]:
    await _rest(connection)
    await _due_at(connection, datetime.now(UTC) - timedelta(seconds=1))
    file = stage.directory / "bare.json"
    file.write_text(json.dumps({"dsn": stage.dsn, "url": f"http://127.0.0.1:{PROVIDER_PORT}/token"}))
    begun, before = time.perf_counter(), Spent.by_dead_children()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.bare_refresh", env={**os.environ, "BENCHMARK_FILE": str(file)}
    )
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
            name="workers' processor time for a refresh", value=middle("engine", "cpu"), unit="us",
            reference="bare loop", reference_value=middle("bare", "cpu"),
        ),
        Measurement(name="database's processor time for a refresh", value=middle("engine", "database"), unit="us"),
        Measurement(name="a worker's peak memory", value=middle("engine", "memory"), unit="MiB"),
    ]  # fmt: skip


def run() -> list[Measurement]:
    """The engine several times, then the bare loop, and the median of each."""
    return asyncio.run(_measure())
