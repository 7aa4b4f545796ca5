"""The headers of every page: nothing foreign loads, nothing frames it, nothing of its address leaks."""

from __future__ import annotations

from collections.abc import Iterable
from types import MappingProxyType

#: Powerful features no page here needs.  An empty list turns a feature off for frames, too.
_FEATURES = (
    "accelerometer", "browsing-topics", "camera", "display-capture", "geolocation", "gyroscope", "hid",
    "magnetometer", "microphone", "midi", "payment", "serial", "usb", "xr-spatial-tracking",
)  # fmt: skip
#: A year, in seconds: what browsers' preload lists ask for at least.
_HSTS_S = 31_536_000

_ALWAYS = MappingProxyType(
    {
        "Cache-Control": "no-store",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Permissions-Policy": ", ".join(f"{feature}=()" for feature in _FEATURES),
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
    }
)


def security_headers(
    public_url: str,
    *,
    form_action: Iterable[str] = (),
    script: bool = False,
    keeps_opener: bool = False,
) -> dict[str, str]:
    """What a page or a redirect is sent with.

    ``form_action`` holds the CSP sources that forms may lead to beside this origin, redirects included.
    ``script`` allows the script files of this origin.  ``keeps_opener`` is for every step of a popup: one
    answer with another opener policy on the way would cut it off from the page that waits for its message.
    """
    policy = [
        "default-src 'none'",
        "style-src 'self'",
        "img-src 'self'",
        " ".join(("form-action 'self'", *dict.fromkeys(form_action))),
        "frame-ancestors 'none'",
        "base-uri 'none'",
    ]
    if script:
        policy.append("script-src 'self'")
    headers = {
        **_ALWAYS,
        "Content-Security-Policy": "; ".join(policy),
        "Cross-Origin-Opener-Policy": "unsafe-none" if keeps_opener else "same-origin",
    }
    if public_url.startswith("https://"):
        headers["Strict-Transport-Security"] = f"max-age={_HSTS_S}"
    return headers
