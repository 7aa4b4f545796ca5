"""An OpenTelemetry collector: takes OTLP over HTTP, keeps the bytes, and reads the spans in them."""

from __future__ import annotations

import asyncio
import gzip
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


@dataclass(frozen=True)
class Seen:
    """One span as it arrived."""

    name: str
    kind: int
    trace_id: str
    span_id: str
    parent_id: str
    failed: bool
    attributes: dict[str, Any]
    events: int
    scope: str

    def __getitem__(self, attribute: str) -> Any:
        return self.attributes[attribute]


@dataclass
class Collector:
    """Start it with ``async with``.  ``silent`` makes it take requests and never answer."""

    silent: bool = False
    bodies: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    url: str = ""

    async def __aenter__(self) -> Self:
        application = web.Application(client_max_size=64 * 2**20)
        application.router.add_post("/v1/traces", self._take)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/v1/traces"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()

    def spans(self, name: str | None = None) -> list[Seen]:
        """Every span so far, or those of one name, in the order of arrival."""
        found = []
        for body in self.bodies:
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                for scope in resource.scope_spans:
                    for span in scope.spans:
                        if name in (None, span.name):
                            found.append(
                                Seen(
                                    name=span.name,
                                    kind=span.kind,
                                    trace_id=span.trace_id.hex(),
                                    span_id=span.span_id.hex(),
                                    parent_id=span.parent_span_id.hex(),
                                    failed=span.status.code == 2,
                                    attributes={pair.key: _plain(pair.value) for pair in span.attributes},
                                    events=len(span.events),
                                    scope=scope.scope.name,
                                )
                            )
                            assert span.status.message == ""
        return found

    def resource(self) -> dict[str, Any]:
        """What the first request told of its sender."""
        first = ExportTraceServiceRequest.FromString(self.bodies[0]).resource_spans[0]
        return {pair.key: _plain(pair.value) for pair in first.resource.attributes}

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        if request.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self.bodies.append(body)
        self.headers.append(dict(request.headers))
        if self.silent:
            await asyncio.Event().wait()
        answer = ExportTraceServiceResponse().SerializeToString()
        return web.Response(body=answer, content_type="application/x-protobuf")


def _plain(value: Any) -> Any:
    kind = value.WhichOneof("value")
    return getattr(value, kind)
