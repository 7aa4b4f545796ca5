"""``POST /v1/credentials/{credential_id}/rejected``: a provider answered 401 to a credential."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import msgspec
from fastapi import APIRouter, Response
from pydantic import ConfigDict, Field

from authpipe.api import examples
from authpipe.api.caller import CallerDep, ServicesDep
from authpipe.api.credential_read import document
from authpipe.api.documented import problems
from authpipe.api.fields import WHOLE, Body, OpaqueId
from authpipe.api.read_notes import ReadNotes
from authpipe.api.rules import Reach, rule
from authpipe.domain.access import ApiKeyRole
from authpipe.domain.errors import AuthpipeError

router = APIRouter(prefix="/v1/credentials", tags=["Credentials"])

_encode = msgspec.json.Encoder().encode


class RejectedCredential(Body):
    """Which credential it was, as it was handed out."""

    model_config = ConfigDict(json_schema_extra=examples.shown(examples.REJECTED))

    tenant_id: OpaqueId
    version: Annotated[int, Field(strict=True, ge=1, le=2**63 - 1), WHOLE]


@router.post(
    "/{credential_id}/rejected",
    operation_id="report_rejected_credential",
    responses={
        200: {
            "description": "The credential that works now",
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/CredentialObject"}}},
        },
        **problems(
            "not_connected",
            "not_found",
            "reauthorization_required",
            "provider_disabled",
            "provider_config_refused",
            "nothing_to_check",
            "tenant_erasing",
            "app_credential_missing",
            "provider_unavailable",
        ),
    },
    **rule(ApiKeyRole.SERVER, Reach.TENANT),
)
async def report_rejected_credential(
    credential_id: UUID, body: RejectedCredential, caller: CallerDep, services: ServicesDep
) -> Response:
    """Tell that the provider answered 401 to a credential, and get one that works.

    A later version than the reported one is returned at once. Otherwise the credential is refreshed, or,
    where it cannot be, tried at the provider, once for all who report it. The same version comes back when
    the provider says that it is good; it is not asked again for 30 seconds then.
    """
    notes = ReadNotes(services.credential_reads)
    caller.confine(body.tenant_id)
    reported = await services.rejected_reports.find(caller.environment_id, body.tenant_id, credential_id)
    try:
        credential = await services.rejected_reports.settle(reported, version=body.version)
    except AuthpipeError as error:
        notes.refused(caller, reported.request, error)
        raise
    notes.given(caller, credential)
    return Response(_encode(document(credential)), media_type="application/json")
