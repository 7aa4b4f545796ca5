"""What must hold of the URLs, request templates, headers and probes of a definition."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import urlsplit

from authpipe.catalog.definition import HeaderFormat, Probe, ProbeRule, RequestAuth, RequestTemplate
from authpipe.catalog.finding import Finding
from authpipe.catalog.placeholders import has_stray_brace, placeholders
from authpipe.catalog.strict import close_match

_METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_REASON: Final = re.compile(r"[a-z][a-z0-9_]*")
_TOKENS: Final = frozenset({"access_token", "refresh_token"})
_PATH: Final = re.compile(r"[^.\s]+(\.[^.\s]+)*")


def url_faults(url: str, key: str) -> Iterator[Finding]:
    """An endpoint is https, with a host, and without user name, query or fragment."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  # reading it is what validates it
    except ValueError:
        yield Finding(key=key, message=f"{url!r} is not a URL")
        return
    if parts.scheme != "https" or not parts.hostname or re.search(r"[\s\\]", url):
        yield Finding(key=key, message=f"{url!r} must be an https URL with a host")
    elif "@" in parts.netloc:
        yield Finding(key=key, message="must have no user name or password")
    elif "?" in url or "#" in url:
        yield Finding(key=key, message="must have no query or fragment; parameters have their own table")
    elif "{" in parts.netloc or "}" in parts.netloc:
        yield Finding(key=key, message="must have no placeholder in the host")


def plain_url_faults(url: str, key: str) -> Iterator[Finding]:
    """As :func:`url_faults`, for an endpoint that is not a template."""
    yield from url_faults(url, key)
    if "{" in url or "}" in url:
        yield Finding(key=key, message="takes no placeholder")


def path_faults(path: str | None, key: str) -> Iterator[Finding]:
    """A dotted path has no empty part and no blanks."""
    if path is not None and not _PATH.fullmatch(path):
        yield Finding(key=key, message=f"{path!r} is not a dotted path such as user.id")


def template_faults(
    template: RequestTemplate,
    key: str,
    *,
    names: Mapping[str, bool],
    header: HeaderFormat,
    has_client: bool,
) -> Iterator[Finding]:
    """``names`` are the placeholders known here, each with whether its value is a secret."""
    if template.method not in _METHODS:
        yield Finding(key=f"{key}.method", message=f"must be one of {', '.join(_METHODS)}")
    yield from url_faults(template.url, f"{key}.url")
    yield from _text_faults(template.url, f"{key}.url", names)
    for name in placeholders(template.url):
        if names.get(name):
            message = f"{{{name}}} is a secret and must not be part of a URL; use headers or form"
            yield Finding(key=f"{key}.url", message=message)
    tables = {
        "headers": template.headers,
        "query": template.query,
        "form": template.form,
        "json": template.json,
    }
    for table, texts in tables.items():
        for name, text in (texts or {}).items():
            yield from _text_faults(text, f"{key}.{table}.{name}", names)
    for name, text in template.query.items():
        for token in _TOKENS & set(placeholders(text)):
            # RFC 9700 section 4.3.2.  An API key may: some providers take it in no other place.
            message = f"{{{token}}} must not be sent in a query; use headers or form"
            yield Finding(key=f"{key}.query.{name}", message=message)
    yield from _body_faults(template, key)
    yield from _header_table_faults(template, key, header)
    if template.auth is RequestAuth.CLIENT and not has_client:
        yield Finding(key=f"{key}.auth", message="client needs an [oauth] table")
    if not template.success or any(not 100 <= status <= 599 for status in template.success):
        yield Finding(key=f"{key}.success", message="must list HTTP statuses")


def header_faults(header: HeaderFormat, key: str, fields: frozenset[str]) -> Iterator[Finding]:
    """``fields`` are the key fields that are not secret."""
    if not _HEADER_NAME.fullmatch(header.name):
        yield Finding(key=f"{key}.name", message=f"{header.name!r} is not a header name")
    known = dict.fromkeys(sorted(fields), False) | {"secret": True}
    if header.basic is None:
        yield from _text_faults(header.value, f"{key}.value", known)
        if "secret" not in placeholders(header.value):
            yield Finding(
                key=f"{key}.value", message="must hold {secret}, or {basic} with a basic key beside it"
            )
        return
    yield from _text_faults(header.value, f"{key}.value", known | {"basic": True})
    yield from _text_faults(header.basic, f"{key}.basic", known)
    if "basic" not in placeholders(header.value):
        yield Finding(key=f"{key}.value", message="must hold {basic}, since basic is given")
    if "secret" not in placeholders(header.basic):
        yield Finding(key=f"{key}.basic", message="must hold {secret}")
    if ":" not in header.basic:
        yield Finding(key=f"{key}.basic", message="must join user name and password with a colon (RFC 7617)")


def probe_rule_faults(probe: Probe, key: str) -> Iterator[Finding]:
    """Rules are complete, and each can be reached."""
    for position, rule in enumerate(probe.rules):
        place = f"{key}.rules[{position}]"
        if not rule.status or any(not 100 <= status <= 599 for status in rule.status):
            yield Finding(key=f"{place}.status", message="must list HTTP statuses")
        yield from path_faults(rule.path, f"{place}.path")
        if rule.path is not None and not rule.values:
            yield Finding(key=f"{place}.path", message="needs values to compare with")
        if rule.path is None and rule.values:
            yield Finding(key=f"{place}.values", message="needs a path at which to look")
        if not _REASON.fullmatch(rule.reason):
            yield Finding(key=f"{place}.reason", message="must be a word of a-z, 0-9 and _")
        if all(_taken(rule, status, probe.rules[:position]) for status in rule.status):
            yield Finding(
                key=place, message="can never match; an earlier rule takes every answer it speaks of"
            )


def _taken(rule: ProbeRule, status: int, earlier: tuple[ProbeRule, ...]) -> bool:
    before = [other for other in earlier if status in other.status]
    if any(other.path is None for other in before):
        return True
    if rule.path is None:
        return False
    seen = {value for other in before if other.path == rule.path for value in other.values}
    return set(rule.values) <= seen


def _text_faults(text: str, key: str, names: Mapping[str, bool]) -> Iterator[Finding]:
    if has_stray_brace(text):
        yield Finding(key=key, message="has a brace outside a {placeholder}")
    for name in placeholders(text):
        if name not in names:
            meant = close_match(name, tuple(names))
            hint = f"did you mean {{{meant}}}?" if meant else f"known here: {', '.join(names)}"
            yield Finding(key=key, message=f"unknown placeholder {{{name}}} ({hint})")


def _body_faults(template: RequestTemplate, key: str) -> Iterator[Finding]:
    if template.form is not None and template.json is not None:
        yield Finding(key=f"{key}.json", message="stands beside form; a request has one body")
    if template.method == "GET" and (template.form is not None or template.json is not None):
        yield Finding(key=f"{key}.method", message="GET takes no body; use POST or the query table")


def _header_table_faults(template: RequestTemplate, key: str, header: HeaderFormat) -> Iterator[Finding]:
    taken = {
        RequestAuth.CREDENTIAL: header.name.lower(),
        RequestAuth.CLIENT: "authorization",
        RequestAuth.NONE: "",
    }[template.auth]
    for name in template.headers:
        if not _HEADER_NAME.fullmatch(name):
            yield Finding(key=f"{key}.headers.{name}", message="is not a header name")
        elif name.lower() == taken:
            yield Finding(
                key=f"{key}.headers.{name}", message=f"is set by auth = {template.auth.value!r}; remove it"
            )
