"""What a failed refresh means for the connection."""

from __future__ import annotations

import pytest

from authpipe.domain.errors import ProviderError, ProviderRejected, ProviderUnavailable
from authpipe.net.egress import EgressRefused
from authpipe.oauth.failure import RefreshFailure, classify


def rejected(error: str) -> ProviderRejected:
    return ProviderRejected("refused", error=error, status=400)


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        ("invalid_grant", RefreshFailure.REVOKED),
        ("Invalid_Grant", RefreshFailure.REVOKED),
        ("bad_refresh_token", RefreshFailure.REVOKED),
        ("invalid_refresh_token", RefreshFailure.REVOKED),
        ("token_revoked", RefreshFailure.REVOKED),
        ("account_inactive", RefreshFailure.REVOKED),
        ("invalid_client", RefreshFailure.APP_WIDE),
        ("unauthorized_client", RefreshFailure.MISCONFIGURED),
        ("incorrect_client_credentials", RefreshFailure.APP_WIDE),
        ("bad_client_secret", RefreshFailure.APP_WIDE),
        ("invalid_scope", RefreshFailure.MISCONFIGURED),
        ("unsupported_grant_type", RefreshFailure.MISCONFIGURED),
        ("invalid_request", RefreshFailure.MISCONFIGURED),
        ("temporarily_unavailable", RefreshFailure.TRANSIENT),
        ("ratelimited", RefreshFailure.TRANSIENT),
    ],
)
def test_each_known_error_has_its_meaning(error: str, failure: RefreshFailure) -> None:
    """RFC 6749 section 5.2, and the words providers use instead."""
    assert classify(rejected(error)) is failure


@pytest.mark.parametrize(
    "error", ["http_400", "http_401", "http_403", "http_404", "190", "", "no such thing"]
)
def test_what_is_not_understood_condemns_no_connection(error: str) -> None:
    """A firewall's page is not a revocation."""
    assert classify(rejected(error)) is RefreshFailure.MISCONFIGURED


@pytest.mark.parametrize(
    "error",
    [
        ProviderUnavailable("down"),
        ProviderUnavailable("down", sent=False),
        EgressRefused("no"),
        ProviderError("?"),
    ],
)
def test_what_is_no_refusal_is_transient(error: ProviderError) -> None:
    """A name that resolves wrongly for a minute included."""
    assert classify(error) is RefreshFailure.TRANSIENT
