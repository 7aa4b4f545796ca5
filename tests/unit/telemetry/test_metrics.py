"""The metrics of one process."""

from __future__ import annotations

from authpipe.telemetry.metrics import Metrics


def test_the_metrics_have_these_names_and_labels() -> None:
    """Dashboards and alerts depend on them, and a new label can multiply the series."""
    metrics = Metrics()
    found = {
        family.name: getattr(metrics, attribute)._labelnames
        for attribute in vars(metrics)
        if attribute != "registry"
        for family in getattr(metrics, attribute).describe()
    }
    assert found == {
        "authpipe_refreshes": ("provider", "outcome"),
        "authpipe_refresh_lateness_seconds": (),
        "authpipe_refreshes_claimed": (),
        "authpipe_refreshed_too_late": (),
        "authpipe_refresh_due": (),
        "authpipe_provider_request_seconds": ("provider", "purpose"),
        "authpipe_credential_reads": ("outcome",),
        "authpipe_connect_sessions": ("provider", "outcome"),
        "authpipe_spool_records": (),
        "authpipe_refused_requests": ("reason",),
        "authpipe_unrecorded_credential_reads": (),
        "authpipe_audit_linked_events": (),
        "authpipe_audit_refusals": (),
        "authpipe_audit_oldest_waiting_seconds": (),
        "authpipe_streams_open": (),
        "authpipe_stream_changes": (),
        "authpipe_stream_resets": ("reason",),
        "authpipe_rejected_reports": ("outcome",),
        "authpipe_http_requests": ("route", "status"),
    }


def test_what_was_counted_is_rendered() -> None:
    """In the text format, with its content type."""
    metrics = Metrics()
    metrics.refreshes.labels(provider="discord", outcome="refreshed").inc()
    metrics.refresh_lateness.observe(3)
    body, content_type = metrics.render()
    assert b'authpipe_refreshes_total{outcome="refreshed",provider="discord"} 1.0' in body
    assert b'authpipe_refresh_lateness_seconds_bucket{le="5.0"} 1.0' in body
    assert content_type.startswith("text/plain")


def test_two_sets_of_metrics_do_not_share_a_registry() -> None:
    """Two applications in one process, as tests have them."""
    one, other = Metrics(), Metrics()
    one.refresh_due.set(5)
    assert b"authpipe_refresh_due 0.0" in other.render()[0]
