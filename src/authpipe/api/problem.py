"""The one table from error codes to HTTP, and the problem documents made of it (RFC 9457)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from authpipe.domain.errors import AuthpipeError, Conflict, ConnectError

CONTENT_TYPE = "application/problem+json"


class Problem(NamedTuple):
    """How one code looks over HTTP."""

    status: int
    title: str


#: Every code an answer of ours may carry.
PROBLEMS: Mapping[str, Problem] = {
    # The request itself.
    "invalid_input": Problem(422, "The request is not valid"),
    "malformed_body": Problem(400, "The body is not JSON"),
    "malformed_request": Problem(400, "The request cannot be read"),
    "not_found": Problem(404, "Not found"),
    "method_not_allowed": Problem(405, "This address does not take this method"),
    "payload_too_large": Problem(413, "The body is too large"),
    "unsupported_media_type": Problem(415, "The body must be JSON"),
    # Who is asking.
    "unauthenticated": Problem(401, "A valid API key is needed"),
    "forbidden": Problem(403, "This API key may not do that"),
    "rate_limited": Problem(429, "Too many requests"),
    # Retried requests.
    "idempotency_key_reused": Problem(422, "The Idempotency-Key was used for another request"),
    "idempotency_in_progress": Problem(409, "The first request with this Idempotency-Key is still running"),
    # What is stored says otherwise.
    "conflict": Problem(409, "The request contradicts what is stored"),
    "tenant_erasing": Problem(409, "The tenant is being erased"),
    "version_conflict": Problem(409, "Somebody else changed it meanwhile"),
    "in_use": Problem(409, "Something stands on it"),
    "api_key_ended": Problem(409, "The API key has ended"),
    "api_key_replaced": Problem(409, "The API key was replaced before"),
    "environment_exists": Problem(409, "The environment exists"),
    "provider_config_exists": Problem(409, "The provider is configured already"),
    "provider_config_incomplete": Problem(409, "The provider config is incomplete"),
    "provider_config_refused": Problem(409, "The provider refuses the application"),
    "provider_disabled": Problem(409, "The provider config is disabled"),
    "nothing_to_check": Problem(409, "There is nothing to check"),
    "unsupported_kind": Problem(409, "The provider has no such thing"),
    "app_credential_missing": Problem(409, "The provider config has no app credential"),
    "connection_exists": Problem(409, "Another account is connected there"),
    "connection_ended": Problem(409, "The connection has ended"),
    "label_taken": Problem(409, "The label is taken"),
    "installation_claimed": Problem(409, "The workspace belongs to another tenant"),
    "installation_ended": Problem(409, "The installation has ended"),
    "installation_required": Problem(409, "The provider must be installed first"),
    "account_mismatch": Problem(409, "It is another account"),
    "not_refreshable": Problem(409, "There is nothing to refresh"),
    # Credentials.
    "not_connected": Problem(404, "Not connected"),
    "ambiguous_connection": Problem(409, "Several connections match"),
    "reauthorization_required": Problem(409, "A person must authorize again"),
    # Connect sessions and what a browser meets on the way.
    "session_expired": Problem(410, "The connect session expired"),
    "session_ended": Problem(409, "The connect session is over"),
    "session_failed": Problem(409, "The connect session failed"),
    "session_completed": Problem(409, "The connect session was completed before"),
    "session_not_ready": Problem(409, "The connect session is not finished yet"),
    "session_unknown": Problem(404, "No such connect session"),
    "completion_code_invalid": Problem(403, "The completion code is not the right one"),
    "completion_mismatch": Problem(403, "Another user finished the connect session"),
    "link_unknown": Problem(404, "No such link"),
    "link_used": Problem(409, "The link was used before"),
    "link_used_here": Problem(409, "The link was used in this browser"),
    "browser_mismatch": Problem(403, "Another browser began this"),
    "not_an_authorization": Problem(409, "The provider is connected with a key"),
    "callback_malformed": Problem(400, "The provider's answer cannot be read"),
    "callback_unknown": Problem(404, "The provider's answer belongs to nothing"),
    "state_missing": Problem(400, "The provider's answer has no state"),
    "state_unknown": Problem(404, "The provider's answer belongs to no attempt"),
    "issuer_mismatch": Problem(400, "Another server answered"),
    "authorization_refused": Problem(400, "The authorization was refused"),
    "code_refused": Problem(400, "The provider refused the code"),
    "form_too_large": Problem(413, "The form is too large"),
    "form_unreadable": Problem(400, "The form cannot be read"),
    "too_many_attempts": Problem(403, "Too many keys were refused"),
    "credential_refused": Problem(422, "The provider refused the credential"),
    "credential_limited": Problem(422, "The credential is not allowed enough"),
    "account_unknown": Problem(502, "The provider did not tell whose account it is"),
    # The provider, and ourselves.
    "provider_unavailable": Problem(503, "The provider cannot be reached"),
    "provider_rejected": Problem(502, "The provider refused"),
    "egress_refused": Problem(502, "The provider's address is not allowed"),
    "unavailable": Problem(503, "Authpipe is not ready"),
    "configuration_error": Problem(500, "Authpipe is not configured for this"),
    "vault_error": Problem(500, "A stored secret cannot be read"),
    "vault_unavailable": Problem(503, "The key-encryption key cannot be reached"),
    "internal": Problem(500, "Something went wrong here"),
}


def problem_of(error: AuthpipeError) -> Problem:
    """The table's entry; a code it lacks is a conflict or a refused step by its class, else our fault."""
    known = PROBLEMS.get(error.code)
    if known is not None:
        return known
    if isinstance(error, Conflict):
        return PROBLEMS["conflict"]
    if isinstance(error, ConnectError):
        return Problem(400, "The connect session cannot go on")
    return PROBLEMS["internal"]


class ProblemAnswer(NamedTuple):
    """A whole answer, ready to be sent."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


def answer(error: AuthpipeError, request_id: str | None) -> ProblemAnswer:
    """The answer for an error of ours: its message and public fields, never its private detail."""
    status, title = problem_of(error)
    fields = dict(error.public_fields())
    if error.code == "invalid_input" and "field" in fields:
        fields["errors"] = [{"field": fields["field"], "message": error.message}]
    return _rendered(status, title, error.code, error.message, fields, request_id)


def plain_answer(
    code: str,
    detail: str,
    request_id: str | None,
    *,
    fields: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> ProblemAnswer:
    """The answer for what is no exception of ours.  ``code`` must be in the table."""
    status, title = PROBLEMS[code]
    return _rendered(status, title, code, detail, fields or {}, request_id, headers)


def _rendered(
    status: int,
    title: str,
    code: str,
    detail: str,
    fields: Mapping[str, Any],
    request_id: str | None,
    further: Mapping[str, str] | None = None,
) -> ProblemAnswer:
    document = {
        **fields,
        "type": f"urn:authpipe:error:{code}",
        "title": title,
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": request_id,
    }
    headers = [(b"content-type", CONTENT_TYPE.encode())]
    if code == "unauthenticated":
        headers.append((b"www-authenticate", b"Bearer"))  # RFC 6750 section 3
    wait = fields.get("retry_after_s")
    if isinstance(wait, int | float):
        headers.append((b"retry-after", str(max(1, math.ceil(wait))).encode()))
    headers += [(name.lower().encode(), value.encode()) for name, value in (further or {}).items()]
    body = msgspec.json.encode(document)
    return ProblemAnswer(status, [*headers, (b"content-length", str(len(body)).encode())], body)
