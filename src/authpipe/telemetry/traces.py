"""Spans: what took how long.  Whoever has no collector pays next to nothing for them.

A span holds what a log line may hold: its attributes are redacted as those are, an exception is recorded by
its type and code alone.  Nothing here needs OpenTelemetry; the extra ``authpipe[otel]`` does the recording.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Any, Protocol, Self, cast

from authpipe.domain.errors import ConfigurationError


class Span(Protocol):
    """One piece of work, from entering its block to leaving it."""

    def set(self, **attributes: object) -> None:
        """Add attributes, each under ``authpipe.<name>``."""

    def leave_out(self) -> None:
        """Export nothing of it: the work turned out to be none."""


class RequestSpan(Protocol):
    """One HTTP request that we answer."""

    def answered(self, *, route: str, status: int, request_id: str | None) -> None:
        """Name the span after the route's template and record how it ended."""


class Tracer(Protocol):
    """What records spans while tracing is on."""

    def span(self, name: str, attributes: Mapping[str, object]) -> AbstractContextManager[Span]:
        """A span of the current trace, or of a new one."""

    def request(self, method: str, traceparent: str | None) -> AbstractContextManager[RequestSpan]:
        """The span of a request, below the caller's where the caller names one."""

    async def close(self) -> None:
        """Send what is left, in five seconds or not at all."""


class _Nothing:
    """Every span while tracing is off."""

    __slots__ = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def set(self, **attributes: object) -> None:
        return None

    def leave_out(self) -> None:
        return None

    def answered(self, *, route: str, status: int, request_id: str | None) -> None:
        return None


_NOTHING: Any = _Nothing()
_open: list[Tracer] = []
_tracer: Tracer | None = None


def span(name: str, /, **attributes: object) -> AbstractContextManager[Span]:
    """A block of work: ``with span("provider.call", provider="…") as told: … told.set(status=200)``.

    Names are fixed words, ``room.work``; attributes become ``authpipe.<name>`` and are redacted.  While
    tracing is off this costs a fraction of a microsecond.
    """
    if _tracer is None:
        return cast("AbstractContextManager[Span]", _NOTHING)
    return _tracer.span(name, attributes)


def request(method: str, traceparent: str | None) -> AbstractContextManager[RequestSpan]:
    """The block that answers an HTTP request.

    ``traceparent`` is the caller's header of that name (W3C Trace Context); a malformed one counts as none.
    """
    if _tracer is None:
        return cast("AbstractContextManager[RequestSpan]", _NOTHING)
    return _tracer.request(method, traceparent)


def are_on() -> bool:
    """Whether spans are recorded at the moment."""
    return _tracer is not None


@asynccontextmanager
async def exporting(endpoint: str | None, *, ratio: float = 1.0) -> AsyncIterator[None]:
    """Record the spans of this process meanwhile, and send them to an OTLP/HTTP collector.

    ``endpoint`` is the collector's address for traces; None, or a ``ratio`` of 0, turns nothing on.
    ``ratio`` is the share of traces that is recorded.  Sending happens in a thread; a collector that is slow
    or away costs spans and nothing else.  Raises ``ConfigurationError`` when OpenTelemetry is not installed.
    """
    if endpoint is None or ratio <= 0:
        yield
        return
    tracer = _load(endpoint, ratio)
    _turn_on(tracer)
    try:
        yield
    finally:
        _turn_off(tracer)
        await tracer.close()


def _load(endpoint: str, ratio: float) -> Tracer:
    try:
        from authpipe.telemetry.otlp import OtlpTracer
    except ImportError:
        raise ConfigurationError(
            "AUTHPIPE_OTLP_ENDPOINT needs OpenTelemetry: pip install 'authpipe[server,otel]'"
        ) from None
    return OtlpTracer(endpoint, ratio=ratio)


def _turn_on(tracer: Tracer) -> None:
    global _tracer  # noqa: PLW0603  # like the logging configuration, there is one a process
    _open.append(tracer)
    _tracer = tracer


def _turn_off(tracer: Tracer) -> None:
    global _tracer  # noqa: PLW0603
    _open.remove(tracer)
    _tracer = _open[-1] if _open else None
