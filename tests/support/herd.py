"""Thousands of credentials in the database at once, each with tokens of its own at the simulator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import asyncpg

from authpipe.catalog.definition import RefreshPolicy
from authpipe.credentials.grants import Grant, Granting
from authpipe.domain.credential import CredentialKind, OwnerKind, StoredCredential
from authpipe.domain.identifiers import new_id
from authpipe.domain.provider_config import ProviderConfig
from authpipe.domain.secret import Secret
from support.postgres import Dsns
from support.scene import Scene

_CONNECTIONS = (
    "environment_id", "tenant_id", "connection_id", "user_id", "provider_config_id", "provider", "status",
    "account_id", "scopes", "metadata", "created_at", "updated_at",
)  # fmt: skip
_CREDENTIALS = (
    "environment_id", "tenant_id", "credential_id", "owner_kind", "owner_id", "provider_config_id",
    "provider", "kind", "source", "secret_ciphertext", "refresh_ciphertext", "scopes", "expires_at",
    "refresh_due_at", "issued_at", "updated_at",
)  # fmt: skip


async def add_herd(
    scene: Scene,
    dsns: Dsns,
    config: ProviderConfig,
    count: int,
    *,
    lifetime: timedelta,
    due_at: Callable[[int], datetime] | None = None,
) -> list[StoredCredential]:
    """Connections of so many users, with tokens issued now, due when the schedule or ``due_at`` says."""
    granting, now, made = Granting(scene.vault), scene.clock.now(), []
    for number in range(count):
        issued = scene.issue(config.provider, lifetime=lifetime)
        assert issued.refresh_token is not None
        credential = await granting.credential(
            Grant(
                kind=CredentialKind.OAUTH_TOKEN,
                secret=Secret(issued.access_token),
                refresh_token=Secret(issued.refresh_token),
                scopes=("identify",),
                facts={},
                expires_at=now + lifetime,
                refresh=RefreshPolicy.ROTATING,
            ),
            config=config,
            tenant_id=scene.tenant_id,
            owner_kind=OwnerKind.CONNECTION,
            owner_id=new_id(),
            issued_at=now,
        )
        made.append((credential, credential.refresh_due_at if due_at is None else due_at(number)))
    await _store(dsns, made)
    return [credential for credential, _ in made]


async def _store(dsns: Dsns, made: Sequence[tuple[StoredCredential, datetime | None]]) -> None:
    superuser = await asyncpg.connect(dsns.superuser)
    try:
        await superuser.set_type_codec(
            "jsonb",
            encoder=lambda value: b"\x01" + value.encode(),
            decoder=lambda value: value[1:].decode(),
            schema="pg_catalog",
            format="binary",
        )
        await superuser.copy_records_to_table(
            "connections",
            records=[
                (
                    each.environment_id, each.tenant_id, each.owner_id, f"herd_{each.owner_id}",
                    each.provider_config_id, each.provider, "active", each.owner_id.hex, ["identify"], "{}",
                    each.issued_at, each.issued_at,
                )
                for each, _ in made
            ],
            columns=_CONNECTIONS,
        )  # fmt: skip
        await superuser.copy_records_to_table(
            "credentials",
            records=[
                (
                    each.environment_id, each.tenant_id, each.credential_id, each.owner_kind.value,
                    each.owner_id, each.provider_config_id, each.provider, each.kind.value,
                    each.source.value, each.secret_ciphertext, each.refresh_ciphertext, list(each.scopes),
                    each.expires_at, due_at, each.issued_at, each.updated_at,
                )
                for each, due_at in made
            ],
            columns=_CREDENTIALS,
        )  # fmt: skip
    finally:
        await superuser.close()
