"""Which return URLs and origins an environment allows: one strict grammar, one comparison.

A return URL is where a browser is sent with a completion code, so a URL that two programs could read
differently is refused rather than interpreted.  What is accepted is a subset of RFC 3986 section 3:
``http`` or ``https``, a host in plain ASCII, no user information, no fragment, no dot segments, no empty
segments, no encoded slash, backslash, dot, percent sign or control character.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from authpipe.domain.environment import Environment, EnvironmentKind

_LONGEST = 2048
_PCHAR = r"[A-Za-z0-9\-._~!$&'()*+,;=:@]|%[0-9A-Fa-f]{2}"
_URL = re.compile(
    r"(?P<scheme>https?)://"
    r"(?P<host>\[[0-9a-f:.]+\]|[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?)*)"
    r"(?::(?P<port>[1-9][0-9]{0,4}))?"
    rf"(?P<path>(?:/(?:{_PCHAR})*)*)"
    rf"(?P<query>\?(?:{_PCHAR}|[/?])*)?"
)
#: Characters that mean something else once a server or proxy has decoded them: . / \ % and controls.
_TWO_FACED = re.compile(r"%(?:2[EeFf5]|5[Cc]|[01][0-9A-Fa-f]|7[Ff])")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_WILDCARD = "/*"


@dataclass(frozen=True, slots=True)
class _Url:
    scheme: str
    host: str
    port: int
    path: str
    query: str

    @property
    def origin(self) -> str:
        port = "" if self.port == _DEFAULT_PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{self.host}{port}"

    @property
    def is_loopback(self) -> bool:
        """RFC 8252 section 8.3 prefers the literal addresses; RFC 6761 section 6.3 keeps the names local."""
        if self.host == "localhost" or self.host.endswith(".localhost"):
            return True
        try:
            if self.host.startswith("["):
                return IPv6Address(self.host[1:-1]).is_loopback
            return IPv4Address(self.host).is_loopback
        except AddressValueError:
            return False


def return_url_problem(pattern: str, kind: EnvironmentKind) -> str | None:
    """Why ``pattern`` may not stand in the list of allowed return URLs; None when it may.

    It is a whole URL, or one that ends in ``/*`` and stands for everything below that path.
    """
    url = _parse(pattern)
    if url is None:
        return (
            "is not a plain http(s) URL: scheme, host, path and query, without user information, fragment, "
            "'..' or encoded separators"
        )
    if "*" in pattern.removesuffix(_WILDCARD) or (url.query and pattern.endswith(_WILDCARD)):
        return "may have '*' only as the end of its path, '/*', and no query then"
    return _scheme_problem(url, kind)


def origin_problem(origin: str, kind: EnvironmentKind) -> str | None:
    """Why ``origin`` may not stand in the list of allowed origins; None when it may."""
    url = _parse(origin)
    if url is None or url.path or url.query:
        return "is not an origin: scheme://host, with a port where it is not the usual one, and nothing after"
    return _scheme_problem(url, kind)


def canonical_origin(origin: str) -> str:
    """An origin that has no problem, as browsers write it: lower case, without the usual port."""
    url = _parse(origin)
    if url is None:
        raise ValueError("the origin has a problem")
    return url.origin


def origin_of(return_url: str) -> str:
    """The origin of a return URL that was allowed: the exact target of a popup's message."""
    return canonical_origin(return_url)


def return_url_allowed(environment: Environment, url: str) -> bool:
    """Whether a browser may be sent to ``url``.

    Scheme, host and port must be those of an allowed URL (case and the usual port make no difference), and
    path and query must equal it character for character.  Below an allowed ``https://host/a/*`` lies every
    URL whose path begins with ``/a/``, with any query; ``/a`` itself and ``/ab`` do not.
    """
    wanted = _parse(url)
    if wanted is None or _scheme_problem(wanted, environment.kind) is not None:
        return False
    return any(_covers(pattern, wanted) for pattern in environment.return_urls)


def origin_allowed(environment: Environment, return_url: str) -> bool:
    """Whether a popup that was begun with this return URL may send a message to that URL's origin."""
    wanted = _parse(return_url)
    if wanted is None or _scheme_problem(wanted, environment.kind) is not None:
        return False
    return wanted.origin in _origins(environment.origins)


def _origins(listed: Iterable[str]) -> set[str]:
    return {url.origin for origin in listed if (url := _parse(origin)) is not None}


def _covers(pattern: str, wanted: _Url) -> bool:
    allowed = _parse(pattern)
    if allowed is None or allowed.origin != wanted.origin:
        return False
    if pattern.endswith(_WILDCARD) and not allowed.query:
        return (wanted.path or "/").startswith(allowed.path.removesuffix("*"))
    return (allowed.path or "/", allowed.query) == (wanted.path or "/", wanted.query)


def _scheme_problem(url: _Url, kind: EnvironmentKind) -> str | None:
    if url.scheme == "https":
        return None
    if kind is EnvironmentKind.PRODUCTION:
        return "must begin with https:// in a production environment"
    return None if url.is_loopback else "must begin with https:// unless it is on this machine"


def _parse(text: str) -> _Url | None:
    if len(text) > _LONGEST:
        return None
    # Scheme and host are the case-insensitive parts (RFC 3986 section 6.2.2.1).
    scheme, separator, rest = text.partition("://")
    end = next((index for index, character in enumerate(rest) if character in "/?"), len(rest))
    found = _URL.fullmatch(f"{scheme.lower()}{separator}{rest[:end].lower()}{rest[end:]}")
    if found is None or not text.isascii():
        return None
    path = found["path"]
    port = int(found["port"]) if found["port"] else _DEFAULT_PORTS[found["scheme"]]
    if port > 65_535 or _TWO_FACED.search(path) or not _is_plain_path(path):
        return None
    if found["host"].startswith("[") and not _is_ipv6(found["host"][1:-1]):
        return None
    return _Url(found["scheme"], found["host"], port, path, found["query"] or "")


def _is_plain_path(path: str) -> bool:
    """No empty segment but the last, and no dot segment, also not with a parameter behind it (``..;a``)."""
    segments = path.split("/")[1:]
    return all(segments[:-1]) and not any(segment.partition(";")[0] in (".", "..") for segment in segments)


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except AddressValueError:
        return False
    return True
