"""Whether a browser's request comes from the application's own pages."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from urllib.parse import urlsplit

from authpipe.sdk.errors import ConfigurationError


def is_own(headers: Mapping[str, str], allowed_origins: Collection[str]) -> bool:
    """True for the same origin and for the origins allowed by name.

    ``Sec-Fetch-Site`` is the browser's own verdict and decides where it is sent (Fetch Metadata).  Older
    browsers are judged by ``Origin`` against ``Host``, which every browser sends with a POST; a request with
    neither is refused.
    """
    origin = headers.get("origin", "").lower()
    if origin in allowed_origins:
        return True
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    if not origin:
        return False
    # Host only: behind a proxy that ends TLS the application sees http where the browser sees https.
    return urlsplit(origin).netloc == headers.get("host", "").lower() != ""


def checked_origins(origins: Collection[str]) -> frozenset[str]:
    """The origins in the form browsers send them.  Raises ConfigurationError for anything else."""
    if isinstance(origins, str):
        raise ConfigurationError("allowed_origins must be a list of origins, not one string")
    for origin in origins:
        parts = urlsplit(origin)
        if (
            parts.scheme not in ("http", "https")
            or not parts.netloc
            or origin != f"{parts.scheme}://{parts.netloc}"
        ):
            raise ConfigurationError(
                f"allowed_origins: {origin!r} must be an origin such as https://app.example.com"
            )
    return frozenset(origin.lower() for origin in origins)
