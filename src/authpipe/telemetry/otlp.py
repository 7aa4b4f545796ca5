"""Spans by way of OpenTelemetry: sampled, redacted, and sent to a collector over OTLP/HTTP."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from contextvars import Token
from typing import Self

import requests
from opentelemetry.context import Context, attach, detach
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Span as OtelSpan
from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from authpipe._version import __version__
from authpipe.domain.errors import AuthpipeError
from authpipe.telemetry.redaction import redact_shapes, redact_value

#: Seconds that the end of the process waits for the last spans.
FLUSH_S = 5.0

_PREFIX = "authpipe."
_LEFT_OUT = _PREFIX + "left_out"
#: Whatever else a caller writes for a method is its own text, and may be anything.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"})
#: The form of version 00 is 55 characters; later versions may append to it.
_LONGEST_TRACEPARENT = 128
_CLIENT_SPANS = frozenset({"provider.call"})
_carried = TraceContextTextMapPropagator()


class OtlpTracer:
    """Records spans and sends them in batches, from a thread of its own.

    A span whose queue is full is dropped.  The collector's own credentials, certificates and time limits come
    from OpenTelemetry's variables, ``OTEL_EXPORTER_OTLP_HEADERS`` and its kin.
    """

    def __init__(self, endpoint: str, *, ratio: float) -> None:
        session = requests.Session()
        # Neither a proxy nor a .netrc that stands there for other programs.
        session.trust_env = False
        self._exporter = OTLPSpanExporter(endpoint=endpoint, session=session)
        by_ratio = TraceIdRatioBased(ratio)
        self._provider = TracerProvider(
            resource=Resource.create({"service.name": "authpipe", "service.version": __version__}),
            # Whether a caller's trace is recorded here is not the caller's to say: anyone may send the flag.
            sampler=ParentBased(by_ratio, remote_parent_sampled=by_ratio),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(_Kept(self._exporter))
        self._tracer = self._provider.get_tracer("authpipe", __version__)

    def span(self, name: str, attributes: Mapping[str, object]) -> _Recorded:
        """A span under the current one."""
        kind = SpanKind.CLIENT if name in _CLIENT_SPANS else SpanKind.INTERNAL
        recorded = _Recorded(self._tracer.start_span(name, kind=kind))
        recorded.set(**attributes)
        return recorded

    def request(self, method: str, traceparent: str | None) -> _RecordedRequest:
        """A span under the caller's, or without one the first of a trace."""
        known = method if method in _METHODS else "_OTHER"
        context = Context()
        if traceparent is not None and len(traceparent) <= _LONGEST_TRACEPARENT:
            # ``tracestate`` and ``baggage`` are others' text, which nothing here needs.
            context = _carried.extract({"traceparent": traceparent}, context)
        span = self._tracer.start_span(known, context=context, kind=SpanKind.SERVER)
        span.set_attribute("http.request.method", known)
        return _RecordedRequest(span, known)

    async def close(self) -> None:
        """Send what is left; what a collector does not take in :data:`FLUSH_S` seconds is lost."""
        flushed: Future[None] = Future()
        flushed.set_running_or_notify_cancel()

        def flush() -> None:
            try:
                self._provider.shutdown()
            finally:
                flushed.set_result(None)

        # A daemon: neither the event loop nor the end of the process waits for it.
        threading.Thread(target=flush, name="authpipe-traces-flush", daemon=True).start()
        try:
            await asyncio.wait_for(asyncio.wrap_future(flushed), FLUSH_S)
        except TimeoutError:
            self._exporter.shutdown()  # type: ignore[no-untyped-call]  # OpenTelemetry leaves it so


class _Kept(BatchSpanProcessor):
    """All spans but those that turned out to be about nothing."""

    def on_end(self, span: ReadableSpan) -> None:
        if _LEFT_OUT not in (span.attributes or {}):
            super().on_end(span)


class _Recorded:
    """A span that is current while its block runs."""

    __slots__ = ("_span", "_token")

    def __init__(self, span: OtelSpan) -> None:
        self._span = span
        self._token: Token[Context] | None = None

    def __enter__(self) -> Self:
        self._token = attach(set_span_in_context(self._span))
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if error is not None:
            _tell_of(self._span, error)
        if self._token is not None:
            detach(self._token)
        self._span.end()

    def set(self, **attributes: object) -> None:
        """Add attributes, redacted as a log line's fields are."""
        if self._span.is_recording():
            for name, value in attributes.items():
                if value is not None:
                    self._span.set_attribute(_PREFIX + name, _attribute(name, value))

    def leave_out(self) -> None:
        """Do not export it."""
        self._span.set_attribute(_LEFT_OUT, True)


class _RecordedRequest(_Recorded):
    __slots__ = ("_method",)

    def __init__(self, span: OtelSpan, method: str) -> None:
        super().__init__(span)
        self._method = method

    def answered(self, *, route: str, status: int, request_id: str | None) -> None:
        """The route's template, never the path: paths of connect links hold a token."""
        self._span.update_name(f"{self._method} {route}")
        self._span.set_attribute("http.route", route)
        self._span.set_attribute("http.response.status_code", status)
        self.set(request_id=request_id)
        if status >= 500:
            self._span.set_status(Status(StatusCode.ERROR))


def _tell_of(span: OtelSpan, error: BaseException) -> None:
    """The kind of an error.  Its message, its arguments and its stack may quote anything."""
    span.set_attribute("error.type", type(error).__qualname__)
    if isinstance(error, AuthpipeError):
        span.set_attribute(_PREFIX + "error_code", redact_shapes(error.code))
    if isinstance(error, Exception):  # a caller that hangs up cancels, which is no failure
        span.set_status(Status(StatusCode.ERROR))


def _attribute(name: str, value: object) -> AttributeValue:
    redacted = redact_value(name, value)
    if isinstance(redacted, bool | int | float | str):
        return redacted
    return redact_shapes(str(redacted))
