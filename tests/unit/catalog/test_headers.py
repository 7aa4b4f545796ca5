"""A credential travels in the header its definition describes."""

from __future__ import annotations

import base64

import pytest

from authpipe.catalog.definition import HeaderFormat
from authpipe.catalog.headers import credential_header
from authpipe.catalog.loader import load_catalog
from authpipe.domain.errors import ConfigurationError, InvalidInput
from authpipe.domain.secret import Secret

BASIC = HeaderFormat(value="Basic {basic}", basic="{username}:{secret}")


@pytest.mark.parametrize(
    ("provider", "side", "expected"),
    [
        ("discord", "connection", "Bearer s3cret"),
        ("discord", "installation", "Bot s3cret"),
        ("aircall", "installation", "Bearer s3cret"),
        ("dialpad", "connection", "Bearer s3cret"),
        ("drift", "installation", "Bearer s3cret"),
        ("clicksend", "connection", "Basic " + base64.b64encode(b"ada:s3cret").decode()),
    ],
)
def test_each_provider_has_its_header(provider: str, side: str, expected: str) -> None:
    """The value is what the provider documents."""
    header = getattr(load_catalog().get(provider), side).header
    assert credential_header(header, Secret("s3cret"), {"username": "ada"}) == (
        "Authorization",
        Secret(expected),
    )


def test_basic_is_base64_of_utf_8() -> None:
    """RFC 7617 section 2.1."""
    _, value = credential_header(BASIC, Secret("pä:ss"), {"username": "ünal"})
    assert base64.b64decode(value.reveal().removeprefix("Basic ")).decode() == "ünal:pä:ss"


def test_a_user_name_with_a_colon_is_refused_by_name() -> None:
    """The receiver would take its second half for the password."""
    with pytest.raises(InvalidInput) as caught:
        credential_header(BASIC, Secret("s3cret"), {"username": "a:b"})
    assert caught.value.field == "username"


def test_a_missing_user_name_is_named() -> None:
    """The error says which fact was needed."""
    with pytest.raises(ConfigurationError, match=r"\{username\}"):
        credential_header(BASIC, Secret("s3cret"), {})


@pytest.mark.parametrize("secret", ["canary\r\nX-Admin: 1", "canary\n", "canary\x00", "canary\x7f"])
def test_a_secret_that_would_end_the_header_is_refused_unseen(secret: str) -> None:
    """The message does not repeat it."""
    with pytest.raises(InvalidInput) as caught:
        credential_header(HeaderFormat(), Secret(secret), {})
    assert "canary" not in str(caught.value)


def test_a_fact_named_secret_does_not_replace_the_secret() -> None:
    """Facts are what a person typed; they never win over the credential."""
    assert credential_header(HeaderFormat(), Secret("right"), {"secret": "wrong"})[1] == Secret(
        "Bearer right"
    )
