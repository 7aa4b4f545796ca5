"""The read: which credential, is it good, and if not, make it good or say why that cannot be."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from authpipe.catalog.catalog import Catalog
from authpipe.catalog.definition import SideName
from authpipe.catalog.headers import credential_header
from authpipe.credentials.contexts import secret_context
from authpipe.credentials.lookup_lanes import LookupLanes
from authpipe.credentials.provider import app_credential_context
from authpipe.credentials.refresh_now import RefreshNow
from authpipe.credentials.resolve import Row, choose
from authpipe.credentials.schedule import refetch_at
from authpipe.domain.clock import Clock
from authpipe.domain.credential import CredentialFor, CredentialKind, UsableCredential
from authpipe.domain.errors import (
    Conflict,
    InvalidInput,
    NotConnected,
    ProviderUnavailable,
    ReauthorizationRequired,
)
from authpipe.domain.secret import Secret
from authpipe.store.database import Database
from authpipe.store.lookups import Lookup
from authpipe.telemetry import traces
from authpipe.telemetry.metrics import Metrics
from authpipe.vault.vault import Vault


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialRequest:
    """What a caller asks for, within one environment.

    ``credential_id`` takes this one and no other of those that match the rest.
    """

    provider: str
    tenant_id: str
    user_id: str | None = None
    credential_for: CredentialFor = CredentialFor.ANY
    installation_id: UUID | None = None
    label: str | None = None
    kind: CredentialKind | None = None
    credential_id: UUID | None = None


class CredentialReader:
    """Hands out credentials that work now, and nothing else.

    The common case is one SQL statement and one decryption.  An expired credential waits for the refresh
    all callers share; one that cannot be made to work is an error, never a stale answer.
    """

    def __init__(
        self,
        *,
        catalog: Catalog,
        database: Database,
        vault: Vault,
        refresh_now: RefreshNow,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._catalog = catalog
        self._lanes = LookupLanes(database)
        self._vault = vault
        self._refresh_now = refresh_now
        self._clock = clock
        self._metrics = metrics
        self._count_good = metrics.credential_reads.labels("ok")

    async def get(self, environment_id: UUID, request: CredentialRequest) -> UsableCredential:
        """The credential.

        Raises ``NotConnected``, ``AmbiguousConnection``, ``ReauthorizationRequired``,
        ``ProviderUnavailable``, ``InvalidInput`` (a user's credential without ``user_id``, where
        connections belong to users) and ``Conflict`` (the provider config is disabled).
        """
        try:
            with traces.span("credential.read", provider=request.provider):
                credential = await self._get(environment_id, request)
        except Exception as error:
            self._metrics.credential_reads.labels(getattr(error, "code", "error")).inc()
            raise
        self._count_good.inc()
        return credential

    async def _get(self, environment_id: UUID, request: CredentialRequest) -> UsableCredential:
        row = await self._find(environment_id, request)
        if row["expires_at"] is not None and row["expires_at"] <= self._clock.now():
            if not row["refreshable"] or row["refresh_due_at"] is None:
                raise _reauthorization(row, "expired")
            # Gone when the connection was ended, or made anew, meanwhile: looking again tells which.
            with contextlib.suppress(NotConnected):
                await self._refresh_now.beyond(
                    environment_id, request.tenant_id, row["credential_id"], version=row["version"]
                )
            row = await self._find(environment_id, request)
            if row["expires_at"] is not None and row["expires_at"] <= self._clock.now():
                raise ProviderUnavailable(
                    "the credential expired and cannot be refreshed now", retry_after_s=5
                )
        return await self._usable(environment_id, request, row)

    async def _find(self, environment_id: UUID, request: CredentialRequest) -> Row:
        rows = await self._lanes.find(
            Lookup(
                environment_id,
                request.tenant_id,
                request.provider,
                request.user_id,
                request.credential_for.value,
                request.installation_id,
                request.label,
                None if request.kind is None else request.kind.value,
            )
        )
        if request.credential_id is not None:
            rows = [row for row in rows if row["credential_id"] == request.credential_id]
            if not rows:
                raise NotConnected("the credential was replaced or removed meanwhile")
        if not rows:
            # An unknown provider is a clearer answer than "not connected".
            self._catalog.get(request.provider)
            if request.credential_for is CredentialFor.USER and request.user_id is None:
                raise InvalidInput("user_id is needed to choose a user's credential", field="user_id")
        if request.kind is not None:
            # Of the user's and the installation's, the one that has what was asked for.
            rows = [row for row in rows if row["credential_id"] is not None] or rows
        row = choose(rows, credential_for=request.credential_for, provider=request.provider)
        if not row["enabled"]:
            raise Conflict(
                f"the provider config for {request.provider} is disabled: enable it", code="provider_disabled"
            )
        if row["status"] != "active":
            raise _reauthorization(row, row["status_reason"] or row["status"])
        if row["credential_id"] is None:
            wanted = "credential" if request.kind is None else request.kind.value
            raise NotConnected(f"this {row['owner_kind']} has no {wanted}")
        return row

    async def _usable(self, environment_id: UUID, request: CredentialRequest, row: Row) -> UsableCredential:
        definition = self._catalog.get(request.provider)
        installation = row["owner_kind"] == "installation"
        side = definition.side(SideName.INSTALLATION if installation else SideName.CONNECTION)
        if side is None:
            raise NotConnected(f"{request.provider} has no {row['owner_kind']}s any more")
        kind = CredentialKind(row["kind"])
        secret = await self._secret(environment_id, request, row)
        facts: dict[str, Any] = row["facts"]
        if kind is CredentialKind.WEBHOOK_SECRET:
            # A webhook's address is the secret itself; there is no header to send it in.
            header: tuple[str, Secret] | None = None
        else:
            texts = {name: value for name, value in facts.items() if isinstance(value, str)}
            header = credential_header(side.header, secret, texts)
        return UsableCredential(
            credential_id=row["credential_id"],
            kind=kind,
            provider=request.provider,
            tenant_id=request.tenant_id,
            user_id=row["user_id"],
            connection_id=None if installation else row["owner_id"],
            installation_id=row["installation_id"],
            label=row["label"],
            secret=secret,
            header=header,
            expires_at=row["expires_at"],
            refetch_at=refetch_at(self._clock.now(), row["expires_at"], row["refresh_due_at"]),
            scopes=tuple(row["scopes"]),
            metadata={**row["metadata"], **facts},
            version=row["version"],
        )

    async def _secret(self, environment_id: UUID, request: CredentialRequest, row: Row) -> Secret:
        if row["source"] == "own":
            return await self._vault.decrypt(
                row["secret_ciphertext"],
                secret_context(environment_id, request.tenant_id, row["credential_id"]),
            )
        if row["app_credential_ciphertext"] is None:
            raise Conflict(
                f"the provider config for {request.provider} has no app credential: set app_credential",
                code="app_credential_missing",
            )
        return await self._vault.decrypt(
            row["app_credential_ciphertext"],
            app_credential_context(environment_id, row["provider_config_id"]),
        )


def _reauthorization(row: Row, reason: str) -> ReauthorizationRequired:
    installation = row["owner_kind"] == "installation"
    return ReauthorizationRequired(
        f"this {row['owner_kind']} must be authorized again ({reason})",
        reason=reason,
        connection_id=None if installation else str(row["owner_id"]),
        installation_id=str(row["installation_id"]) if row["installation_id"] else None,
    )
