"""What a failed refresh means for the connection: only a revoked grant may cost a person a click."""

from __future__ import annotations

from enum import StrEnum

from authpipe.domain.errors import ProviderError, ProviderRejected

#: Errors that mean "too fast": the request was turned away unread.
RATE_LIMITS = frozenset(
    {"rate_limit_exceeded", "rate_limited", "ratelimited", "slow_down", "too_many_requests"}
)

#: OAuth and provider errors that mean "later", whatever the HTTP status around them.
PASSING_ERRORS = RATE_LIMITS | {
    "fatal_error", "internal_error", "internal_server_error", "request_timeout", "server_error",
    "service_unavailable", "temporarily_unavailable",
}  # fmt: skip

_REVOKED = frozenset(
    {
        "account_inactive", "bad_refresh_token", "bad_verification_code", "consent_required",
        "expired_refresh_token", "expired_token", "interaction_required", "invalid_auth", "invalid_grant",
        "invalid_refresh_token", "invalid_token", "login_required", "refresh_token_expired",
        "token_expired", "token_revoked",
    }
)  # fmt: skip

_APP_WIDE = frozenset(
    {
        "application_suspended", "bad_client_secret", "client_not_found", "incorrect_client_credentials",
        "invalid_client", "invalid_client_id", "invalid_client_secret",
    }
)  # fmt: skip


class RefreshFailure(StrEnum):
    """Who has to act.

    ``revoked``: the user, by connecting again; final only after the stored refresh token was read again.
    ``app_wide``: the operator, once, on the provider config; no connection is condemned.
    ``misconfigured``: the operator; the provider refused the request as such, or for a reason that is not
    known to mean revocation.  ``transient``: nobody; try again later.
    """

    REVOKED = "revoked"
    APP_WIDE = "app_wide"
    MISCONFIGURED = "misconfigured"
    TRANSIENT = "transient"


def classify(error: ProviderError) -> RefreshFailure:
    """Read a refusal (RFC 6749 section 5.2).  What is not understood never condemns a connection."""
    if not isinstance(error, ProviderRejected):
        return RefreshFailure.TRANSIENT
    code = error.error.lower()
    if code in PASSING_ERRORS:
        return RefreshFailure.TRANSIENT
    if code in _REVOKED:
        return RefreshFailure.REVOKED
    if code in _APP_WIDE:
        return RefreshFailure.APP_WIDE
    return RefreshFailure.MISCONFIGURED
