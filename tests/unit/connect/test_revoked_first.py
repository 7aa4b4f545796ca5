"""Which of a grant's tokens a revocation names."""

from __future__ import annotations

from authpipe.catalog.loader import load_catalog
from authpipe.credentials.upstream import Held
from authpipe.domain.secret import Secret

CONNECTION = load_catalog().get("discord").connection


def test_the_refresh_token_is_named_where_there_is_one() -> None:
    """It is what lives on; the access token ends with it (RFC 7009 section 2.1)."""
    assert CONNECTION is not None
    held = Held(secret=Secret("access"), refresh_token=Secret("refresh"))
    assert held.values(CONNECTION)["refresh_token"] == Secret("refresh")


def test_without_a_refresh_token_the_access_token_is_named() -> None:
    """A grant that cannot be refreshed is ended all the same."""
    assert CONNECTION is not None
    assert Held(secret=Secret("access")).values(CONNECTION)["refresh_token"] == Secret("access")
