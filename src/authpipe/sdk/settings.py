"""What a client is told once: where the server is, with which key, and how far to trust the cache."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from authpipe.sdk.errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of one client.  All durations are seconds."""

    url: str
    api_key: str = field(repr=False)
    timeout_s: float
    max_staleness_s: float
    refetch_retry_s: float
    max_entries: int
    negative_s: float
    stream: bool
    snapshot: Path | None

    @property
    def masked_key(self) -> str:
        """Enough of the key to recognise it (its public prefix), nothing that helps to guess it."""
        prefix = "_".join(self.api_key.split("_", 2)[:2]) if self.api_key.count("_") >= 2 else ""
        return f"{prefix}_***" if 0 < len(prefix) <= 12 else "***"


def read_settings(
    url: str | None,
    api_key: str | None,
    *,
    timeout_s: float,
    max_staleness_s: float,
    refetch_retry_s: float,
    max_entries: int,
    negative_s: float,
    stream: bool | None,
    snapshot: str | os.PathLike[str] | None,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """Check the arguments, filling in from the environment those that are None.

    The variables are ``AUTHPIPE_URL``, ``AUTHPIPE_API_KEY``, ``AUTHPIPE_STREAM`` and ``AUTHPIPE_SNAPSHOT``.

    Raises ConfigurationError, one line that names the setting and what to do.
    """
    environ = os.environ if environ is None else environ
    url = (url if url is not None else environ.get("AUTHPIPE_URL", "")).strip()
    api_key = (api_key if api_key is not None else environ.get("AUTHPIPE_API_KEY", "")).strip()
    if not url:
        raise ConfigurationError(
            "no Authpipe server is named: set AUTHPIPE_URL (such as http://127.0.0.1:8700) or pass url="
        )
    if not api_key:
        raise ConfigurationError(
            "no API key: set AUTHPIPE_API_KEY or pass api_key= (make one with `authpipe api-keys create`)"
        )
    if not api_key.isascii() or not api_key.isprintable() or " " in api_key:
        # An HTTP library would quote the whole header in its own complaint.
        raise ConfigurationError("the API key contains characters no key has: copy it again, as one line")
    _positive("timeout_s", timeout_s)
    _positive("refetch_retry_s", refetch_retry_s)
    _positive("max_entries", max_entries)
    for name, value in (("max_staleness_s", max_staleness_s), ("negative_s", negative_s)):
        if not value >= 0:
            raise ConfigurationError(f"{name} must be 0 or more seconds")
    if snapshot is None:
        snapshot = environ.get("AUTHPIPE_SNAPSHOT", "").strip() or None
    return Settings(
        url=_checked_url(url),
        api_key=api_key,
        timeout_s=timeout_s,
        max_staleness_s=max_staleness_s,
        refetch_retry_s=refetch_retry_s,
        max_entries=max_entries,
        negative_s=negative_s,
        stream=_switch("AUTHPIPE_STREAM", environ) if stream is None else stream,
        snapshot=None if snapshot is None else Path(snapshot),
    )


def _switch(name: str, environ: Mapping[str, str]) -> bool:
    match environ.get(name, "").strip().lower():
        case "" | "1" | "on" | "true" | "yes":
            return True
        case "0" | "off" | "false" | "no":
            return False
    raise ConfigurationError(f"{name} must be on or off")


def _positive(name: str, value: float) -> None:
    if not value > 0:
        raise ConfigurationError(f"{name} must be more than 0")


def _checked_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ConfigurationError("AUTHPIPE_URL must be an absolute http:// or https:// URL")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ConfigurationError("AUTHPIPE_URL must hold no user, password, query or fragment")
    return url.rstrip("/")
