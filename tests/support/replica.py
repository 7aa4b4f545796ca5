"""One process's share of the credentials room, wired as the server wires it."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from authpipe.catalog.catalog import Catalog
from authpipe.credentials.changes import Changes
from authpipe.credentials.limits import ProviderLimits
from authpipe.credentials.outcome import Step
from authpipe.credentials.provider import Providers
from authpipe.credentials.refresh import RefreshEngine
from authpipe.credentials.refresh_now import RefreshNow
from authpipe.credentials.serve import CredentialReader
from authpipe.credentials.spool import Spool
from authpipe.credentials.spool_replay import SpoolReplay
from authpipe.credentials.worker import RefreshWorker
from authpipe.domain.clock import Clock
from authpipe.domain.credential import StoredCredential
from authpipe.net.client import HttpClient
from authpipe.net.egress import EgressPolicy
from authpipe.store.database import Database
from authpipe.store.vault_keysets import DatabaseKeysets
from authpipe.telemetry.metrics import Metrics
from authpipe.vault.keks.kek import Kek
from authpipe.vault.keks.ring import KekRing
from authpipe.vault.vault import Vault

Observe = Callable[[Step, StoredCredential], None]


def _look_away(step: Step, credential: StoredCredential) -> None:
    pass


@dataclass(frozen=True)
class Replica:
    """The parts of one process."""

    database: Database
    vault: Vault
    changes: Changes
    limits: ProviderLimits
    spool: Spool
    replay: SpoolReplay
    engine: RefreshEngine
    refresh_now: RefreshNow
    worker: RefreshWorker
    reader: CredentialReader
    metrics: Metrics


async def open_replica(
    stack: AsyncExitStack,
    *,
    dsn: str,
    kek: Kek,
    catalog: Catalog,
    clock: Clock,
    spool_dir: Path,
    observe: Observe = _look_away,
    concurrency: int = 64,
) -> Replica:
    """Open one; ``stack`` closes it."""
    metrics = Metrics()
    database = await Database.connect(dsn)
    stack.push_async_callback(database.close)
    http = HttpClient(EgressPolicy(allow_loopback=True))
    stack.push_async_callback(http.close)
    changes = Changes(database)
    vault = Vault(KekRing(kek), DatabaseKeysets(database), clock)
    spool = Spool(spool_dir)
    replay = SpoolReplay(database, spool, clock, metrics)
    stack.push_async_callback(replay.close)
    limits = ProviderLimits(clock)
    engine = RefreshEngine(
        database=database,
        vault=vault,
        providers=Providers(catalog, database, vault),
        http=http,
        replay=replay,
        limits=limits,
        clock=clock,
        metrics=metrics,
        observe=observe,
        spread=random.Random(1),
    )
    refresh_now = RefreshNow(database=database, engine=engine, changes=changes, clock=clock)
    changes.start()
    stack.push_async_callback(changes.close)
    stack.push_async_callback(refresh_now.close)
    return Replica(
        database=database,
        vault=vault,
        changes=changes,
        limits=limits,
        spool=spool,
        replay=replay,
        engine=engine,
        refresh_now=refresh_now,
        worker=RefreshWorker(
            database=database,
            engine=engine,
            replay=replay,
            limits=limits,
            clock=clock,
            metrics=metrics,
            concurrency=concurrency,
        ),
        reader=CredentialReader(
            catalog=catalog,
            database=database,
            vault=vault,
            refresh_now=refresh_now,
            clock=clock,
            metrics=metrics,
        ),
        metrics=metrics,
    )


class Replicas:
    """Replicas on one database, sharing clock and spool directory as processes of one machine do."""

    def __init__(self, dsn: str, kek: Kek, catalog: Catalog, clock: Clock, directory: Path) -> None:
        self._dsn = dsn
        self._kek = kek
        self._catalog = catalog
        self._clock = clock
        self.spool_dir = directory / "spool"
        self._stack = AsyncExitStack()

    async def start(self, *, observe: Observe = _look_away, dsn: str | None = None) -> Replica:
        """One more replica."""
        return await open_replica(
            self._stack,
            dsn=dsn or self._dsn,
            kek=self._kek,
            catalog=self._catalog,
            clock=self._clock,
            spool_dir=self.spool_dir,
            observe=observe,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()
