"""A million connections whose tokens live an hour: what keeping them costs one worker, and whether any was late.

278 come due each second.  A stretch of it is measured, from a worker that has just started and has no tenant's
keyset in memory yet; the provider takes 50 ms for an answer.
"""

from __future__ import annotations

import asyncio
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import psutil

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

_CONNECTIONS, _TENANTS = 1_000_000, 10_000
#: Seconds for seeding, before the first is due.
_SEEDING_S = 420
_SETTLING_S, _MEASURED_S = 10, 80
_EVERY_S = 0.5


async def _watch(
    connection: asyncpg.Connection[Any], process: psutil.Process, server: psutil.Process
) -> dict[str, float]:
    await asyncio.sleep(_SETTLING_S)
    worker_before, server_before, begun = Spent.by(process), Spent.by(server), time.perf_counter()
    latest, expired = 0.0, 0
    began_at = datetime.now(UTC)
    while time.perf_counter() - begun < _MEASURED_S:
        await asyncio.sleep(_EVERY_S)
        now = datetime.now(UTC)
        oldest = await connection.fetchrow(
            "SELECT refresh_due_at, expires_at FROM credentials WHERE refresh_due_at IS NOT NULL"
            " ORDER BY provider_config_id, refresh_lane, refresh_due_at LIMIT 1"
        )
        latest = max(latest, (now - oldest["refresh_due_at"]).total_seconds())
        expired += oldest["expires_at"] <= now
    took = time.perf_counter() - begun
    refreshed = await connection.fetchval(
        "SELECT count(*) FROM events WHERE created_at > $1 AND type = 'credential.refreshed'", began_at
    )
    return {
        "worker": (Spent.by(process).seconds - worker_before.seconds) / took,
        "server": (Spent.by(server).seconds - server_before.seconds) / took,
        "late": latest,
        "expired": expired,
        "rate": refreshed / took,
        "memory": peak_memory_mib(process),
    }


async def _work(stage: Stage, due_from: datetime) -> dict[str, float]:
    left = (due_from - datetime.now(UTC)).total_seconds()
    if left < 0:
        raise RuntimeError(f"seeding took {-left:.0f} s longer than there were")
    async with onlooker(stage.dsn) as connection:
        await asyncio.sleep(left)
        async with worker() as process:
            return await _watch(connection, process, postmaster(stage.directory))


async def _measure() -> list[Measurement]:
    with token_endpoint(lifetime_s=3600, latency_ms=50):
        async with set_up(base_url=f"http://127.0.0.1:{PROVIDER_PORT}") as stage:
            due_from = datetime.now(UTC) + timedelta(seconds=_SEEDING_S)
            plan = Plan(
                connections=_CONNECTIONS,
                tenants=_TENANTS,
                due_from=due_from,
                due_until=due_from + timedelta(hours=1),
            )
            took = await seed(stage.dsn, open_keks(stage.settings.keks, production=False).primary, plan)
            print(f"seeded in {took:.0f} s", file=sys.stderr)
            found = await _work(stage, due_from)
    print(found, file=sys.stderr)
    return [
        Measurement(name="million connections: share of a core, worker", value=found["worker"], unit="cores", bar="<= 0.5"),
        Measurement(name="million connections: share of a core, database", value=found["server"], unit="cores"),
        Measurement(name="million connections: refreshes", value=found["rate"], unit="refreshes/s"),
        Measurement(name="million connections: seen expired", value=found["expired"], unit="times", bar="<= 0"),
        Measurement(name="million connections: longest due", value=found["late"], unit="s"),
        Measurement(name="million connections: worker's peak memory", value=found["memory"], unit="MiB"),
    ]  # fmt: skip


def run() -> list[Measurement]:
    """Seed, wait for the first to come due, and watch."""
    return asyncio.run(_measure())
