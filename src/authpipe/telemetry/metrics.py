"""Prometheus metrics.  Labels are bounded: providers, route templates and fixed words, never ids."""

from __future__ import annotations

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)

#: Seconds.  A refresh is early until its due time, and late by minutes only when something is wrong.
_LATENESS = (0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900, 3600)
#: Seconds, up to the total deadline of a provider call (20).
_PROVIDER_CALL = (0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20)


class Metrics:
    """The metrics of one process, in a registry of their own.  Create it once and pass it on."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.refreshes = Counter(
            "authpipe_refreshes",
            "Refresh attempts by how they ended.",
            ("provider", "outcome"),
            registry=self.registry,
        )
        self.refresh_lateness = Histogram(
            "authpipe_refresh_lateness_seconds",
            "Time between a credential becoming due and its refresh being committed.",
            buckets=_LATENESS,
            registry=self.registry,
        )
        self.refreshes_claimed = Counter(
            "authpipe_refreshes_claimed",
            "Due credentials that this process took to refresh.",
            registry=self.registry,
        )
        self.refreshed_too_late = Counter(
            "authpipe_refreshed_too_late",
            "Credentials whose refresh was committed after they had expired.",
            registry=self.registry,
        )
        self.refresh_due = Gauge(
            "authpipe_refresh_due",
            "Credentials that are due and not claimed.",
            registry=self.registry,
        )
        self.provider_request = Histogram(
            "authpipe_provider_request_seconds",
            "Duration of calls to providers.",
            ("provider", "purpose"),
            buckets=_PROVIDER_CALL,
            registry=self.registry,
        )
        self.credential_reads = Counter(
            "authpipe_credential_reads",
            "Credential reads by how they ended.",
            ("outcome",),
            registry=self.registry,
        )
        self.connect_sessions = Counter(
            "authpipe_connect_sessions",
            "Connect sessions by how they ended.",
            ("provider", "outcome"),
            registry=self.registry,
        )
        self.spool_records = Gauge(
            "authpipe_spool_records",
            "Refreshed credentials on local disk that wait for the database.",
            registry=self.registry,
        )
        self.refused_requests = Counter(
            "authpipe_refused_requests",
            "Requests refused for their API key, by reason.",
            ("reason",),
            registry=self.registry,
        )
        self.unrecorded_reads = Counter(
            "authpipe_unrecorded_credential_reads",
            "Credential reads whose event was lost: the database was away and memory full, or it said no.",
            registry=self.registry,
        )
        self.audit_linked = Counter(
            "authpipe_audit_linked_events",
            "Events added to the audit chain by this process.",
            registry=self.registry,
        )
        self.audit_refusals = Counter(
            "authpipe_audit_refusals",
            "Times a chain was not continued: its head is not what the vault sealed, or an event is too old.",
            registry=self.registry,
        )
        self.audit_oldest_waiting = Gauge(
            "authpipe_audit_oldest_waiting_seconds",
            "Age of the oldest event that waits for its link, when this process last looked.",
            registry=self.registry,
        )
        self.streams_open = Gauge(
            "authpipe_streams_open",
            "Change streams that are open.",
            registry=self.registry,
        )
        self.stream_changes = Counter(
            "authpipe_stream_changes",
            "Changes sent to change streams, counted for each stream.",
            registry=self.registry,
        )
        self.stream_resets = Counter(
            "authpipe_stream_resets",
            "Change streams told that they may have missed changes, by reason.",
            ("reason",),
            registry=self.registry,
        )
        self.rejected_reports = Counter(
            "authpipe_rejected_reports",
            "Credentials that applications reported as refused by a provider, by what became of it.",
            ("outcome",),
            registry=self.registry,
        )
        self.http_requests = Counter(
            "authpipe_http_requests",
            "Requests served, by route template and status code.",
            ("route", "status"),
            registry=self.registry,
        )

    def render(self) -> tuple[bytes, str]:
        """The metrics in the Prometheus text format, and its content type."""
        return generate_latest(self.registry), CONTENT_TYPE_LATEST
