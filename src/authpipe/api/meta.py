"""What is no resource: liveness, readiness, metrics.  These need no API key."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from authpipe.api.services import ApiServices
from authpipe.store.database import is_outage
from authpipe.telemetry.plain_route import PlainRoute

_PING_S = 5.0


def routes(services: ApiServices) -> list[PlainRoute]:
    """``/healthz``, ``/readyz`` and ``/metrics``."""

    async def healthz(_request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(_request: Request) -> Response:
        try:
            await asyncio.wait_for(services.database.ping(), _PING_S)
        except Exception as error:
            if not is_outage(error):
                raise
            return JSONResponse({"status": "unavailable", "database": "away"}, 503)
        return JSONResponse({"status": "ok", "database": "ok"})

    async def metrics(_request: Request) -> Response:
        body, content_type = services.metrics.render()
        return Response(body, media_type=content_type)

    return [PlainRoute("/healthz", healthz), PlainRoute("/readyz", readyz), PlainRoute("/metrics", metrics)]


def _operation(identifier: str, summary: str, kind: str, further: dict[str, str]) -> dict[str, Any]:
    schema = {"type": "string"} if kind == "text/plain" else {"type": "object"}
    return {
        "get": {
            "tags": ["Operation"],
            "summary": summary,
            "operationId": identifier,
            "security": [],
            "responses": {
                "200": {"description": "Fine", "content": {kind: {"schema": schema}}},
                **{status: {"description": text} for status, text in further.items()},
            },
        }
    }


#: Their operations in the OpenAPI document.
PATHS: dict[str, Any] = {
    "/healthz": _operation("get_health", "Tell whether the process lives", "application/json", {}),
    "/readyz": _operation(
        "get_readiness",
        "Tell whether requests can be served",
        "application/json",
        {"503": "The database is away"},
    ),
    "/metrics": _operation("get_metrics", "Get the process's metrics for Prometheus", "text/plain", {}),
}
