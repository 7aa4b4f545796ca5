"""KEK URIs: what is understood, what is refused, and that no refusal repeats a PIN."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authpipe.domain.errors import ConfigurationError
from authpipe.domain.secret import Secret
from authpipe.vault.keks.aws_kms_uri import AwsKmsUri
from authpipe.vault.keks.pkcs11_uri import Pkcs11Uri, shown
from authpipe.vault.keks.uri import open_keks, shown_uri

PIN = "7351-canary"
ARN = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
MODULE = "module-path=/usr/lib/hsm.so"


@pytest.mark.parametrize(
    ("rest", "key", "region", "endpoint_url"),
    [
        pytest.param(ARN, ARN, "eu-central-1", None, id="an ARN knows its region"),
        pytest.param(f"{ARN}?region=eu-central-1", ARN, "eu-central-1", None, id="and may be told it"),
        pytest.param("alias/authpipe", "alias/authpipe", None, None, id="an alias"),
        pytest.param("alias/a/b?region=us-east-1", "alias/a/b", "us-east-1", None, id="with its region"),
        pytest.param("mrk-0123456789abcdef", "mrk-0123456789abcdef", None, None, id="a multi-Region key"),
        pytest.param(
            "alias/authpipe?endpoint_url=https%3A%2F%2Fkms.example%2Fpath&region=x",
            "alias/authpipe",
            "x",
            "https://kms.example/path",
            id="an endpoint",
        ),
        pytest.param(
            "alias/a?endpoint_url=http://127.0.0.1:5000", "alias/a", None, "http://127.0.0.1:5000", id="here"
        ),
        pytest.param(
            ARN.replace("aws:kms", "aws-us-gov:kms"),
            ARN.replace("aws:kms", "aws-us-gov:kms"),
            "eu-central-1",
            None,
            id="another partition",
        ),
    ],
)
def test_an_aws_kms_uri_names_key_region_and_endpoint(
    rest: str, key: str, region: str | None, endpoint_url: str | None
) -> None:
    """In every form KMS itself takes a key id."""
    uri = AwsKmsUri.parse(rest, production=True)
    assert (uri.key, uri.region, uri.endpoint_url) == (key, region, endpoint_url)
    assert uri.text == f"aws-kms:{rest}"


@pytest.mark.parametrize(
    ("rest", "told"),
    [
        pytest.param("", "names no key", id="nothing"),
        pytest.param("alias/", "names no key", id="an alias without a name"),
        pytest.param(f"arn:aws:s3:::{PIN}", "names no key", id="an ARN of something else"),
        pytest.param(f"//{PIN}", "names no key", id="an authority"),
        pytest.param(f"{ARN}?{PIN}", "takes, once each: region, endpoint_url", id="no parameter"),
        pytest.param(f"{ARN}?pin={PIN}", "takes, once each: region, endpoint_url", id="a foreign one"),
        pytest.param(f"{ARN}?region=a&region=b", "takes, once each", id="twice"),
        pytest.param(f"{ARN}?region=us-east-1", "is in eu-central-1 and not", id="two regions"),
        pytest.param(f"{ARN}?endpoint_url=kms.example", "must be http", id="a bare host"),
        pytest.param(f"{ARN}?endpoint_url=https://u:{PIN}@kms.example", "without a user", id="a password"),
        pytest.param(f"{ARN}?endpoint_url=https://x:99999", "must be http", id="no port"),
        pytest.param(f"{ARN}?endpoint_url=http://kms.example", "must begin with https", id="plain HTTP"),
    ],
)
def test_an_aws_kms_uri_that_is_not_understood_is_refused(rest: str, told: str) -> None:
    """What it takes is said, what was given is not."""
    with pytest.raises(ConfigurationError, match=told) as caught:
        open_keks([f"aws-kms:{rest}"], production=True)
    assert PIN not in str(caught.value)


def test_a_pkcs11_uri_names_key_token_library_and_pin() -> None:
    """With every value percent-decoded (RFC 7512 section 2.3), and the PIN masked in what is shown."""
    rest = f"token=auth%20pipe;serial=1a;object=k%3Bek;id=%01%ff;type=secret-key?{MODULE}&pin-value={PIN}%25"
    uri = Pkcs11Uri.parse(rest, production=True)
    assert uri.token == (("token", "auth pipe"), ("serial", "1a"))
    assert (uri.label, uri.key_id) == ("k;ek", b"\x01\xff")
    assert uri.module_path == Path("/usr/lib/hsm.so")
    assert uri.pin == Secret(f"{PIN}%")
    assert uri.text == f"pkcs11:{rest.partition('&')[0]}&pin-value=***"
    assert PIN not in repr(uri)


@pytest.mark.parametrize(
    ("rest", "told"),
    [
        pytest.param("", "must say which token", id="nothing"),
        pytest.param(f"object=kek?{MODULE}&pin-value={PIN}", "must say which token", id="no token"),
        pytest.param(f"token=t?{MODULE}&pin-value={PIN}", "which key of it", id="no key"),
        pytest.param(f"token=t;object=k?pin-value={PIN}", "needs module-path=", id="no library"),
        pytest.param(
            f"token=t;object=k?module-path=hsm.so&pin-value={PIN}", "needs module-path=", id="a relative one"
        ),
        pytest.param(f"token=t;object=k?{MODULE}", "needs either pin-source=", id="no PIN"),
        pytest.param(
            f"token=t;object=k?{MODULE}&pin-value={PIN}&pin-source=file:/p", "needs either", id="two PINs"
        ),
        pytest.param(f"token=t;object=k?{MODULE}&pin-source=pin", "needs an absolute path", id="no file"),
        pytest.param(
            f"token=t;object=k?{MODULE}&pin-source=|{PIN}", "needs an absolute path", id="a command"
        ),
        pytest.param(f"token=t;object=k;type=private?{MODULE}&pin-value={PIN}", "secret key", id="a type"),
        pytest.param(f"token=t;object=k;{PIN}?{MODULE}", "unknown, empty or given twice", id="no attribute"),
        pytest.param(
            f"token=t;object=k;x={PIN}?{MODULE}", "unknown, empty or given twice", id="an unknown one"
        ),
        pytest.param(f"token=t;token=u;object={PIN}?{MODULE}", "given twice", id="twice"),
        pytest.param(f"token=;object={PIN}?{MODULE}", "unknown, empty or", id="an empty one"),
        pytest.param(f"token=t;object=k?{MODULE}&{PIN}", "unknown, empty or", id="a PIN without a name"),
        pytest.param(f"token=t;object=k?{MODULE}&pin={PIN}", "unknown, empty or", id="a PIN of another name"),
    ],
)
def test_a_pkcs11_uri_that_is_not_understood_is_refused(rest: str, told: str) -> None:
    """One that means more than we check might mean another key; the PIN is not repeated."""
    with pytest.raises(ConfigurationError, match=told) as caught:
        open_keks([f"pkcs11:{rest}"], production=True)
    assert PIN not in f"{caught.value!r}{caught.value.__context__!r}"


@given(before=st.text(st.characters(exclude_characters="?&")), after=st.text())
def test_a_pkcs11_uri_is_shown_without_its_pin(before: str, after: str) -> None:
    """Also one that would not be opened, and wherever the PIN stands in it."""
    assert PIN not in shown(f"token=t;object={before}?pin-value={PIN}&{after}")
    assert PIN not in shown(f"token=t?module-path={before}&pin-value={PIN}")


@pytest.mark.parametrize(
    ("uri", "text"),
    [
        pytest.param("local:/etc/kek", "local:/etc/kek", id="a path"),
        pytest.param(f"aws-kms:{ARN}", f"aws-kms:{ARN}", id="an ARN"),
        pytest.param(f"pkcs11:token=t?pin-value={PIN}", "pkcs11:token=t?pin-value=***", id="a PIN"),
        pytest.param(f"vault:{PIN}", "vault:***", id="a scheme nobody knows"),
        pytest.param(f"{PIN}", "***", id="no scheme"),
    ],
)
def test_what_is_shown_of_a_uri(uri: str, text: str) -> None:
    """Everything but what is or may be secret."""
    assert shown_uri(uri) == text
