"""Browsers by the names people know."""

from __future__ import annotations

import pytest

from authpipe.pages.browser_name import browser_name

_WEBKIT = "AppleWebKit/605.1.15 (KHTML, like Gecko)"
_MAC = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7)"
_IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X)"
_CHROME = "AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"


@pytest.mark.parametrize(
    ("agent", "name"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox on Linux"),
        (f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {_CHROME}", "Chrome on Windows"),
        (f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {_CHROME} Edg/140.0.0.0", "Edge on Windows"),
        (f"{_MAC} {_WEBKIT} Version/18.5 Safari/605.1.15", "Safari on macOS"),
        (f"{_IPHONE} {_WEBKIT} CriOS/140.0 Mobile Safari/604.1", "Chrome on iPhone"),
        (f"Mozilla/5.0 (Linux; Android 15; K) {_CHROME}", "Chrome on Android"),
        ("curl/8.5.0", "curl"),
        ("", "Unknown browser"),
        (None, "Unknown browser"),
    ],
)
def test_a_browser_is_named_as_people_say_it(agent: str | None, name: str) -> None:
    """With the system it runs on."""
    assert browser_name(agent) == name
