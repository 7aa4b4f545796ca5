"""A credential from the SDK's cache, against a bare dictionary, google-auth and botocore."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any

from benchmarks.measurement import Measurement

_CALLS, _ROUNDS = 2_000, 200
_ANSWER = {
    "object": "credential",
    "credential_id": "019e3564-2d40-7c11-9a9e-7f0f9a1b2c3d",
    "kind": "oauth_token",
    "provider": "discord",
    "tenant_id": "org_acme",
    "user_id": "user_123",
    "connection_id": "019e3564-2d40-7c11-9a9e-7f0f9a1b2c3d",
    "installation_id": None,
    "label": None,
    "credential": "token",
    "headers": {"Authorization": "Bearer token"},
    "refetch_at": None,
    "scopes": ["identify"],
    "metadata": {},
    "version": 1,
}


def _authpipe() -> Callable[[], object]:
    import httpx2

    from authpipe import Authpipe

    expires_at = (datetime.now(UTC) + timedelta(hours=1)).isoformat()

    def answer(_request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, json={**_ANSWER, "expires_at": expires_at})

    client = Authpipe(
        url="http://127.0.0.1:1",
        api_key="apk_aaaaaaaa_" + "A" * 43,
        transport=httpx2.MockTransport(answer),
        max_staleness_s=3600,
    )
    get = client.get_credential

    def call() -> object:
        return get(provider="discord", tenant_id="org_acme", user_id="user_123")

    call()
    return call


def _bare() -> Callable[[], object]:
    """The least that a cache with expiry can do, behind one function call with the same three arguments."""
    entries: dict[tuple[str, str, str], tuple[str, float]] = {}
    elapsed = time.monotonic

    def get(*, provider: str, tenant_id: str, user_id: str) -> str | None:
        entry = entries.get((provider, tenant_id, user_id))
        if entry is not None and elapsed() < entry[1]:
            return entry[0]
        return None

    entries["discord", "org_acme", "user_123"] = ("token", elapsed() + 3600)

    def call() -> object:
        return get(provider="discord", tenant_id="org_acme", user_id="user_123")

    return call


def _google() -> Callable[[], object]:
    from google.oauth2.credentials import Credentials

    # google-auth keeps naive UTC.
    expiry = (datetime.now(UTC) + timedelta(hours=1)).replace(tzinfo=None)
    credentials: Any = Credentials(token="token", expiry=expiry)  # type: ignore[no-untyped-call]

    def call() -> object:
        # What before_request does first, and without the rest of it.
        return credentials.token if credentials.valid else None

    return call


def _botocore() -> Callable[[], object]:
    from botocore.credentials import RefreshableCredentials

    credentials: Any = RefreshableCredentials(
        "access", "secret", "token", datetime.now(UTC) + timedelta(hours=1), dict, "benchmark"
    )

    def call() -> object:
        return credentials.get_frozen_credentials()

    return call


def _timed(calls: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Median microseconds per call; the contestants take turns, so that all meet the same machine."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    rounds = range(_CALLS)
    for _ in range(_ROUNDS):
        for name, call in calls.items():
            begun = time.perf_counter()
            for _each in rounds:
                call()
            times[name].append((time.perf_counter() - begun) / _CALLS * 1e6)
    return {name: median(values) for name, values in times.items()}


def run() -> list[Measurement]:
    """Four contestants, one after the other in each round."""
    measured = _timed(
        {"authpipe": _authpipe(), "bare": _bare(), "google": _google(), "botocore": _botocore()}
    )
    ours = measured["authpipe"]
    return [
        Measurement(name="sdk cache hit", value=ours, unit="us", bar="<= 0.5"),
        Measurement(
            name="sdk cache hit against a dictionary",
            value=ours,
            unit="us",
            reference="dict lookup with an expiry check",
            reference_value=measured["bare"],
            bar="<= 2.5",
            of_ratio=True,
        ),
        Measurement(
            name="google-auth against the sdk cache hit",
            value=measured["google"],
            unit="us",
            reference="sdk cache hit",
            reference_value=ours,
            bar=">= 3",
            of_ratio=True,
        ),
        Measurement(
            name="botocore against the sdk cache hit",
            value=measured["botocore"],
            unit="us",
            reference="sdk cache hit",
            reference_value=ours,
            bar=">= 15",
            of_ratio=True,
        ),
    ]
