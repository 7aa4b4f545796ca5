"""A browser's name as its owner would say it, from what it calls itself."""

from __future__ import annotations

#: In this order: each of them also carries the marks of those below.
_BROWSERS = (
    ("Edg/", "Edge"),
    ("EdgA/", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("FxiOS/", "Firefox"),
    ("Firefox/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
)
_SYSTEMS = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("CrOS", "ChromeOS"),
    ("Windows", "Windows"),
    ("Macintosh", "macOS"),
    ("Linux", "Linux"),
)


def browser_name(user_agent: str | None) -> str:
    """Such as ``Firefox on Linux``.  Good enough to recognise one's own; no claim is checked."""
    told = user_agent or ""
    browser = next((name for mark, name in _BROWSERS if mark in told), None)
    system = next((name for mark, name in _SYSTEMS if mark in told), None)
    if browser is None:
        # Programs begin with their own name: curl/8.5.0
        browser = told.split("/", 1)[0].split(" ", 1)[0][:40] or "Unknown browser"
    return f"{browser} on {system}" if system else browser
