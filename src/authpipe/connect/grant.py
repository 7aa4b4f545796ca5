"""What a provider granted, in memory, and its encrypted form while it is a candidate."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from authpipe.credentials.upstream import Held
from authpipe.domain.connect_session import Candidate
from authpipe.domain.credential import CredentialKind
from authpipe.domain.secret import Secret
from authpipe.vault.context import EncryptionContext


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtraSecret:
    """A further credential the same answer held, such as a webhook."""

    kind: CredentialKind
    secret: Secret
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountGrant:
    """Secrets, and whose they are.

    ``account_id`` is the provider's id of the account or, for an installation, of the workspace.
    ``facts`` are the non-secret parts of the credential, ``metadata`` what the provider told of the account.
    """

    secret: Secret
    refresh_token: Secret | None
    extras: tuple[ExtraSecret, ...]
    account_id: str
    account_name: str | None
    metadata: Mapping[str, Any]
    facts: Mapping[str, Any] = field(default_factory=dict)
    scopes: tuple[str, ...]
    issued_at: datetime
    expires_at: datetime | None
    refresh_expires_at: datetime | None

    def held(self, *, installation: bool) -> Held:
        """The grant as its requests need it."""
        return Held(
            secret=self.secret,
            refresh_token=self.refresh_token,
            external_id=self.account_id if installation else None,
            account_id=None if installation else self.account_id,
            facts=self.facts,
        )


def grant_context(environment_id: UUID, tenant_id: str, candidate_id: UUID) -> EncryptionContext:
    """Where a candidate's secrets belong."""
    return EncryptionContext(
        environment_id=environment_id, tenant_id=tenant_id, row_id=candidate_id, field="grant"
    )


def secrets_of(grant: AccountGrant) -> Secret:
    """Every secret of a grant as one, to be encrypted at once."""
    return Secret(
        json.dumps(
            {
                "secret": grant.secret.reveal(),
                "refresh_token": None if grant.refresh_token is None else grant.refresh_token.reveal(),
                "extras": [extra.secret.reveal() for extra in grant.extras],
            }
        )
    )


def account_of(grant: AccountGrant) -> dict[str, Any]:
    """Everything of a grant that is not secret, as JSON."""

    def time(value: datetime | None) -> str | None:
        return None if value is None else value.isoformat()

    return {
        "id": grant.account_id,
        "name": grant.account_name,
        "metadata": dict(grant.metadata),
        "facts": dict(grant.facts),
        "scopes": list(grant.scopes),
        "extras": [{"kind": extra.kind.value, "facts": dict(extra.facts)} for extra in grant.extras],
        "issued_at": time(grant.issued_at),
        "expires_at": time(grant.expires_at),
        "refresh_expires_at": time(grant.refresh_expires_at),
    }


def restore(candidate: Candidate, secrets: Secret) -> AccountGrant:
    """The grant of a candidate whose secrets were decrypted."""
    account = candidate.account
    opened = json.loads(secrets.reveal())

    def time(name: str) -> datetime | None:
        return None if account[name] is None else datetime.fromisoformat(account[name])

    return AccountGrant(
        secret=Secret(opened["secret"]),
        refresh_token=None if opened["refresh_token"] is None else Secret(opened["refresh_token"]),
        extras=tuple(
            ExtraSecret(kind=CredentialKind(told["kind"]), secret=Secret(secret), facts=told["facts"])
            for told, secret in zip(account["extras"], opened["extras"], strict=True)
        ),
        account_id=account["id"],
        account_name=account["name"],
        metadata=account["metadata"],
        facts=account["facts"],
        scopes=tuple(account["scopes"]),
        issued_at=time("issued_at") or candidate.created_at,
        expires_at=time("expires_at"),
        refresh_expires_at=time("refresh_expires_at"),
    )
