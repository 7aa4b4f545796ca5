"""Links events one at a time until it is killed: ``python -m support.chain_process DSN KEK-FILE``."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from authpipe.domain.clock import SystemClock
from authpipe.events.chain import AuditChain
from authpipe.store.database import Database
from authpipe.store.vault_keysets import DatabaseKeysets
from authpipe.telemetry.metrics import Metrics
from authpipe.vault.keks.local import LocalKek
from authpipe.vault.keks.ring import KekRing
from authpipe.vault.vault import Vault


async def _work(dsn: str, kek_file: str) -> None:
    clock = SystemClock()
    database = await Database.connect(dsn)
    kek = LocalKek.open(Path(kek_file), refuse_exposed=True)
    vault = Vault(KekRing(kek), DatabaseKeysets(database), clock)
    chain = AuditChain(database=database, vault=vault, clock=clock, metrics=Metrics(), batch=3)
    print("at work", flush=True)
    while True:
        await chain.extend()


if __name__ == "__main__":
    asyncio.run(_work(*sys.argv[1:]))
