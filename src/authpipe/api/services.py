"""What the HTTP resources work with; the wiring fills it."""

from __future__ import annotations

from dataclasses import dataclass

from authpipe.access.api_keys import ApiKeys
from authpipe.access.authentication import Authenticator
from authpipe.access.environments import Environments
from authpipe.catalog.catalog import Catalog
from authpipe.connect.amend import Amendment
from authpipe.connect.complete import Completion
from authpipe.connect.direct import DirectStorage
from authpipe.connect.disconnect import Disconnection
from authpipe.connect.erase import TenantErasure
from authpipe.connect.provider_configs import ProviderConfigs
from authpipe.connect.sessions import ConnectSessions
from authpipe.credentials.refresh_now import RefreshNow
from authpipe.credentials.rejected import RejectedReports
from authpipe.credentials.serve import CredentialReader
from authpipe.credentials.stream import ChangeStreams
from authpipe.domain.clock import Clock
from authpipe.events.credential_reads import CredentialReads
from authpipe.store.database import Database
from authpipe.telemetry.metrics import Metrics
from authpipe.vault.vault import Vault


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiServices:
    """Open for as long as the application serves.

    ``public_url`` is where browsers reach this server, without a slash at its end.
    """

    public_url: str
    clock: Clock
    metrics: Metrics
    catalog: Catalog
    database: Database
    vault: Vault
    credential_reader: CredentialReader
    credential_reads: CredentialReads
    refresh_now: RefreshNow
    rejected_reports: RejectedReports
    change_streams: ChangeStreams
    environments: Environments
    api_keys: ApiKeys
    authenticator: Authenticator
    sessions: ConnectSessions
    completion: Completion
    direct_storage: DirectStorage
    disconnection: Disconnection
    provider_configs: ProviderConfigs
    amendment: Amendment
    tenant_erasure: TenantErasure
