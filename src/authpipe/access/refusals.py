"""What was refused to whom, counted and logged: the evidence of keys that are tried where they may not."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from authpipe.domain.environment import ApiKey
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
    """Counts every refusal by its reason, and logs those of good keys with the key's id."""

    metrics: Metrics

    def count(self, reason: Refusal) -> None:
        """Count a request that was refused."""
        self.metrics.refused_requests.labels(reason.value).inc()

    def of_good_key(self, key: ApiKey, reason: Refusal, **told: str) -> None:
        """Count and log the use of a good key where it may not be used."""
        self.count(reason)
        _log.warning(
            "an API key was refused",
            reason=reason.value,
            environment_id=str(key.environment_id),
            api_key_id=str(key.api_key_id),
            role=key.role.value,
            key_tenant_id=key.tenant_id,
            **told,
        )
