"""Tells the audit what a credential read came to, for the caller whose request it was."""

from __future__ import annotations

from dataclasses import dataclass

from authpipe.api.caller import Caller
from authpipe.credentials.serve import CredentialRequest
from authpipe.domain.credential import OwnerKind, UsableCredential
from authpipe.domain.errors import AuthpipeError, ReauthorizationRequired
from authpipe.domain.event import Outcome
from authpipe.events.credential_reads import CredentialReads


@dataclass(frozen=True, slots=True)
class ReadNotes:
    """Neither waits nor raises; what it is told becomes an event within about a second."""

    reads: CredentialReads

    def given(self, caller: Caller, credential: UsableCredential) -> None:
        """This credential is about to leave the process."""
        connected = credential.connection_id is not None
        self.reads.note(
            caller.environment_id,
            tenant_id=credential.tenant_id,
            provider=credential.provider,
            credential_id=credential.credential_id,
            owner_kind=OwnerKind.CONNECTION.value if connected else OwnerKind.INSTALLATION.value,
            owner_id=credential.connection_id if connected else credential.installation_id,
            user_id=credential.user_id,
            kind=credential.kind.value,
            origin=caller.origin,
            outcome=Outcome.SUCCESS,
            code=None,
        )

    def refused(self, caller: Caller, request: CredentialRequest, error: AuthpipeError) -> None:
        """Nothing was handed out, to a key that may ask."""
        owner_kind: str | None = None
        owner_id: str | None = None
        if isinstance(error, ReauthorizationRequired):
            if error.connection_id is not None:
                owner_kind, owner_id = OwnerKind.CONNECTION.value, error.connection_id
            else:
                owner_kind, owner_id = OwnerKind.INSTALLATION.value, error.installation_id
        self.reads.note(
            caller.environment_id,
            tenant_id=request.tenant_id,
            provider=request.provider,
            credential_id=None,
            owner_kind=owner_kind,
            owner_id=owner_id,
            user_id=request.user_id,
            kind=None if request.kind is None else request.kind.value,
            origin=caller.origin,
            outcome=Outcome.FAILURE,
            code=error.code,
        )
