"""A grant whose credentials are encrypted, on its way into the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from authpipe.catalog.definition import SideName
from authpipe.connect.grant import AccountGrant
from authpipe.credentials.grants import Grant, Granting
from authpipe.credentials.provider import Provider
from authpipe.domain.credential import CredentialSource, OwnerKind, StoredCredential
from authpipe.domain.errors import ConnectError
from authpipe.domain.identifiers import new_id
from authpipe.store.transaction import Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a grant goes.  ``reconnect_id`` names the object to repair, which keeps its id."""

    tenant_id: str
    user_id: str | None
    label: str | None = None
    installation_id: UUID | None = None
    reconnect_id: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedGrant:
    """A grant whose credentials are encrypted and wait for their owner."""

    grant: AccountGrant
    credentials: Sequence[tuple[StoredCredential, dict[str, object]]]


class Sealing:
    """Encrypts grants.  It comes before the transaction, because encrypting may need a connection."""

    def __init__(self, granting: Granting) -> None:
        self._granting = granting

    async def seal(
        self, provider: Provider, side_name: SideName, grant: AccountGrant, *, tenant_id: str
    ) -> SealedGrant:
        """Encrypt every secret of the grant for this tenant."""
        side = provider.side(side_name)
        own = side.source is CredentialSource.OWN
        parts = [
            Grant(
                kind=side.credential,
                secret=grant.secret if own else None,
                refresh_token=grant.refresh_token if own else None,
                scopes=grant.scopes,
                facts=grant.facts,
                expires_at=grant.expires_at if own else None,
                refresh_expires_at=grant.refresh_expires_at if own else None,
                refresh=side.refresh,
            ),
            *(Grant(kind=extra.kind, secret=extra.secret, facts=extra.facts) for extra in grant.extras),
        ]
        owner_kind = OwnerKind(side_name.value)
        placeless = new_id()
        return SealedGrant(
            grant=grant,
            credentials=[
                (
                    await self._granting.credential(
                        part,
                        config=provider.config,
                        tenant_id=tenant_id,
                        owner_kind=owner_kind,
                        owner_id=placeless,
                        issued_at=grant.issued_at,
                    ),
                    dict(part.facts),
                )
                for part in parts
            ],
        )


async def store_credentials(
    transaction: Transaction, sealed: SealedGrant, tenant_id: str, owner_id: UUID
) -> None:
    """Give the credentials their owner and put them in place of its earlier ones of the same kinds."""
    for credential, facts in sealed.credentials:
        # Only what is replaced: a webhook made by an earlier installation goes on working.
        await transaction.credentials.destroy_kind(
            credential.environment_id, tenant_id, owner_id, credential.kind
        )
        await transaction.credentials.put(replace(credential, owner_id=owner_id), facts=facts)


def mismatch(provider: Provider) -> ConnectError:
    """The account is not the one whose connection or installation was to be repaired."""
    return ConnectError(
        f"This is another {provider.definition.name} account than the one to be repaired.",
        code="account_mismatch",
    )
