"""What the OpenAPI document says of answers that are problems, by the codes a resource may answer with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from authpipe.api.problem import CONTENT_TYPE, PROBLEMS

#: What any request may meet.
_ALWAYS = ("unauthenticated", "forbidden", "rate_limited", "internal", "unavailable")
_EXAMPLE_FIELDS: dict[str, dict[str, Any]] = {
    "invalid_input": {
        "field": "limit",
        "errors": [{"field": "limit", "message": "must be at most 200"}],
        "detail": "limit must be at most 200",
    },
    "reauthorization_required": {
        "reason": "revoked",
        "connection_id": "019e3564-2d40-7c11-9a9e-7f0f9a1b2c3d",
        "detail": "this connection must be authorized again (revoked)",
    },
    "ambiguous_connection": {
        "candidates": [
            {
                "connection_id": "019e3564-2d40-7c11-9a9e-7f0f9a1b2c3d",
                "label": "work",
                "account_name": "ada",
                "is_primary": False,
                "status": "active",
            },
            {
                "connection_id": "019e3564-2d41-7a20-8b6e-3c5d7e9f1a2b",
                "label": "private",
                "account_name": "ada.l",
                "is_primary": False,
                "status": "active",
            },
        ],
        "detail": "2 connections match: name one by label or installation_id, or mark one primary",
    },
    "forbidden": {"detail": "this API key's role is viewer; this needs the role server"},
    "rate_limited": {"retry_after_s": 1.0},
    "provider_unavailable": {"retry_after_s": 5.0},
    "unavailable": {"retry_after_s": 1},
    "idempotency_in_progress": {"retry_after_s": 1},
}


def problems(*codes: str, takes_input: bool = True) -> dict[int | str, dict[str, Any]]:
    """The ``responses`` of a route: each code under its status, with an example."""
    named = [*codes, *_ALWAYS]
    if takes_input:
        named.append("invalid_input")
    return _by_status(named)


def body_problems(*, takes_body: bool) -> dict[str, dict[str, Any]]:
    """What the edge says to a body, by status as text; to one that nobody asked for as well."""
    refused = ["payload_too_large", "unsupported_media_type"]
    if takes_body:
        refused.append("malformed_body")
    return {str(status): response for status, response in _by_status(refused).items()}


def _by_status(named: Sequence[str]) -> dict[int | str, dict[str, Any]]:
    responses: dict[int | str, dict[str, Any]] = {}
    for status in sorted({PROBLEMS[code].status for code in named}):
        at_status = [code for code in dict.fromkeys(named) if PROBLEMS[code].status == status]
        responses[status] = {
            "description": "; ".join(f"`{code}`: {PROBLEMS[code].title}" for code in at_status),
            "content": {
                CONTENT_TYPE: {
                    "schema": {"$ref": "#/components/schemas/Problem"},
                    "examples": {code: {"value": example(code)} for code in at_status},
                }
            },
        }
    return responses


def example(code: str) -> dict[str, Any]:
    """A problem document of that code."""
    status, title = PROBLEMS[code]
    fields = _EXAMPLE_FIELDS.get(code, {})
    return {
        "type": f"urn:authpipe:error:{code}",
        "title": title,
        "status": status,
        "detail": title,
        "code": code,
        "request_id": "019e3564-2d42-7001-8c55-0242ac120002",
        **fields,
    }


PROBLEM_SCHEMA: dict[str, Any] = {
    "title": "Problem",
    "type": "object",
    "description": (
        "An error (RFC 9457). `code` is stable and what a program should look at; `detail` is for people. "
        "Some codes add fields: `invalid_input` has `field` and `errors`, `reauthorization_required` has "
        "`reason` and the ids to reconnect, `ambiguous_connection` has `candidates`, transient ones have "
        "`retry_after_s`."
    ),
    "required": ["type", "title", "status", "detail", "code", "request_id"],
    "properties": {
        "type": {"type": "string", "description": "`urn:authpipe:error:` and the code."},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What happened and what would help."},
        "code": {"type": "string", "enum": sorted(PROBLEMS)},
        "request_id": {"type": "string", "description": "As in `X-Request-Id`; the log has it too."},
        "field": {"type": "string", "description": "The first field that is wrong."},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "message"],
                "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
            },
        },
        "reason": {"type": "string"},
        "connection_id": {"type": "string", "format": "uuid"},
        "installation_id": {"type": "string", "format": "uuid"},
        "candidates": {"type": "array", "items": {"type": "object"}},
        "retry_after_s": {"type": "number"},
    },
    "additionalProperties": True,
}
