"""Builds every room from the settings and takes them down again; the only file that knows them all."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

from authpipe.access.api_keys import ApiKeys
from authpipe.access.authentication import Authenticator
from authpipe.access.environments import Environments
from authpipe.access.refusals import Refusals
from authpipe.catalog.catalog import Catalog
from authpipe.catalog.loader import load_catalog
from authpipe.credentials.changes import Changes
from authpipe.credentials.grants import Granting
from authpipe.credentials.limits import ProviderLimits
from authpipe.credentials.provider import Providers
from authpipe.credentials.refresh import RefreshEngine
from authpipe.credentials.refresh_now import RefreshNow
from authpipe.credentials.rejected import RejectedReports
from authpipe.credentials.serve import CredentialReader
from authpipe.credentials.spool import Spool
from authpipe.credentials.spool_replay import SpoolReplay
from authpipe.credentials.stream import ChangeStreams
from authpipe.credentials.upstream import Upstream
from authpipe.credentials.worker import RefreshWorker
from authpipe.domain.clock import Clock, SystemClock
from authpipe.domain.errors import ConfigurationError
from authpipe.domain.event import ActorKind, Origin
from authpipe.events.audit_export import AuditExport
from authpipe.events.chain import AuditChain
from authpipe.events.chain_beginning import ChainBeginnings
from authpipe.events.credential_reads import CredentialReads
from authpipe.events.keysets import record_keyset_change
from authpipe.events.verification import ChainVerification
from authpipe.net.client import HttpClient
from authpipe.net.egress import EgressPolicy
from authpipe.server.connecting import Connecting, build_connecting
from authpipe.server.rotating import Rotating, build_rotating
from authpipe.server.settings import Settings
from authpipe.server.signing_in import SigningIn, build_signing_in
from authpipe.store.database import Database
from authpipe.store.embedded import EmbeddedPostgres
from authpipe.store.vault_keysets import DatabaseKeysets
from authpipe.telemetry import traces
from authpipe.telemetry.metrics import Metrics
from authpipe.vault.keks.ring import KekRing
from authpipe.vault.keks.uri import open_keks
from authpipe.vault.vault import Vault


@dataclass(frozen=True, slots=True, kw_only=True)
class Rooms:
    """Everything one process works with, open and ready."""

    settings: Settings
    clock: Clock
    metrics: Metrics
    catalog: Catalog
    database: Database
    vault: Vault
    changes: Changes
    providers: Providers
    refresh_now: RefreshNow
    rejected_reports: RejectedReports
    change_streams: ChangeStreams
    credential_reader: CredentialReader
    credential_reads: CredentialReads
    audit_chain: AuditChain
    chain_beginnings: ChainBeginnings
    chain_verification: ChainVerification
    audit_export: AuditExport
    refresh_worker: RefreshWorker
    upstream: Upstream
    environments: Environments
    api_keys: ApiKeys
    authenticator: Authenticator
    connecting: Connecting
    rotating: Rotating
    signing_in: SigningIn


@asynccontextmanager
async def open_rooms(
    settings: Settings, *, migrate: bool = False, clock: Clock | None = None
) -> AsyncIterator[Rooms]:
    """Open every room, and close them in the reverse order on the way out.

    Starts the embedded PostgreSQL when no database is configured; ``migrate`` brings the schema up to date
    first.  On the way out, refreshes under way are waited for, and an answer the database did not get stays
    on disk for the next process.  Raises ``ConfigurationError``, with the place and the remedy, before
    anything is served.
    """
    clock = clock or SystemClock()
    catalog = load_catalog()
    async with AsyncExitStack() as stack:
        # First in, last out: what closing the others takes is told too.
        await stack.enter_async_context(traces.exporting(settings.otlp_endpoint, ratio=settings.trace_ratio))
        keks = open_keks(settings.keks, production=settings.is_production)
        stack.callback(keks.close)
        dsn = await _database_address(settings, stack)
        is_new = False
        if migrate:
            # Alembic and SQLAlchemy take longer to import than all the rest.
            from authpipe.store.migrate import BEFORE_CHAINS
            from authpipe.store.migrate import migrate as bring_up_to_date

            before, _ = await bring_up_to_date(dsn)
            is_new = before in BEFORE_CHAINS
        database = await Database.connect(dsn, max_size=settings.pool_size)
        stack.push_async_callback(database.close)
        rooms = await _open(settings, clock, keks, catalog, database, stack)
        if is_new:
            await rooms.chain_beginnings.begin_late(Origin(actor_kind=ActorKind.WORKER))
        yield rooms


async def _database_address(settings: Settings, stack: AsyncExitStack) -> str:
    if settings.database_url is not None:
        return settings.database_url.reveal()
    postgres = EmbeddedPostgres(settings.data_dir)
    stack.push_async_callback(postgres.stop)
    return await postgres.start()


async def _open(
    settings: Settings,
    clock: Clock,
    keks: KekRing,
    catalog: Catalog,
    database: Database,
    stack: AsyncExitStack,
) -> Rooms:
    metrics = Metrics()
    egress = EgressPolicy(allow_loopback=settings.allow_loopback_egress)
    http = HttpClient(egress)
    stack.push_async_callback(http.close)
    changes = Changes(database)
    keysets = DatabaseKeysets(database, tell=record_keyset_change)
    vault = Vault(
        keks,
        keysets,
        clock,
        cache_size=settings.keyset_cache_size,
        cache_ttl=timedelta(seconds=settings.keyset_cache_s),
    )
    rotating = build_rotating(
        database=database,
        vault=vault,
        keks=keks,
        keysets=keysets,
        changes=changes,
        clock=clock,
        key_max_age_days=settings.key_max_age_days,
    )
    providers = Providers(catalog, database, vault)
    upstream = Upstream(providers=providers, http=http, metrics=metrics)
    replay = SpoolReplay(database, _spool(settings), clock, metrics)
    stack.push_async_callback(replay.close)
    credential_reads = CredentialReads(database, clock, metrics)
    credential_reads.start()
    stack.push_async_callback(credential_reads.close)
    chain_verification = ChainVerification(database, vault)
    chain_beginnings = ChainBeginnings(database, vault, clock)
    limits = ProviderLimits(clock)
    engine = RefreshEngine(
        database=database,
        vault=vault,
        providers=providers,
        http=http,
        replay=replay,
        limits=limits,
        clock=clock,
        metrics=metrics,
    )
    refresh_now = RefreshNow(database=database, engine=engine, changes=changes, clock=clock)
    authenticator = Authenticator(database=database, changes=changes, clock=clock, refusals=Refusals(metrics))
    change_streams = ChangeStreams(database=database, changes=changes, clock=clock, metrics=metrics)
    stack.callback(change_streams.stop)
    credential_reader = CredentialReader(
        catalog=catalog,
        database=database,
        vault=vault,
        refresh_now=refresh_now,
        clock=clock,
        metrics=metrics,
    )
    rejected_reports = RejectedReports(
        database=database,
        reader=credential_reader,
        refresh_now=refresh_now,
        providers=providers,
        upstream=upstream,
        limits=limits,
        clock=clock,
        metrics=metrics,
    )
    # Only now, when everyone who listens has said so.
    changes.start()
    stack.push_async_callback(changes.close)
    stack.push_async_callback(authenticator.close)
    stack.push_async_callback(refresh_now.close)
    stack.push_async_callback(rejected_reports.close)
    return Rooms(
        settings=settings,
        clock=clock,
        metrics=metrics,
        catalog=catalog,
        database=database,
        vault=vault,
        changes=changes,
        providers=providers,
        refresh_now=refresh_now,
        rejected_reports=rejected_reports,
        change_streams=change_streams,
        credential_reader=credential_reader,
        credential_reads=credential_reads,
        audit_chain=AuditChain(database=database, vault=vault, clock=clock, metrics=metrics),
        chain_beginnings=chain_beginnings,
        chain_verification=chain_verification,
        audit_export=AuditExport(database, chain_verification),
        refresh_worker=RefreshWorker(
            database=database,
            engine=engine,
            replay=replay,
            limits=limits,
            clock=clock,
            metrics=metrics,
            concurrency=settings.refresh_concurrency,
        ),
        upstream=upstream,
        environments=Environments(database, clock, chain_beginnings),
        api_keys=ApiKeys(database, clock),
        authenticator=authenticator,
        connecting=build_connecting(
            catalog=catalog,
            database=database,
            vault=vault,
            providers=providers,
            http=http,
            egress=egress,
            upstream=upstream,
            granting=Granting(vault),
            clock=clock,
            metrics=metrics,
            public_url=settings.public_url,
        ),
        rotating=rotating,
        signing_in=build_signing_in(
            settings, stack, database=database, vault=vault, http=http, egress=egress, clock=clock
        ),
    )


def _spool(settings: Settings) -> Spool:
    directory = settings.data_dir / "spool"
    try:
        return Spool(directory)
    except OSError as error:
        raise ConfigurationError(
            f"{directory} cannot be written ({error.strerror}): set AUTHPIPE_DATA_DIR to a directory this "
            "user can write"
        ) from None
