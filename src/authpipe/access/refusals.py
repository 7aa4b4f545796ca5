"""What was refused to whom, counted, logged and recorded: the evidence of keys tried where they may not."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from authpipe.domain.environment import ApiKey
from authpipe.domain.event import Origin
from authpipe.events.credential_reads import CredentialReads
from authpipe.telemetry.logs import get_logger
from authpipe.telemetry.metrics import Metrics

_log = get_logger(__name__)


class Refusal(StrEnum):
    """Why a request went no further.  The words are labels of a metric."""

    #: No key, or text that cannot be one.
    MALFORMED = "malformed"
    #: A key nobody was given, or one that has ended; answered alike.
    UNKNOWN = "unknown"
    REVOKED = "revoked"
    EXPIRED = "expired"
    #: Too many keys that were no good; not looked up.
    LIMITED = "limited"
    #: A good key whose role does not allow it.
    ROLE = "role"
    #: A good key of one tenant, used for another or for the environment as a whole.
    TENANT = "tenant"


@dataclass(frozen=True, slots=True)
class Refusals:
    """Counts refusals by their reason; those of good keys are logged, and with ``record`` become events."""

    metrics: Metrics
    record: CredentialReads | None = None

    def count(self, reason: Refusal) -> None:
        """Count a request that was refused."""
        self.metrics.refused_requests.labels(reason.value).inc()

    def of_good_key(
        self,
        key: ApiKey,
        reason: Refusal,
        *,
        origin: Origin,
        route: str,
        tenant_id: str | None = None,
        needed: str | None = None,
    ) -> None:
        """The use of a good key where it may not be used.

        ``tenant_id`` is the tenant that was named, ``needed`` the role that would have been enough.
        """
        self.count(reason)
        if self.record is not None:
            self.record.note_refusal(
                key.environment_id,
                api_key_id=key.api_key_id,
                reason=reason.value,
                route=route,
                tenant_id=tenant_id,
                origin=origin,
            )
        _log.warning(
            "an API key was refused",
            reason=reason.value,
            environment_id=str(key.environment_id),
            api_key_id=str(key.api_key_id),
            role=key.role.value,
            key_tenant_id=key.tenant_id,
            route=route,
            named_tenant_id=tenant_id,
            needed=needed,
        )
