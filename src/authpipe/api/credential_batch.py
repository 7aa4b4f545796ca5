"""``POST /v1/credentials/batch``: many credentials at once, for filling a cache."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

import msgspec
from fastapi import APIRouter, Response
from pydantic import ConfigDict, Field

from authpipe.api import examples
from authpipe.api.caller import Caller, CallerDep, ServicesDep
from authpipe.api.credential_read import document
from authpipe.api.documented import PROBLEM_SCHEMA, problems
from authpipe.api.failures import known_answer, unexpected_answer
from authpipe.api.fields import Body, Line, OpaqueId, Token
from authpipe.api.read_notes import ReadNotes
from authpipe.api.rules import Reach, rule
from authpipe.api.services import ApiServices
from authpipe.credentials.batch import read_batch
from authpipe.credentials.serve import CredentialRequest
from authpipe.domain.access import ApiKeyRole
from authpipe.domain.credential import CredentialFor, CredentialKind, UsableCredential
from authpipe.domain.errors import AuthpipeError
from authpipe.store.database import is_outage

router = APIRouter(prefix="/v1/credentials", tags=["Credentials"])

MOST = 100
_encode = msgspec.json.Encoder().encode


class WantedCredential(Body):
    """What `GET /v1/credentials` takes as parameters."""

    provider: Token
    tenant_id: OpaqueId
    user_id: OpaqueId | None = None
    credential_for: CredentialFor = CredentialFor.ANY
    installation_id: UUID | None = None
    label: Line | None = None
    kind: CredentialKind | None = None


class CredentialBatch(Body):
    """The credentials that are wanted."""

    model_config = ConfigDict(json_schema_extra=examples.shown(examples.CREDENTIAL_BATCH))

    credentials: Annotated[list[WantedCredential], Field(min_length=1, max_length=MOST)]


#: The answer's schemas in the OpenAPI document.
SCHEMAS: dict[str, Any] = {
    "CredentialBatchObject": {
        "title": "CredentialBatchObject",
        "type": "object",
        "description": "For each credential that was wanted, in that order, itself or why there is none.",
        "required": ["object", "data"],
        "properties": {
            "object": {"const": "list"},
            "data": {
                "type": "array",
                "items": {
                    "anyOf": [
                        {"$ref": "#/components/schemas/CredentialObject"},
                        {"$ref": "#/components/schemas/CredentialErrorObject"},
                    ]
                },
            },
        },
        "examples": [examples.CREDENTIAL_BATCH_ANSWER],
    },
    "CredentialErrorObject": {
        **PROBLEM_SCHEMA,
        "title": "CredentialErrorObject",
        "description": "The problem document that the single read would have been answered with.",
        "required": ["object", *PROBLEM_SCHEMA["required"]],
        "properties": {"object": {"const": "error"}, **PROBLEM_SCHEMA["properties"]},
    },
}


@router.post(
    "/batch",
    operation_id="get_credentials",
    responses={
        200: {
            "description": "The credentials",
            "content": {
                "application/json": {"schema": {"$ref": "#/components/schemas/CredentialBatchObject"}}
            },
        },
        **problems(),
    },
    **rule(ApiKeyRole.SERVER, Reach.TENANT),
)
async def get_credentials(body: CredentialBatch, caller: CallerDep, services: ServicesDep) -> Response:
    """Get up to 100 credentials that work now; one that cannot be had is an error in its place.

    Those that have expired are refreshed first, a few at a time. What takes longer than 25 s altogether is
    answered with `provider_unavailable` in its place.
    """
    requests = [CredentialRequest(**dict(wanted)) for wanted in body.credentials]
    results: list[UsableCredential | Exception | None] = [
        _refusal(each, caller, services) for each in requests
    ]
    open_ones = [number for number, refusal in enumerate(results) if refusal is None]
    read = await read_batch(
        services.credential_reader, caller.environment_id, [requests[number] for number in open_ones]
    )
    for number, result in zip(open_ones, read, strict=True):
        results[number] = result
    for outcome in read:
        if isinstance(outcome, Exception) and is_outage(outcome):
            raise outcome
    notes = ReadNotes(services.credential_reads)
    told = [_told(*each, caller, notes) for each in zip(requests, results, strict=True)]
    return Response(_encode({"object": "list", "data": told}), media_type="application/json")


def _refusal(request: CredentialRequest, caller: Caller, services: ApiServices) -> AuthpipeError | None:
    try:
        services.catalog.get(request.provider)
        caller.confine(request.tenant_id)
    except AuthpipeError as error:
        return error
    return None


def _told(
    request: CredentialRequest,
    result: UsableCredential | Exception | None,
    caller: Caller,
    notes: ReadNotes,
) -> dict[str, Any]:
    if isinstance(result, UsableCredential):
        notes.given(caller, result)
        return document(result)
    if isinstance(result, AuthpipeError):
        # What names no provider asks for no credential there could be; a refused key is on record as such.
        if result.code not in ("not_found", "forbidden"):
            notes.refused(caller, request, result)
        answer = known_answer(result, caller.origin.request_id)
    else:
        answer = unexpected_answer(result or LookupError(), caller.origin.request_id)
    return {"object": "error", **msgspec.json.decode(answer.body)}
