"""What a claim of 128 due credentials costs with ten thousand, a hundred thousand and a million connections.

Half of the connections belong to a provider config that is paused, and everything is due: each claim reads the
low end of a queue as long as the other half, and walks around as many rows that it may not have.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any
from uuid import UUID

import asyncpg

from authpipe.credentials.refresh import LEASE
from authpipe.domain.identifiers import new_id
from authpipe.store.queries import load
from authpipe.vault.keks.uri import open_keks
from benchmarks.measurement import Measurement
from benchmarks.refreshing import onlooker
from benchmarks.seed import Plan, seed
from benchmarks.stage import Stage, set_up

_SIZES = (10_000, 100_000, 1_000_000)
_LIMIT = 128
_CLAIMS = 30


async def _pause_half(stage: Stage, connection: asyncpg.Connection[Any]) -> UUID:
    """Give every other credential to another provider config, as if it had been there from the start."""
    paused = new_id()
    await connection.execute(
        "UPDATE credentials SET provider_config_id = $1 WHERE get_byte(uuid_send(credential_id), 15) % 2 = 0",
        paused,
    )
    owner = await asyncpg.connect(stage.dsn)
    try:
        await owner.execute("VACUUM FULL ANALYZE credentials")
    finally:
        await owner.close()
    return paused


async def _buffers(connection: asyncpg.Connection[Any], now: datetime, paused: UUID) -> float:
    """Pages that one claim touches."""
    begun = connection.transaction()
    await begun.start()
    try:
        await connection.execute(load("planning")["by_index"])
        (row,) = await connection.fetch(
            "EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) " + load("credentials")["claim_due"],
            now, now + LEASE, _LIMIT, _LIMIT, [paused], [0],
        )  # fmt: skip
    finally:
        await begun.rollback()
    plan = json.loads(row[0])[0]["Plan"]
    return float(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


async def _claims(stage: Stage, paused: UUID) -> float:
    """Milliseconds of a claim, one after the other down the queue."""
    took = []
    for _ in range(_CLAIMS):
        now = datetime.now(UTC)
        begun = time.perf_counter()
        async with stage.rooms.database.system() as transaction:
            claimed = await transaction.credentials.claim_due(
                now=now, lease_until=now + LEASE, limit=_LIMIT, room=_LIMIT, rooms={paused: 0}
            )
        took.append((time.perf_counter() - begun) * 1000)
        if len(claimed) != _LIMIT:
            raise RuntimeError(f"{len(claimed)} were claimed")
    return median(took)


async def _at(connections: int) -> tuple[float, float]:
    async with set_up(base_url="http://127.0.0.1:9") as stage, onlooker(stage.dsn) as connection:
        now = datetime.now(UTC)
        plan = Plan(
            connections=connections,
            tenants=connections // 100,
            due_from=now - timedelta(hours=1),
            due_until=now - timedelta(seconds=1),
        )
        await seed(stage.dsn, open_keks(stage.settings.keks, production=False).primary, plan)
        paused = await _pause_half(stage, connection)
        buffers = await _buffers(connection, datetime.now(UTC), paused)
        return await _claims(stage, paused), buffers


def _in_a_process(connections: int) -> tuple[float, float]:
    """A database, and a process, for each size: settings and memory of one are not the other's."""
    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks.claim", str(connections)], stdout=subprocess.PIPE, check=True
    )
    took, buffers = json.loads(ran.stdout.splitlines()[-1])
    print(f"{connections:,}: {took:.2f} ms, {buffers:.0f} pages", file=sys.stderr)
    return took, buffers


def run() -> list[Measurement]:
    """Ten thousand are the reference of the larger sizes."""
    found = {size: _in_a_process(size) for size in _SIZES}
    least_ms, least_pages = found[_SIZES[0]]
    measured = []
    for size in _SIZES[1:]:
        took, pages = found[size]
        measured += [
            Measurement(
                name=f"claim of {_LIMIT} with {size:,} connections", value=took, unit="ms",
                reference=f"with {_SIZES[0]:,}", reference_value=least_ms, bar="<= 1.5", of_ratio=True,
            ),
            Measurement(
                name=f"pages a claim touches with {size:,} connections", value=pages, unit="pages",
                reference=f"with {_SIZES[0]:,}", reference_value=least_pages, bar="<= 1.2", of_ratio=True,
            ),
        ]  # fmt: skip
    return measured


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_at(int(sys.argv[1])))))
