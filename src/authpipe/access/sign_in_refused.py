"""Why somebody is not signed in."""

from __future__ import annotations

from enum import StrEnum

from authpipe.domain.errors import AuthpipeError


class SignInReason(StrEnum):
    """The rule that refused.  The words stand in pages, events and logs."""

    WRONG = "sign_in_wrong"
    LIMITED = "sign_in_limited"
    BUSY = "sign_in_busy"
    NOT_SIGNED_IN = "not_signed_in"
    INVITATION_UNKNOWN = "invitation_unknown"
    STALE = "sign_in_stale"
    MALFORMED = "sign_in_malformed"
    OTHER_ISSUER = "sign_in_other_issuer"
    DENIED = "sign_in_denied"
    PROVIDER_FAILED = "sign_in_provider_failed"
    ID_TOKEN_REFUSED = "id_token_refused"
    EMAIL_UNVERIFIED = "email_unverified"
    OPERATOR_UNKNOWN = "operator_unknown"


class SignInRefused(AuthpipeError):
    """A sign-in cannot go on; ``code`` is the reason's word."""

    def __init__(self, reason: SignInReason, message: str, *, detail: str | None = None) -> None:
        super().__init__(message, detail=detail)
        self.reason = reason
        self.code = reason.value  # type: ignore[misc]  # one class, one stable code per reason
