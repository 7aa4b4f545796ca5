"""What the API tells of a connection's or installation's credentials, and refreshing the main one now."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from pydantic import ConfigDict

from authpipe.api import examples
from authpipe.api.fields import Answer
from authpipe.api.services import ApiServices
from authpipe.domain.connection import Connection, Installation
from authpipe.domain.credential import CredentialKind, StoredCredential
from authpipe.domain.errors import Conflict, ReauthorizationRequired
from authpipe.domain.event import Origin


class CredentialFacts(Answer):
    """What may be shown of a stored credential; its secret is only in `GET /v1/credentials`."""

    model_config = ConfigDict(json_schema_extra=examples.shown(examples.CREDENTIAL_FACTS))

    credential_id: UUID
    kind: CredentialKind
    expires_at: datetime | None
    refresh_due_at: datetime | None
    refreshed_at: datetime
    version: int


def facts_of(stored: StoredCredential) -> CredentialFacts:
    """The facts of one."""
    return CredentialFacts(
        credential_id=stored.credential_id,
        kind=stored.kind,
        expires_at=stored.expires_at,
        refresh_due_at=stored.refresh_due_at,
        refreshed_at=stored.issued_at,
        version=stored.version,
    )


def id_and_kind(owner: Connection | Installation) -> tuple[UUID, str]:
    """The owner's id, and the word for what it is."""
    if isinstance(owner, Connection):
        return owner.connection_id, "connection"
    return owner.installation_id, "installation"


async def credentials_of(
    services: ApiServices, owner: Connection | Installation
) -> tuple[StoredCredential, ...]:
    """The owner's credentials, the main one (what is not a webhook's) first."""
    owner_id, _ = id_and_kind(owner)
    async with services.database.tenant(owner.environment_id, owner.tenant_id) as transaction:
        owned = await transaction.credentials.owned(owner.environment_id, owner.tenant_id, owner_id)
    return tuple(sorted(owned, key=lambda stored: stored.kind is CredentialKind.WEBHOOK_SECRET))


async def refresh(services: ApiServices, owner: Connection | Installation, *, origin: Origin) -> None:
    """Have the main credential refreshed, whatever its due time, together with whoever asks as well.

    Raises ``Conflict`` (``not_refreshable``), ``ReauthorizationRequired`` and ``ProviderUnavailable``.
    """
    _, kind = id_and_kind(owner)
    if owner.status.value in ("revoked", "deleted"):
        raise Conflict(f"the {kind} has ended", code=f"{kind}_ended")
    if owner.status.value != "active":
        raise must_reauthorize(owner)
    main = next(
        (
            stored
            for stored in await credentials_of(services, owner)
            if stored.kind is not CredentialKind.WEBHOOK_SECRET
        ),
        None,
    )
    if main is None or main.refresh_due_at is None:
        raise Conflict(
            f"this {kind}'s credential does not expire or cannot be refreshed", code="not_refreshable"
        )
    await services.refresh_now.demanded(main, origin=origin)


def must_reauthorize(owner: Connection | Installation) -> ReauthorizationRequired:
    """The error that says a person must authorize again, and which object to reconnect."""
    owner_id, kind = id_and_kind(owner)
    reason = owner.status_reason or owner.status.value
    return ReauthorizationRequired(
        f"this {kind} must be authorized again ({reason})",
        reason=reason,
        connection_id=str(owner_id) if kind == "connection" else None,
        installation_id=str(owner_id) if kind == "installation" else None,
    )
