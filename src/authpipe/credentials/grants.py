"""Turns what a provider granted into credential rows, encrypted and with their due times."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from authpipe.catalog.definition import RefreshPolicy
from authpipe.credentials.contexts import refresh_context, secret_context
from authpipe.credentials.schedule import refresh_due_at
from authpipe.domain.credential import CredentialKind, CredentialSource, OwnerKind, StoredCredential
from authpipe.domain.identifiers import new_id
from authpipe.domain.provider_config import ProviderConfig
from authpipe.domain.secret import Secret
from authpipe.vault.vault import Vault


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """A credential to be: the secrets in memory and everything else about it.

    ``secret`` None means the secret is the provider config's.  ``facts`` are the non-secret parts, such as
    the user name of a two-part credential.
    """

    kind: CredentialKind
    secret: Secret | None
    refresh_token: Secret | None = None
    scopes: tuple[str, ...] = ()
    facts: Mapping[str, Any]
    expires_at: datetime | None = None
    refresh_expires_at: datetime | None = None
    refresh: RefreshPolicy = RefreshPolicy.NONE


class Granting:
    """Encrypts grants.  Call it before opening a transaction: encrypting may need a connection of its own."""

    def __init__(self, vault: Vault, spread: random.Random | None = None) -> None:
        self._vault = vault
        self._spread = spread or random.SystemRandom()

    async def credential(
        self,
        grant: Grant,
        *,
        config: ProviderConfig,
        tenant_id: str,
        owner_kind: OwnerKind,
        owner_id: UUID,
        issued_at: datetime,
    ) -> StoredCredential:
        """The row for a grant, under a new id."""
        credential_id = new_id()
        environment_id = config.environment_id
        secret = refresh = None
        if grant.secret is not None:
            secret = await self._vault.encrypt(
                grant.secret, secret_context(environment_id, tenant_id, credential_id)
            )
        if grant.refresh_token is not None:
            refresh = await self._vault.encrypt(
                grant.refresh_token, refresh_context(environment_id, tenant_id, credential_id)
            )
        due = None
        if grant.expires_at is not None and refresh is not None and grant.refresh is not RefreshPolicy.NONE:
            due = refresh_due_at(issued_at, grant.expires_at, spread=self._spread)
        return StoredCredential(
            credential_id=credential_id,
            environment_id=environment_id,
            tenant_id=tenant_id,
            owner_kind=owner_kind,
            owner_id=owner_id,
            provider_config_id=config.provider_config_id,
            provider=config.provider,
            kind=grant.kind,
            source=CredentialSource.OWN if secret is not None else CredentialSource.PROVIDER_CONFIG,
            secret_ciphertext=secret,
            refresh_ciphertext=refresh,
            scopes=grant.scopes,
            expires_at=grant.expires_at,
            refresh_due_at=due,
            refresh_expires_at=grant.refresh_expires_at,
            version=1,
            lease=None,
            lease_until=None,
            outcome_unknown=False,
            refresh_failures=0,
            issued_at=issued_at,
            updated_at=issued_at,
        )
