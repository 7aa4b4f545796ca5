"""What becomes of exceptions: each is one problem document, and the unexpected ones one log line."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any, cast

import asyncpg
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match

from authpipe.api import problem
from authpipe.api.problem import ProblemAnswer, plain_answer
from authpipe.api.validation import invalid_answer
from authpipe.domain.errors import AuthpipeError
from authpipe.store.database import is_outage
from authpipe.telemetry.logs import get_logger

_log = get_logger(__name__)

_MALFORMED = "json_invalid"
#: Two requests contradicted each other in the same moment; the database let one of them win.
_OVERTAKEN = (asyncpg.IntegrityConstraintViolationError, asyncpg.TransactionRollbackError)


def handlers() -> dict[Any, Callable[[Request, Any], Any]]:
    """The handlers of everything that is raised inside a route."""
    return {
        AuthpipeError: _known,
        RequestValidationError: _invalid,
        HTTPException: _http,
        **dict.fromkeys(_OVERTAKEN, _overtaken),
    }


def unexpected_answer(error: Exception, request_id: str | None) -> ProblemAnswer:
    """For what nobody foresaw: nothing of it is told, all of it (redacted) is logged."""
    if isinstance(error, _OVERTAKEN):
        return _overtaken_answer(request_id)
    if is_outage(error):
        _log.error("the database is away", exc_info=error)
        return plain_answer(
            "unavailable",
            "the database cannot be reached at the moment; try again",
            request_id,
            fields={"retry_after_s": 1},
        )
    _log.error("a request failed", exc_info=error)
    return plain_answer(
        "internal", "the request failed here; the log has more under its request id", request_id
    )


def known_answer(error: AuthpipeError, request_id: str | None) -> ProblemAnswer:
    """For an error of ours; what is our own or the operator's fault is logged with its private detail."""
    made = problem.answer(error, request_id)
    if made.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        _log.warning("a request was not served", error=error.code, reason=error.message, detail=error.detail)
    return made


async def _known(request: Request, error: AuthpipeError) -> Response:
    return _response(known_answer(error, request_id_of(request)))


async def _invalid(request: Request, error: RequestValidationError) -> Response:
    faults = error.errors()
    if any(fault["type"] == _MALFORMED for fault in faults):
        return _response(plain_answer("malformed_body", "the body is not valid JSON", request_id_of(request)))
    return _response(invalid_answer(faults, request_id_of(request)))


async def _overtaken(request: Request, _error: Exception) -> Response:
    return _response(_overtaken_answer(request_id_of(request)))


def _overtaken_answer(request_id: str | None) -> ProblemAnswer:
    return plain_answer(
        "conflict",
        "another request changed the same thing in the same moment: read it again and repeat",
        request_id,
    )


async def _http(request: Request, error: HTTPException) -> Response:
    code, detail = {
        400: ("malformed_body", "the body cannot be read as JSON"),
        404: ("not_found", "there is nothing at this address; /docs lists what there is"),
        405: ("method_not_allowed", f"this address does not take {request.method}"),
        413: ("payload_too_large", "the body is larger than 1 MiB"),
    }.get(error.status_code, ("malformed_request", "the request cannot be served"))
    headers = {"Allow": ", ".join(_allowed(request))} if code == "method_not_allowed" else None
    return _response(plain_answer(code, detail, request_id_of(request), headers=headers))


def _allowed(request: Request) -> list[str]:
    """The methods of every route at this address: RFC 9110 section 15.5.6 wants all of them."""
    allowed = set()
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        scope = {**request.scope, "method": method}
        if any(route.matches(scope)[0] is Match.FULL for route in request.app.routes):
            allowed.add(method)
    return sorted(allowed)


def request_id_of(request: Request) -> str | None:
    """The id of a request that came through the edge."""
    return cast("str | None", getattr(request.state, "request_id", None))


def _response(made: ProblemAnswer) -> Response:
    response = Response(made.body, made.status)
    response.raw_headers = list(made.headers)
    return response
