"""``POST /v1/credentials``: storing a key or a webhook secret the application already holds."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter
from pydantic import ConfigDict, Discriminator, Field, Tag

from authpipe.api import examples, owned
from authpipe.api.caller import CallerDep, ServicesDep
from authpipe.api.connections import ConnectionObject, connection_object
from authpipe.api.documented import problems
from authpipe.api.fields import Answer, Body, Line, OpaqueId, SecretText, Token
from authpipe.api.installations import InstallationObject, found_installation, installation_object
from authpipe.api.rules import Reach, rule
from authpipe.api.validation import ALTERNATIVE
from authpipe.domain.access import ApiKeyRole
from authpipe.domain.credential import CredentialKind
from authpipe.domain.errors import InvalidInput

router = APIRouter(prefix="/v1/credentials", tags=["Credentials"])

_KEY = f"{ALTERNATIVE}key"
_WEBHOOK_SECRET = f"{ALTERNATIVE}webhook_secret"


class StoreKey(Body):
    """A customer's key, for providers that are connected with one.  It is tried before it is kept."""

    model_config = ConfigDict(json_schema_extra=examples.shown(examples.STORE_KEY))

    provider: Token
    tenant_id: OpaqueId
    user_id: OpaqueId | None = Field(None, description="Needed where connections belong to users.")
    label: Line | None = None
    fields: Annotated[dict[Token, SecretText], Field(max_length=20)] = Field(
        description="By the names of the definition's `key_fields`."
    )


class StoreWebhookSecret(Body):
    """A webhook's address or secret, kept beside an installation in place of an earlier one."""

    model_config = ConfigDict(json_schema_extra=examples.shown(examples.STORE_WEBHOOK_SECRET))

    installation_id: UUID
    kind: Literal[CredentialKind.WEBHOOK_SECRET]
    secret: SecretText


class StoredCredentialObject(Answer):
    """Where the secret went; it does not come back."""

    model_config = ConfigDict(json_schema_extra=examples.shown(examples.STORED_KEY))

    object: Literal["stored_credential"] = "stored_credential"
    credential_id: UUID
    kind: CredentialKind
    connection: ConnectionObject | None
    installation: InstallationObject | None


def _alternative(body: Any) -> str:
    meant = isinstance(body, dict) and ({"installation_id", "secret"} & body.keys() or "kind" in body)
    return _WEBHOOK_SECRET if meant else _KEY


StoreCredential = Annotated[
    Annotated[StoreKey, Tag(_KEY)] | Annotated[StoreWebhookSecret, Tag(_WEBHOOK_SECRET)],
    Discriminator(_alternative),
]


def _in_body(error: InvalidInput, body: StoreKey) -> InvalidInput:
    """The same, with a part of the key under its place in the body: a form knows it by its name alone."""
    if error.field is None or error.field in StoreKey.model_fields:
        return error
    return InvalidInput(error.message, field=f"fields.{error.field}")


@router.post(
    "",
    status_code=201,
    operation_id="store_credential",
    responses=problems(
        "not_found",
        "provider_disabled",
        "unsupported_kind",
        "connection_exists",
        "installation_ended",
        "tenant_erasing",
        "provider_unavailable",
        "idempotency_in_progress",
        "idempotency_key_reused",
    ),
    **rule(ApiKeyRole.SERVER, Reach.TENANT),
)
async def store_credential(
    body: StoreCredential, caller: CallerDep, services: ServicesDep
) -> StoredCredentialObject:
    """Store a secret the application already holds, without a browser.

    A key makes the tenant's (or user's) connection, or replaces the key of the one there is.
    """
    if isinstance(body, StoreWebhookSecret):
        await found_installation(services, caller, body.installation_id)
        installation = await services.direct_storage.webhook_secret(
            caller.environment_id, body.installation_id, body.secret, origin=caller.origin
        )
        stored = [
            each
            for each in await owned.credentials_of(services, installation)
            if each.kind is CredentialKind.WEBHOOK_SECRET
        ]
        return StoredCredentialObject(
            credential_id=stored[0].credential_id,
            kind=stored[0].kind,
            connection=None,
            installation=installation_object(installation),
        )
    caller.confine(body.tenant_id)
    try:
        connection = await services.direct_storage.key(
            caller.environment_id,
            provider=body.provider,
            tenant_id=body.tenant_id,
            user_id=body.user_id,
            label=body.label,
            fields=body.fields,
            origin=caller.origin,
        )
    except InvalidInput as error:
        raise _in_body(error, body) from None
    main = (await owned.credentials_of(services, connection))[0]
    return StoredCredentialObject(
        credential_id=main.credential_id,
        kind=main.kind,
        connection=connection_object(connection),
        installation=None,
    )
