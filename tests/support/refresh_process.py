"""Refreshes what is due in processes that may be killed at any step: ``python -m support.refresh_process``.

Reads one job per line and forks a process for each, so that a hundred deaths cost one start of Python.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import traceback
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Self

from authpipe.catalog.catalog import Catalog
from authpipe.catalog.loader import load_catalog
from authpipe.credentials.outcome import Step
from authpipe.domain.clock import ManualClock
from authpipe.domain.credential import StoredCredential
from authpipe.vault.keks.local import LocalKek
from support.postgres import stop_at_once
from support.replica import open_replica

TESTS = Path(__file__).parents[1]


@dataclass(frozen=True, kw_only=True)
class Job:
    """What one process does, at a time that stands still for it.

    ``kill_at`` is the step at which it kills itself.  ``stop_database_at`` is the step at which it stops the
    server of that data directory; it then kills itself once the answer waits for the database.  Without
    either it finishes what others left, and ends well.
    """

    dsn: str
    kek: str
    spool_dir: str
    now: str
    kill_at: str | None = None
    stop_database_at: str | None = None
    postgres_dir: str = ""


async def _work(job: Job, catalog: Catalog) -> None:
    def observe(step: Step, _credential: StoredCredential) -> None:
        if step == job.stop_database_at:
            stop_at_once(Path(job.postgres_dir))
        if step == job.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    async with AsyncExitStack() as stack:
        replica = await open_replica(
            stack,
            dsn=job.dsn,
            kek=LocalKek.open(Path(job.kek), refuse_exposed=True),
            catalog=catalog,
            clock=ManualClock(datetime.fromisoformat(job.now)),
            spool_dir=Path(job.spool_dir),
            observe=observe,
        )
        if job.kill_at is None and job.stop_database_at is None:
            await replica.replay.adopt()
        await replica.worker.round()
        if job.stop_database_at is not None and replica.spool.outstanding:
            os.kill(os.getpid(), signal.SIGKILL)


def _serve() -> None:
    catalog = load_catalog()
    for line in sys.stdin:
        job = Job(**json.loads(line))
        pid = os.fork()
        if pid == 0:
            os.dup2(2, 1)  # what it logs is not for the one who counts exit codes
            try:
                asyncio.run(_work(job, catalog))
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


class RefreshProcesses:
    """Starts one process at a time; the caller may kill it meanwhile."""

    def __init__(self) -> None:
        self._server: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "support.refresh_process",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": f"{TESTS}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"},
        )  # fmt: skip
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        assert self._server.stdin is not None
        self._server.stdin.close()
        await asyncio.wait_for(self._server.wait(), 10)

    async def start(self, job: Job) -> int:
        """Begin; returns the process id."""
        assert self._server is not None
        assert self._server.stdin is not None
        self._server.stdin.write(json.dumps(asdict(job)).encode() + b"\n")
        return await self._number()

    async def ended(self) -> int:
        """The exit code; negative for a signal."""
        return await self._number()

    async def run(self, job: Job) -> int:
        """Both."""
        await self.start(job)
        return await self.ended()

    async def _number(self) -> int:
        assert self._server is not None
        assert self._server.stdout is not None
        return int(await asyncio.wait_for(self._server.stdout.readline(), 60))


if __name__ == "__main__":
    _serve()
