"""The table of errors: complete, and careful with what it tells."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import authpipe
from authpipe.api import problem
from authpipe.api.documented import example, problems
from authpipe.domain.errors import (
    AuthpipeError,
    Conflict,
    ConnectError,
    InvalidInput,
    ProviderUnavailable,
    ReauthorizationRequired,
    Unauthenticated,
    VaultError,
)

SOURCE = Path(authpipe.__file__).parent
#: Pages make their own answers.
ROOMS = ("access", "api", "connect", "credentials", "domain", "net", "vault")


def test_every_code_the_server_raises_is_in_the_table() -> None:
    """No error falls back to a guess."""
    raised = set()
    for room in ROOMS:
        for path in (SOURCE / room).rglob("*.py"):
            raised |= set(re.findall(r'\bcode(?:: ClassVar\[str\])? ?= ?"([a-z_]+)"', path.read_text()))
    assert len(raised) > 30
    assert raised - set(problem.PROBLEMS) == set()


def test_a_problem_has_the_message_and_never_the_detail() -> None:
    """The private detail stays inside."""
    answer = problem.answer(ConnectError("It is over.", code="session_expired", detail="CANARY"), "r1")
    assert answer.status == 410
    assert json.loads(answer.body) == {
        "type": "urn:authpipe:error:session_expired",
        "title": "The connect session expired",
        "status": 410,
        "detail": "It is over.",
        "code": "session_expired",
        "request_id": "r1",
    }


def test_public_fields_stand_beside_the_rest_and_replace_nothing() -> None:
    """What an error adds is kept; the fixed members are not its to change."""

    class Sly(AuthpipeError):
        def public_fields(self) -> dict[str, object]:
            return {"code": "other", "status": 200, "reason": "x"}

    told = json.loads(problem.answer(Sly("m"), None).body)
    assert (told["code"], told["status"], told["reason"]) == ("internal", 500, "x")


@pytest.mark.parametrize(
    ("error", "status", "field", "value"),
    [
        (InvalidInput("no", field="limit"), 422, "field", "limit"),
        (InvalidInput("no", field="limit"), 422, "errors", [{"field": "limit", "message": "no"}]),
        (ReauthorizationRequired("no", reason="revoked", connection_id="c"), 409, "reason", "revoked"),
        (ProviderUnavailable("no", retry_after_s=2.5), 503, "retry_after_s", 2.5),
        (Conflict("no", code="never_heard_of"), 409, "code", "never_heard_of"),
        (ConnectError("no", code="never_heard_of"), 400, "code", "never_heard_of"),
        (VaultError("no"), 500, "code", "vault_error"),
    ],
)
def test_errors_become_what_the_contract_says(
    error: AuthpipeError, status: int, field: str, value: object
) -> None:
    """Status and fields by code."""
    answer = problem.answer(error, "r")
    assert answer.status == status
    assert json.loads(answer.body)[field] == value


def test_waiting_is_told_in_whole_seconds_and_never_none() -> None:
    """RFC 9110 section 10.2.3 takes no fraction."""
    for wait, header in ((2.5, b"3"), (0.1, b"1"), (0, b"1")):
        headers = dict(problem.answer(ProviderUnavailable("no", retry_after_s=wait), "r").headers)
        assert headers[b"retry-after"] == header
    assert b"retry-after" not in dict(problem.answer(ProviderUnavailable("no"), "r").headers)


def test_a_missing_key_is_asked_for() -> None:
    """RFC 9110 section 11.6.1 wants a challenge with every 401."""
    assert dict(problem.answer(Unauthenticated("no"), "r").headers)[b"www-authenticate"] == b"Bearer"


def test_examples_are_of_their_status() -> None:
    """What the documentation shows under a status has that status."""
    for status, response in problems(*problem.PROBLEMS).items():
        for shown in response["content"][problem.CONTENT_TYPE]["examples"].values():
            assert shown["value"]["status"] == status
            assert shown["value"]["code"] in problem.PROBLEMS
    assert example("not_found")["title"] == "Not found"
