"""Failures that any route can answer with, in the shape of each provider."""

from __future__ import annotations

import math

from aiohttp import web

from authpipe.sandbox.wire import json_answer


def error_body(provider: str, status: int) -> object:
    """A plain failure in the provider's own shape."""
    message = "The sandbox was told to fail"
    match provider:
        case "discord":
            return {"message": message, "code": 0}
        case "clicksend":
            return {"http_code": status, "response_code": "ERROR", "response_msg": message, "data": None}
        case "dialpad":
            return {"error": {"code": status, "message": message}}
        case _:
            return {"message": message}


def limited_answer(provider: str, retry_after: float, *, global_limit: bool, scope: str) -> web.Response:
    """A 429 in the provider's shape, with ``Retry-After`` in whole seconds as RFC 9110 has it."""
    whole_seconds = str(max(1, math.ceil(retry_after)))
    if provider == "discord":
        answer = json_answer(
            {"message": "You are being rate limited.", "retry_after": retry_after, "global": global_limit},
            status=429,
        )
        answer.headers["X-RateLimit-Scope"] = "global" if global_limit else scope
        answer.headers["X-RateLimit-Remaining"] = "0"
        answer.headers["X-RateLimit-Reset-After"] = str(retry_after)
        if global_limit:
            answer.headers["X-RateLimit-Global"] = "true"
    elif provider == "clicksend":
        answer = json_answer(
            {
                "http_code": 429,
                "response_code": "TOO_MANY_REQUESTS",
                "response_msg": "Rate limit exceeded.",
                "data": None,
            },
            status=429,
        )
    else:
        answer = json_answer({"message": "Too Many Requests"}, status=429)
    answer.headers["Retry-After"] = whole_seconds
    return answer
