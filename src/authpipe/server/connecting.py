"""The objects of the connect room, each given what it works with."""

from __future__ import annotations

from dataclasses import dataclass

from authpipe.catalog.catalog import Catalog
from authpipe.connect.abandon import Abandonment
from authpipe.connect.amend import Amendment
from authpipe.connect.browser import BrowserSessions
from authpipe.connect.callback import Callbacks
from authpipe.connect.candidates import CandidateMaking
from authpipe.connect.complete import Completion
from authpipe.connect.direct import DirectStorage
from authpipe.connect.disconnect import Disconnection
from authpipe.connect.ending import SessionEnding
from authpipe.connect.erase import TenantErasure
from authpipe.connect.erase_resume import ErasureResumption
from authpipe.connect.erase_upstream import UpstreamErasure
from authpipe.connect.identify import Identification
from authpipe.connect.key_form import KeyForm
from authpipe.connect.provider_configs import ProviderConfigs
from authpipe.connect.reaper import Reaper
from authpipe.connect.sealed_grant import Sealing
from authpipe.connect.sessions import ConnectSessions
from authpipe.connect.start import AuthorizationStart
from authpipe.credentials.grants import Granting
from authpipe.credentials.provider import Providers
from authpipe.credentials.upstream import Upstream
from authpipe.domain.clock import Clock
from authpipe.net.client import HttpClient
from authpipe.net.egress import EgressPolicy
from authpipe.store.database import Database
from authpipe.telemetry.metrics import Metrics
from authpipe.vault.vault import Vault


@dataclass(frozen=True, slots=True, kw_only=True)
class Connecting:
    """What makes and ends connections and installations."""

    sessions: ConnectSessions
    browser_sessions: BrowserSessions
    authorization_start: AuthorizationStart
    callbacks: Callbacks
    key_form: KeyForm
    ending: SessionEnding
    completion: Completion
    direct_storage: DirectStorage
    disconnection: Disconnection
    provider_configs: ProviderConfigs
    amendment: Amendment
    reaper: Reaper
    tenant_erasure: TenantErasure
    erasure_resumption: ErasureResumption


def build_connecting(
    *,
    catalog: Catalog,
    database: Database,
    vault: Vault,
    providers: Providers,
    http: HttpClient,
    egress: EgressPolicy,
    upstream: Upstream,
    granting: Granting,
    clock: Clock,
    metrics: Metrics,
    public_url: str,
) -> Connecting:
    """Put the room together; nothing in it holds a resource of its own."""
    ending = SessionEnding(database=database, clock=clock, metrics=metrics)
    abandonment = Abandonment(
        database=database, providers=providers, upstream=upstream, vault=vault, clock=clock
    )
    identification = Identification(upstream)
    sealing = Sealing(granting)
    candidates = CandidateMaking(database=database, vault=vault, abandonment=abandonment, clock=clock)
    disconnection = Disconnection(
        database=database, providers=providers, vault=vault, abandonment=abandonment, clock=clock
    )
    tenant_erasure = TenantErasure(
        database=database,
        vault=vault,
        upstream=UpstreamErasure(
            database=database,
            providers=providers,
            abandonment=abandonment,
            disconnection=disconnection,
            clock=clock,
        ),
        clock=clock,
    )
    return Connecting(
        sessions=ConnectSessions(database=database, providers=providers, clock=clock, metrics=metrics),
        browser_sessions=BrowserSessions(database=database, providers=providers, ending=ending, clock=clock),
        authorization_start=AuthorizationStart(
            database=database, providers=providers, vault=vault, clock=clock, public_url=public_url
        ),
        callbacks=Callbacks(
            database=database,
            providers=providers,
            vault=vault,
            http=http,
            identification=identification,
            candidates=candidates,
            abandonment=abandonment,
            ending=ending,
            clock=clock,
            metrics=metrics,
        ),
        key_form=KeyForm(
            database=database,
            providers=providers,
            identification=identification,
            candidates=candidates,
            ending=ending,
            clock=clock,
        ),
        ending=ending,
        completion=Completion(
            database=database,
            providers=providers,
            vault=vault,
            sealing=sealing,
            abandonment=abandonment,
            ending=ending,
            clock=clock,
            metrics=metrics,
        ),
        direct_storage=DirectStorage(
            database=database,
            providers=providers,
            identification=identification,
            sealing=sealing,
            granting=granting,
            clock=clock,
        ),
        disconnection=disconnection,
        provider_configs=ProviderConfigs(
            catalog=catalog,
            database=database,
            providers=providers,
            upstream=upstream,
            vault=vault,
            egress=egress,
            clock=clock,
        ),
        amendment=Amendment(database=database, clock=clock),
        reaper=Reaper(database=database, ending=ending, abandonment=abandonment, clock=clock),
        tenant_erasure=tenant_erasure,
        erasure_resumption=ErasureResumption(tenant_erasure),
    )
