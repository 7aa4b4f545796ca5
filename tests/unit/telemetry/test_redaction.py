"""Taking secrets out of text and values."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authpipe.domain.secret import Secret
from authpipe.telemetry.redaction import names_a_secret, redact, redact_shapes, redact_value


@given(st.text(), st.text(min_size=4), st.text())
def test_a_given_secret_is_gone_wherever_it_stood(before: str, secret: str, after: str) -> None:
    """Unless the mask itself is part of it."""
    if not set(secret) - set("*"):
        return
    if any("\ud800" <= character <= "\udfff" for character in before + secret + after):
        return
    assert secret not in redact(before + secret + after, [Secret(secret)]).replace("***", "")


def test_a_secret_is_found_in_the_forms_it_travels_in() -> None:
    """Percent-encoded, as a form, inside JSON."""
    secret = Secret('a b/"+\u00e9-canary')
    text = 'a b/"+é-canary a%20b%2F%22%2B%C3%A9-canary a+b%2F%22%2B%C3%A9-canary a b/\\"+\\u00e9-canary'
    assert redact(text, [secret]) == "*** *** *** ***"


def test_a_secret_that_contains_another_is_masked_whole() -> None:
    """Longest first."""
    assert redact("x canary-long y canary", [Secret("canary"), Secret("canary-long")]) == "x *** y ***"


def test_a_very_short_secret_does_not_shred_the_text() -> None:
    """Three characters stand everywhere."""
    assert redact("an example", [Secret("a"), Secret(""), Secret("exa")]) == "an example"


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("Authorization: Bearer canary-abc", "Authorization: Bearer ***"),
        ("sent 'bearer canaryxyz' to", "sent 'bearer ***' to"),
        ("Basic Y2FuYXJ5OnBhc3M=", "Basic ***"),
        ("Bot MTk4Ni.canary.x", "Bot ***"),
        ("key apk_canary12345 was", "key apk_*** was"),
        ("xoxb-1-canary-2 and xapp-1-canary", "xoxb-*** and xapp-***"),
        ("ghp_canary123 ghs_canary123 github_pat_canary1", "ghp_*** ghs_*** github_pat_***"),
        ("eyJhbGciOi.eyJzdWIi.c2ln", "***"),
        ("GET /oauth/callback?code=canary&state=canary HTTP/1.1", "GET /oauth/callback?*** HTTP/1.1"),
        ("https://provider.example/x?clientSecret=canary.", "https://provider.example/x?***"),
        ("URL('https://provider.example?code=canary')", "URL('https://provider.example?***')"),
        ("postgresql://app:canary@db.example/x", "postgresql://***@db.example/x"),
        ("{'access_token': 'canary', 'a': 1}", "{'access_token': '***', 'a': 1}"),
        ('{"refresh_token":"canary"}', '{"refresh_token":"***"}'),
        ("client_secret=canary&x=1", "client_secret=***&x=1"),
        ("password: canary", "password: ***"),
        ("token 6qrZcUqja7812RVdnEKjpzOL4CvHBFG", "token ***"),
        ("got 6qrZcUqja7812RVdnEKjpzOL4CvHBFG back", "got *** back"),
    ],
)
def test_what_looks_like_a_credential_is_masked(text: str, cleaned: str) -> None:
    """By its prefix, its place or its looks."""
    assert redact_shapes(text) == cleaned


@pytest.mark.parametrize(
    "text",
    [
        "refreshed connection 0199a3c4-5d6e-7f80-9123-456789abcdef of org_acme in 12 ms",
        'File "/app/src/authpipe/oauth/token.py", line 12, in read_token_response',
        "the provider refused: invalid_grant",
        "token endpoint answered 503",
        "expires at 2026-01-02T03:04:05+00:00",
        "Secret(***)",
        "what now?",
    ],
)
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    """Logs are for reading."""
    assert redact_shapes(text) == text


@pytest.mark.parametrize(
    "key",
    [
        "token",
        "access_token",
        "refreshToken",
        "X-Api-Key",
        "api_key",
        "Authorization",
        "client_secret",
        "password",
        "code",
        "state",
        "code_verifier",
        "Cookie",
        "Set-Cookie",
        "browser_cookie",
        "webhook-signature",
        "kek",
    ],
)
def test_a_name_of_a_secret_is_known(key: str) -> None:
    """In every spelling."""
    assert names_a_secret(key)


@pytest.mark.parametrize(
    "key",
    [
        "token_type",
        "token_url",
        "credential_id",
        "status_code",
        "error_code",
        "statement",
        "provider",
        "event",
        "secret_count",
        "token_expires_at",
        "connection_id",
        "credential_for",
        "encoded",
    ],
)
def test_a_fact_about_a_secret_is_no_secret(key: str) -> None:
    """Its type, its end, its number."""
    assert not names_a_secret(key)


class Colour(StrEnum):
    RED = "red"


@dataclass
class Carrier:
    name: str
    secret: Secret
    hidden: str = field(repr=False, default="canary")


def test_a_value_becomes_plain_data_without_secrets() -> None:
    """Containers are walked, other objects become text."""
    value = {
        "access_token": "canary",
        "list": [Secret("canary"), "Bearer canary-1", {"code": "canary", "count": 3}],
        "carrier": Carrier("x", Secret("canary")),
        "error": ValueError("password=canary"),
        "bytes": b"canary",
        "object": type("Odd", (), {"__repr__": lambda self: "<Odd token=canary>"})(),
        "when": datetime(2026, 1, 2, tzinfo=UTC),
        "id": UUID(int=1),
        "path": Path("/x"),
        "enum": Colour.RED,
        "none": None,
        "password": 1234,
    }
    plain = redact_value("value", value)
    text = json.dumps(plain)
    assert "canary" not in text
    assert "1234" not in text
    assert isinstance(plain, dict)
    assert plain["list"][2] == {"code": "***", "count": 3}
    assert plain["carrier"] == {"name": "x", "secret": "***"}
    assert (plain["enum"], plain["path"], plain["none"]) == ("red", "/x", None)


def test_a_value_without_end_comes_to_one() -> None:
    """A list that contains itself."""
    loop: list[object] = []
    loop.append(loop)
    json.dumps(redact_value("loop", loop))
