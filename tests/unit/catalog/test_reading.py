"""How each provider's answers to a probe are read."""

from __future__ import annotations

import json

import pytest

from authpipe.catalog.definition import Probe, ProbeRule, Reading, RequestTemplate
from authpipe.catalog.loader import load_catalog
from authpipe.catalog.reading import read_probe
from authpipe.net.message import Response

CATALOG = load_catalog()

#: provider, place of the probe, status, body, what it says
ANSWERS = [
    ("discord", "connection", 200, {"user": {"id": "1"}}, "alive"),
    ("discord", "connection", 401, {"code": 0, "message": "401: Unauthorized"}, "dead"),
    ("discord", "connection", 401, {"code": 50025}, "dead"),
    ("discord", "connection", 403, {"code": 50013}, "limited"),
    ("discord", "connection", 403, {"code": 50026}, "limited"),
    ("discord", "connection", 403, {"code": 40333}, "transient"),
    ("discord", "connection", 429, {"retry_after": 1.5}, "transient"),
    ("discord", "connection", 502, b"<html>bad gateway</html>", "transient"),
    ("discord", "installation", 200, {"id": "1"}, "alive"),
    ("discord", "installation", 401, {"code": 0}, "app_wide"),
    ("discord", "installation", 403, {"code": 50001, "message": "Missing Access"}, "dead"),
    ("discord", "installation", 404, {"code": 10004, "message": "Unknown Guild"}, "dead"),
    ("discord", "installation", 404, {"code": 0, "message": "404: Not Found"}, "transient"),
    ("discord", "installation", 404, b"<html>not found</html>", "transient"),
    ("discord", "installation", 403, {"code": 40333}, "transient"),
    ("discord", "installation", 403, {"code": 50013}, "limited"),
    ("discord", "installation", 403, {"code": 50026}, "limited"),
    ("discord", "installation", 429, {}, "transient"),
    ("discord", "installation", 503, b"", "transient"),
    ("discord", "app_credential", 200, {"id": "1"}, "alive"),
    ("discord", "app_credential", 401, {"code": 0}, "app_wide"),
    ("discord", "app_credential", 403, {"code": 40333}, "transient"),
    ("discord", "app_credential", 500, b"", "transient"),
    ("aircall", "installation", 200, {"integration": {"company_id": 1, "active": True}}, "alive"),
    ("aircall", "installation", 200, {"integration": {"company_id": 1, "active": False}}, "limited"),
    ("aircall", "installation", 401, {"message": "Unauthorized"}, "dead"),
    ("aircall", "installation", 403, {"message": "Forbidden"}, "dead"),
    ("aircall", "installation", 429, {}, "transient"),
    ("aircall", "installation", 500, {}, "transient"),
    ("clicksend", "connection", 200, {"http_code": 200, "data": {"user_id": 1}}, "alive"),
    ("clicksend", "connection", 401, {"http_code": 401}, "dead"),
    ("clicksend", "connection", 403, {"http_code": 403}, "limited"),
    ("clicksend", "connection", 429, {"http_code": 429}, "transient"),
    ("clicksend", "connection", 500, {"http_code": 500}, "transient"),
    ("dialpad", "connection", 200, {"id": 1}, "alive"),
    ("dialpad", "connection", 401, {"error": "x"}, "dead"),
    ("dialpad", "connection", 403, {"error": "x"}, "limited"),
    ("dialpad", "connection", 429, {}, "transient"),
    ("dialpad", "connection", 503, {}, "transient"),
    ("drift", "installation", 200, {"authenticated_userid": "orgId:1"}, "alive"),
    ("drift", "installation", 401, {}, "dead"),
    ("drift", "installation", 403, {}, "limited"),
    ("drift", "installation", 429, {}, "transient"),
    ("drift", "installation", 500, {}, "transient"),
]


def answer(status: int, body: object) -> Response:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Response(status=status, headers={}, body=raw)


def probe(*rules: ProbeRule) -> Probe:
    return Probe(request=RequestTemplate(method="GET", url="https://x.test/"), rules=rules)


@pytest.mark.parametrize(("provider", "place", "status", "body", "reading"), ANSWERS)
def test_an_answer_of_a_provider_is_read(
    provider: str, place: str, status: int, body: object, reading: str
) -> None:
    """Dead, limited, transient and app-wide failures are told apart as the provider documents them."""
    rules = getattr(CATALOG.get(provider), place).probe
    assert read_probe(rules, answer(status, body)).reading == reading


@pytest.mark.parametrize(
    ("status", "reading", "reason"),
    [
        (200, "alive", "ok"),
        (204, "alive", "ok"),
        (302, "transient", "unexpected_status"),
        (400, "transient", "unexpected_status"),
        (401, "dead", "credential_refused"),
        (403, "limited", "permission_missing"),
        (404, "transient", "unexpected_status"),
        (429, "transient", "rate_limited"),
        (500, "transient", "provider_error"),
        (599, "transient", "provider_error"),
    ],
)
def test_without_rules_the_status_decides(status: int, reading: str, reason: str) -> None:
    """The defaults condemn nothing but a 401."""
    result = read_probe(probe(), answer(status, b""))
    assert (result.reading, result.reason) == (reading, reason)


def test_the_first_matching_rule_wins() -> None:
    """Rules stand in the order of their importance."""
    first = ProbeRule(status=(403,), path="code", values=("1",), reading=Reading.DEAD, reason="first")
    second = ProbeRule(status=(403,), reading=Reading.ALIVE, reason="second")
    assert read_probe(probe(first, second), answer(403, {"code": 1})).reason == "first"
    assert read_probe(probe(first, second), answer(403, {"code": 2})).reason == "second"


@pytest.mark.parametrize(
    ("value", "text"), [("gone", "gone"), (1, "1"), (True, "true"), (False, "false"), (1.5, "1.5")]
)
def test_a_value_is_compared_as_json_text(value: object, text: str) -> None:
    """Numbers and booleans match what a definition writes for them."""
    rule = ProbeRule(status=(200,), path="a.0.b", values=(text,), reading=Reading.DEAD, reason="seen")
    assert read_probe(probe(rule), answer(200, {"a": [{"b": value}]})).reason == "seen"


@pytest.mark.parametrize("value", [None, {}, [], "other"])
def test_what_is_not_the_value_does_not_match(value: object) -> None:
    """A table, a list or nothing at all is no value."""
    rule = ProbeRule(status=(200,), path="a", values=("x", "None", "{}"), reading=Reading.DEAD, reason="seen")
    assert read_probe(probe(rule), answer(200, {"a": value})).reason == "ok"


@pytest.mark.parametrize(
    "body",
    [b"", b"\xff\xfe\xfd", b"{", b"[" * 100_000, b"null"],
    ids=lambda body: repr(body[:4]),
)
def test_a_body_that_is_no_json_is_no_document(body: bytes) -> None:
    """Malformed, deeply nested and absurd bodies are read by their status alone."""
    rule = ProbeRule(status=(401,), path="code", values=("1",), reading=Reading.ALIVE, reason="seen")
    result = read_probe(probe(rule), answer(401, body))
    assert (result.reading, result.document) == (Reading.DEAD, None)


def test_the_document_stays_out_of_the_repr() -> None:
    """It may hold personal data."""
    result = read_probe(probe(), answer(200, {"email": "ada@example.test"}))
    assert result.document == {"email": "ada@example.test"}
    assert "ada" not in repr(result)
