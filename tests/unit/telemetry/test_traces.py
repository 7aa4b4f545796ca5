"""Spans while nobody collects them."""

from __future__ import annotations

import subprocess
import sys
from time import process_time
from timeit import repeat
from uuid import UUID

import pytest

from authpipe.domain.errors import ConfigurationError
from authpipe.telemetry import traces


def test_a_span_costs_less_than_a_microsecond_while_tracing_is_off() -> None:
    """The credential read is one of its users."""

    identifier = UUID(int=1)

    def work() -> None:
        with traces.span("credential.read", provider="discord", credential_id=identifier) as span:
            span.set(status=200)

    assert not traces.are_on()
    # Processor time, and the best of several: what else the machine does is not measured.
    assert min(repeat(work, number=20_000, repeat=9, timer=process_time)) / 20_000 < 1e-6


async def test_no_address_and_no_share_turn_nothing_on() -> None:
    """Both are ways to say off."""
    async with traces.exporting(None):
        assert not traces.are_on()
    async with traces.exporting("http://127.0.0.1:4318/v1/traces", ratio=0):
        assert not traces.are_on()


async def test_an_exception_passes_through_a_span_that_is_off() -> None:
    """The block swallows nothing."""
    with pytest.raises(KeyError), traces.span("a.b"), traces.request("GET", None):
        raise KeyError


def test_nothing_of_opentelemetry_is_loaded_while_it_is_off() -> None:
    """It is an extra, and takes a tenth of a second to import."""
    code = (
        "import sys, authpipe.server.wiring; "
        "sys.exit(any(name.split('.')[0] in ('opentelemetry', 'requests') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


async def test_a_missing_extra_is_a_configuration_error_that_names_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At the start, not at the first span."""
    monkeypatch.delitem(sys.modules, "authpipe.telemetry.otlp", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(ConfigurationError, match=r"authpipe\[server,otel\]"):
        async with traces.exporting("http://127.0.0.1:4318/v1/traces"):
            pass
