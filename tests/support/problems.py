"""What a problem document must be, whichever route it came from."""

from __future__ import annotations

from typing import Any

import httpx2


def is_problem(answer: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    """The problem document of an answer that must be one."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    document = answer.json()
    assert (answer.status_code, document["code"], document["status"]) == (status, code, status), document
    assert document["type"] == f"urn:authpipe:error:{code}"
    assert document["title"]
    assert document["detail"]
    assert document["request_id"] == answer.headers["x-request-id"]
    return dict(document)


def is_invalid(answer: httpx2.Response, field: str) -> str:
    """The detail of a 422 that names this field."""
    document = is_problem(answer, 422, "invalid_input")
    assert document["field"] == field, document
    return str(document["detail"])
