"""What a page reads from a request: who sent it, what kind of visit it is, and whether its form is ours."""

from __future__ import annotations

import base64
import hashlib
import hmac
from urllib.parse import urlsplit

from starlette.requests import Request

from authpipe.domain.event import ActorKind, Origin
from authpipe.domain.identifiers import new_id
from authpipe.domain.secret import Secret

_CSRF_PURPOSE = b"authpipe form v1\0"
_DEFAULT_PORTS = {"http": 80, "https": 443}


def request_id(request: Request) -> str:
    """The id of this request: the one the application around the pages gave it, else one of our own."""
    state = request.scope.get("state", {})
    if "request_id" not in state:
        # A new dictionary: servers may hand the same one to every request.
        state = request.scope["state"] = {**state, "request_id": str(new_id())}
    return str(state["request_id"])


def browser_origin(request: Request) -> Origin:
    """Who caused what this request will cause.  Proxies were accounted for before it got here."""
    return Origin(
        actor_kind=ActorKind.BROWSER,
        request_id=request_id(request),
        source_address=None if request.client is None else request.client.host,
    )


def is_prefetch(request: Request) -> bool:
    """Whether a browser loads the address in case somebody goes there.

    Chromium and Firefox say ``Sec-Purpose``; ``Purpose`` and ``X-Moz`` are the older names.
    """
    told = (request.headers.get(name, "") for name in ("sec-purpose", "purpose", "x-moz"))
    return any("prefetch" in value.lower() or "prerender" in value.lower() for value in told)


def is_visit(request: Request) -> bool:
    """Whether a person goes to the address: not when a browser says it is for an image, a frame or a script.

    Fetch Metadata names the destination; what sends no such header is taken at its word.
    """
    return request.headers.get("sec-fetch-dest", "document") == "document"


def is_same_origin(request: Request, public_url: str) -> bool:
    """Whether a form was sent from a page of ours, as far as the browser tells.

    ``Sec-Fetch-Site`` decides where there is one: pages that send no referrer make browsers write
    ``Origin: null`` for forms of the same origin, too (Fetch standard, "append a request Origin header").
    """
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = request.headers.get("origin", "null")
    return origin == "null" or _origin(origin) == _origin(public_url)


def csrf_token(cookie: str) -> str:
    """What the forms of one session carry: known to whoever holds its cookie, and to nobody else."""
    made = hashlib.sha256(_CSRF_PURPOSE + cookie.encode()).digest()
    return base64.urlsafe_b64encode(made).rstrip(b"=").decode()


def csrf_matches(shown: Secret | None, cookie: str) -> bool:
    """Whether a form carries the token of this cookie."""
    return shown is not None and hmac.compare_digest(shown.reveal_bytes(), csrf_token(cookie).encode())


def _origin(url: str) -> tuple[str, str | None, int | None] | None:
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname, parts.port or _DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return None
