"""One call to a provider, timed for the metrics and told to the trace."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from authpipe.telemetry import traces
from authpipe.telemetry.metrics import Metrics
from authpipe.telemetry.traces import Span


@contextmanager
def provider_call(metrics: Metrics, provider: str, purpose: str) -> Iterator[Span]:
    """Around the sending of one request; ``purpose`` is a fixed word such as ``refresh``.

    The provider itself is told nothing of the trace.
    """
    with (
        traces.span("provider.call", provider=provider, purpose=purpose) as span,
        metrics.provider_request.labels(provider, purpose).time(),
    ):
        yield span
