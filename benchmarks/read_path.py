"""The server's credential read, against Express with pg, and against the least that Python could do.

One process on one core serves, the load and PostgreSQL share the other; each server is asked for credentials
of many users under row-level security, by the same statement.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

import psutil

from authpipe.vault.keks.uri import open_keks
from authpipe.vault.keyset import KeysetOwner
from benchmarks.measurement import Measurement
from benchmarks.seed import Plan, seed
from benchmarks.stage import PROVIDER, Stage, set_up

_HERE = Path(__file__).parent
_CONNECTIONS, _TENANTS = 200_000, 200
_ASKED = 20_000
_SECONDS, _ROUNDS, _CONCURRENT = 6, 3, 64
_FIRST_PORT = 8810


def _load_script(directory: Path, key: str) -> Path:
    """For wrk: requests for many users in an order without a pattern."""
    per_tenant = _CONNECTIONS // _TENANTS
    asked = [
        f"/v1/credentials?provider={PROVIDER}&tenant_id=tenant_{number % _TENANTS}"
        f"&user_id=user_{(number * 7919) % per_tenant}"
        for number in range(_ASKED)
    ]
    (directory / "paths.txt").write_text("\n".join(asked))
    script = directory / "load.lua"
    script.write_text(
        f"""
local paths, at = {{}}, 0
for line in io.lines("{directory / "paths.txt"}") do paths[#paths + 1] = line end
wrk.headers["Authorization"] = "Bearer {key}"
request = function()
  at = at % #paths + 1
  return wrk.format("GET", paths[at])
end
"""
    )
    return script


@contextmanager
def _running(command: list[str], url: str, key: str, environment: dict[str, str]) -> Iterator[int]:
    """A server on core 0, warm; its process id."""
    process = subprocess.Popen(
        ["taskset", "-c", "0", *command],
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
    )
    try:
        request = urllib.request.Request(
            f"{url}/v1/credentials?provider={PROVIDER}&tenant_id=tenant_0&user_id=user_0",
            headers={"Authorization": f"Bearer {key}"},
        )
        deadline = time.monotonic() + 30
        while True:
            try:
                with urllib.request.urlopen(request) as answer:
                    document = json.loads(answer.read())
                break
            except OSError:
                if time.monotonic() > deadline or process.poll() is not None:
                    raise
                time.sleep(0.05)
        if not document["credential"].startswith("at-"):
            raise RuntimeError(f"{command[0]} answered something else")
        yield process.pid
    finally:
        process.terminate()
        process.wait(timeout=30)


def _asked(url: str, script: Path, seconds: int) -> tuple[float, float]:
    """Requests per second, and the 99th percentile of their latency in milliseconds."""
    ran = subprocess.run(
        [
            "taskset", "-c", "1", "wrk", "-t1", f"-c{_CONCURRENT}", f"-d{seconds}s", "--latency", "-s", script, url,
        ],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    if "Non-2xx" in ran.stdout or "Socket errors" in ran.stdout:
        raise RuntimeError(ran.stdout)
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", ran.stdout).group(1))  # type: ignore[union-attr]
    late = re.search(r"99%\s+([\d.]+)(us|ms|s)", ran.stdout)
    assert late is not None
    return rate, float(late[1]) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[late[2]]


async def _prepare(stage: Stage) -> dict[str, object]:
    """Rows, and what the servers that we are compared with are told."""
    now = datetime.now(UTC)
    kek = open_keks(stage.settings.keks, production=False).primary
    plan = Plan(
        connections=_CONNECTIONS,
        tenants=_TENANTS,
        due_from=now + timedelta(hours=1),
        due_until=now + timedelta(hours=2),
    )
    await seed(stage.dsn, kek, plan)
    environment_id = (await stage.rooms.environments.by_name("benchmark")).environment_id
    keys = {}
    for number in range(_TENANTS):
        async with stage.rooms.database.keysets(environment_id, f"tenant_{number}") as transaction:
            for key in await transaction.data_keys.all(environment_id, f"tenant_{number}"):
                opened = await kek.unwrap(
                    key.wrapped,
                    KeysetOwner(environment_id, f"tenant_{number}").associated_data(key.key_id),
                )
                keys[key.key_id.hex] = opened.reveal_key_bytes().hex()
    return {"dsn": stage.dsn, "api_key": stage.key, "environment_id": str(environment_id), "keys": keys}


def _servers(stage: Stage, given: dict[str, object]) -> dict[str, tuple[list[str], str, dict[str, str]]]:
    """Command, address and environment of each."""
    found = {}
    commands = {
        "authpipe": [str(Path(sys.executable).with_name("authpipe")), "serve"],
        "floor": [sys.executable, "-m", "benchmarks.floor"],
        "express": ["node", str(_HERE / "express" / "server.js")],
    }
    for number, (name, command) in enumerate(commands.items()):
        port = _FIRST_PORT + number
        file = stage.directory / f"{name}.json"
        file.write_text(json.dumps({**given, "port": port}))
        environment = {"BENCHMARK_FILE": str(file), "AUTHPIPE_PORT": str(port), "NODE_ENV": "production"}
        found[name] = (command, f"http://127.0.0.1:{port}", environment)
    return found


async def _measure() -> list[Measurement]:
    if not (_HERE / "express" / "node_modules").exists():
        subprocess.run(
            ["npm", "ci", "--no-audit", "--no-fund"],
            cwd=_HERE / "express",
            check=True,
            stdout=subprocess.DEVNULL,
        )
    rates: dict[str, list[float]] = {}
    late: dict[str, list[float]] = {}
    memory: dict[str, float] = {}
    async with set_up(base_url="http://127.0.0.1:9") as stage:
        given = await _prepare(stage)
        script = _load_script(stage.directory, stage.key)
        servers = _servers(stage, given)
        for _ in range(_ROUNDS):
            for name, (command, url, environment) in servers.items():
                with _running(command, url, stage.key, environment) as pid:
                    await asyncio.to_thread(_asked, url, script, 2)
                    rate, p99 = await asyncio.to_thread(_asked, url, script, _SECONDS)
                    rates.setdefault(name, []).append(rate)
                    late.setdefault(name, []).append(p99)
                    memory[name] = psutil.Process(pid).memory_info().rss / 2**20
    ours = median(rates["authpipe"])
    return [
        Measurement(
            name="credential read, one core", value=ours, unit="requests/s",
            reference="Express 5 and pg", reference_value=median(rates["express"]), bar=">= 2", of_ratio=True,
        ),
        Measurement(
            name="credential read, one core", value=ours, unit="requests/s",
            reference="bare ASGI and asyncpg", reference_value=median(rates["floor"]), bar=">= 0.75", of_ratio=True,
        ),
        Measurement(
            name="credential read, 99th percentile", value=median(late["authpipe"]), unit="ms",
            reference="Express 5 and pg", reference_value=median(late["express"]),
        ),
        Measurement(
            name="memory of the server process", value=memory["authpipe"], unit="MiB",
            reference="Express 5 and pg", reference_value=memory["express"],
        ),
    ]  # fmt: skip


def run() -> list[Measurement]:
    """Three servers in turn, several times, and the median of each."""
    return asyncio.run(_measure())
