"""``GET /v1/credentials``: the call applications make all day, without a framework in its way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from starlette.types import Receive, Scope, Send

from authpipe.api import examples
from authpipe.api.caller import Caller
from authpipe.api.documented import problems
from authpipe.api.fields import OPAQUE_ID
from authpipe.api.read_notes import ReadNotes
from authpipe.api.rules import EXTENSION, AccessRule, Reach
from authpipe.api.services import ApiServices
from authpipe.api.validation import shown_name
from authpipe.credentials.serve import CredentialRequest
from authpipe.domain.access import ApiKeyRole
from authpipe.domain.credential import CredentialFor, CredentialKind, UsableCredential
from authpipe.domain.errors import AuthpipeError, InvalidInput
from authpipe.domain.identifiers import check_opaque_id, parse_id

PATH = "/v1/credentials"

_PARAMETERS = frozenset(
    {"provider", "tenant_id", "user_id", "credential_for", "installation_id", "label", "kind"}
)
RULE = AccessRule(ApiKeyRole.SERVER, Reach.TENANT)
_LONGEST_LABEL = 100
_encode = msgspec.json.Encoder().encode


class CredentialRead:
    """An ASGI application for one route, behind :data:`RULE`; errors are raised to the application around."""

    def __init__(self, services: ApiServices) -> None:
        self._services = services
        self._notes = ReadNotes(services.credential_reads)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        caller: Caller = scope["state"]["caller"]
        request = read_request(scope["query_string"])
        # Also keeps names no provider can have away from the database.
        self._services.catalog.get(request.provider)
        caller.confine(request.tenant_id)
        try:
            credential = await self._services.credential_reader.get(caller.environment_id, request)
        except AuthpipeError as error:
            self._notes.refused(caller, request, error)
            raise
        self._notes.given(caller, credential)
        body = _encode(document(credential))
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [
                    (b"content-type", b"application/json"),
                    (b"content-length", str(len(body)).encode()),
                    (b"cache-control", b"no-store"),
                ],
            }
        )
        await send({"type": "http.response.body", "body": body})


def read_request(query: bytes) -> CredentialRequest:
    """What is asked for.  Raises ``InvalidInput`` naming the parameter, never repeating its value."""
    given: dict[str, str] = {}
    for name, value in _pairs(query.decode("latin-1")):
        if name not in _PARAMETERS:
            raise InvalidInput(f"{shown_name(name)} is not a known parameter", field=shown_name(name))
        if name in given:
            raise InvalidInput(f"{name} is given twice", field=name)
        # Taken as left out, an id that is empty by mistake would find somebody else's credential.
        if not value:
            raise InvalidInput(f"{name} is empty: leave it out", field=name)
        given[name] = value
    for name in ("provider", "tenant_id"):
        if name not in given:
            raise InvalidInput(f"{name} is required", field=name)
    user_id, label = given.get("user_id"), given.get("label")
    installation_id, kind = given.get("installation_id"), given.get("kind")
    if label is not None and (len(label) > _LONGEST_LABEL or not label.isprintable()):
        raise InvalidInput(f"label must be at most {_LONGEST_LABEL} printable characters", field="label")
    return CredentialRequest(
        provider=given["provider"],
        tenant_id=check_opaque_id(given["tenant_id"], field="tenant_id"),
        user_id=None if user_id is None else check_opaque_id(user_id, field="user_id"),
        credential_for=_FOR[_known(given.get("credential_for", "any"), _FOR, "credential_for")],
        installation_id=None
        if installation_id is None
        else parse_id(installation_id, field="installation_id"),
        label=label,
        kind=None if kind is None else _KINDS[_known(kind, _KINDS, "kind")],
    )


def _pairs(query: str) -> list[tuple[str, str]]:
    if "%" in query or "+" in query:
        return parse_qsl(query, keep_blank_values=True)
    # Nothing is encoded: the same in a third of the time.
    parts = [part.partition("=") for part in query.split("&") if part]
    return [(name, value) for name, _, value in parts]


def document(credential: UsableCredential) -> dict[str, Any]:
    """The answer.  Here, and in the header beside it, the secret leaves the process."""
    header = credential.header
    return {
        "object": "credential",
        "credential_id": credential.credential_id,
        "kind": credential.kind.value,
        "provider": credential.provider,
        "tenant_id": credential.tenant_id,
        "user_id": credential.user_id,
        "connection_id": credential.connection_id,
        "installation_id": credential.installation_id,
        "label": credential.label,
        "credential": credential.secret.reveal(),
        "headers": {} if header is None else {header[0]: header[1].reveal()},
        "expires_at": credential.expires_at,
        "refetch_at": credential.refetch_at,
        "scopes": credential.scopes,
        "metadata": credential.metadata,
        "version": credential.version,
    }


_FOR: Mapping[str, CredentialFor] = {member.value: member for member in CredentialFor}
_KINDS: Mapping[str, CredentialKind] = {member.value: member for member in CredentialKind}


def _known(value: str, members: Mapping[str, object], field: str) -> str:
    if value not in members:
        raise InvalidInput(f"{field} must be one of {', '.join(members)}", field=field)
    return value


def _parameter(name: str, text: str, *, required: bool = False, **schema: Any) -> dict[str, Any]:
    return {
        "name": name,
        "in": "query",
        "required": required,
        "description": text,
        "schema": {"type": "string", **schema},
    }


def _nullable(**schema: Any) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


#: The answer's schema in the OpenAPI document.
CREDENTIAL_SCHEMA: dict[str, Any] = {
    "title": "CredentialObject",
    "type": "object",
    "description": "A credential that works now, with the request headers to send it in.",
    "required": [
        "object", "credential_id", "kind", "provider", "tenant_id", "user_id", "connection_id",
        "installation_id", "label", "credential", "headers", "expires_at", "refetch_at", "scopes", "metadata",
        "version",
    ],
    "properties": {
        "object": {"const": "credential"},
        "credential_id": {"type": "string", "format": "uuid"},
        "kind": {"type": "string", "enum": list(_KINDS)},
        "provider": {"type": "string"},
        "tenant_id": {"type": "string"},
        "user_id": _nullable(type="string"),
        "connection_id": _nullable(type="string", format="uuid"),
        "installation_id": _nullable(type="string", format="uuid"),
        "label": _nullable(type="string"),
        "credential": {"type": "string", "description": "The secret."},
        "headers": {
            "type": "object",
            "additionalProperties": {"type": "string"},
            "description": "What to add to a request; empty for a secret that travels in no header.",
        },
        "expires_at": {**_nullable(type="string", format="date-time"), "description": "Null: it does not."},
        "refetch_at": {
            **_nullable(type="string", format="date-time"),
            "description": "When a cache should ask again in the background, always before `expires_at`.",
        },
        "scopes": {"type": "array", "items": {"type": "string"}},
        "metadata": {"type": "object", "description": "What the provider told, and the key's open parts."},
        "version": {"type": "integer", "description": "Grows with every refresh."},
    },
    "examples": [examples.CREDENTIAL],
}  # fmt: skip

#: The operation in the OpenAPI document.
OPERATION: dict[str, Any] = {
    "tags": ["Credentials"],
    "summary": "Get a credential that works now",
    "description": (
        "One that has expired is refreshed first, in one provider call for all who wait. What cannot be made "
        "to work is an error, never a stale answer."
    ),
    "operationId": "get_credential",
    EXTENSION: RULE.told(),
    "parameters": [
        _parameter("provider", "The provider's id.", required=True, minLength=1),
        _parameter("tenant_id", "The tenant's id.", required=True, pattern=OPAQUE_ID),
        _parameter("user_id", "The user's id; needed to find a user's own credential.", pattern=OPAQUE_ID),
        _parameter(
            "credential_for",
            "`any` prefers the user's own credential and falls back to the installation's.",
            enum=list(_FOR),
            default="any",
        ),
        _parameter("installation_id", "Which installation, where there are several.", format="uuid"),
        _parameter(
            "label",
            "Which connection or installation, where there are several.",
            minLength=1,
            maxLength=_LONGEST_LABEL,
        ),
        _parameter("kind", "Another credential than the main one, such as a webhook's.", enum=list(_KINDS)),
    ],
    "responses": {
        "200": {
            "description": "The credential",
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/CredentialObject"}}},
        },
        **{
            str(status): response
            for status, response in problems(
                "not_connected",
                "not_found",
                "ambiguous_connection",
                "reauthorization_required",
                "provider_disabled",
                "tenant_erasing",
                "app_credential_missing",
                "provider_unavailable",
            ).items()
        },
    },
}
