"""``/openapi.json`` for programs and ``/docs`` for people: one document, and nothing from another host."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from authpipe.telemetry.plain_route import PlainRoute

Document = dict[str, Any]

_POLICY = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}
_METHODS = ("get", "post", "put", "patch", "delete")
_CODE = re.compile(r"`([^`]+)`")
_BOLD = re.compile(r"\*\*([^*]+)\*\*")
_DEEPEST = 3


class Row(NamedTuple):
    """One line of a table of fields or parameters."""

    name: str
    kind: str
    required: bool
    text: str


class Reply(NamedTuple):
    """One answer of an operation."""

    status: str
    text: str
    example: str | None


class Operation(NamedTuple):
    """One operation as the page shows it."""

    anchor: str
    method: str
    path: str
    summary: str
    text: str
    parameters: list[Row]
    bodies: list[tuple[str, list[Row], str | None]]
    replies: list[Reply]


def routes(document: Callable[[], Document]) -> list[PlainRoute]:
    """The document as JSON, the page, and the page's style sheet."""

    @cache
    def page() -> str:
        return render(document())

    @cache
    def style() -> tuple[str, str]:
        text = (resources.files("authpipe.api") / "templates" / "reference.css").read_text(encoding="utf-8")
        return text, hashlib.sha256(text.encode()).hexdigest()[:16]

    @cache
    def document_bytes() -> bytes:
        return json.dumps(document(), ensure_ascii=False, separators=(",", ":")).encode()

    async def openapi(_request: Request) -> Response:
        return Response(document_bytes(), media_type="application/json")

    async def docs(_request: Request) -> Response:
        return HTMLResponse(page(), headers=_HEADERS)

    async def css(_request: Request) -> Response:
        return Response(style()[0], media_type="text/css", headers={"Cache-Control": "public, max-age=300"})

    return [
        PlainRoute("/openapi.json", openapi),
        PlainRoute("/docs", docs),
        PlainRoute("/docs/reference.css", css),
    ]


def render(document: Document) -> str:
    """The page, without a script and without an address of another host."""
    environment = Environment(
        loader=PackageLoader("authpipe.api"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["prose"] = prose
    return environment.get_template("reference.html").render(
        info=document["info"],
        server=document["servers"][0]["url"],
        sections=[
            (tag["name"], _anchor(tag["name"]), tag["description"], list(_operations(document, tag["name"])))
            for tag in document["tags"]
        ],
    )


def prose(text: str) -> Markup:
    """Paragraphs, `code` and **bold**; everything else is text."""
    paragraphs = []
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        safe = str(escape(" ".join(paragraph.split())))
        safe = _BOLD.sub(r"<strong>\1</strong>", _CODE.sub(r"<code>\1</code>", safe))
        paragraphs.append(f"<p>{safe}</p>")
    return Markup("".join(paragraphs))  # noqa: S704  # escaped above, then two tags of our own


def _operations(document: Document, tag: str) -> Iterator[Operation]:
    for path, operations in document["paths"].items():
        for method in _METHODS:
            operation = operations.get(method)
            if operation is None or tag not in operation["tags"]:
                continue
            text = operation.get("description", "")
            summary = operation["summary"]
            yield Operation(
                anchor=operation["operationId"],
                method=method.upper(),
                path=path,
                summary=summary,
                text=text,
                parameters=[
                    Row(
                        parameter["name"],
                        f"{_kind(document, parameter['schema'])}{_default(parameter['schema'])}, "
                        f"in the {parameter['in']}",
                        parameter["required"],
                        parameter.get("description", "") or parameter["schema"].get("description", ""),
                    )
                    for parameter in operation.get("parameters", [])
                ],
                bodies=list(_bodies(document, operation)),
                replies=[
                    Reply(status, reply["description"], _reply_example(document, reply))
                    for status, reply in operation["responses"].items()
                ],
            )


def _bodies(document: Document, operation: Document) -> Iterator[tuple[str, list[Row], str | None]]:
    content = operation.get("requestBody", {}).get("content", {})
    for media in content.values():
        schema = media["schema"]
        for alternative in schema.get("oneOf", [schema]):
            found = _resolved(document, alternative)
            yield (
                found.get("description", ""),
                list(_rows(document, found)),
                _pretty(found.get("examples", [None])[0]),
            )


def _rows(document: Document, schema: Document, prefix: str = "", depth: int = 1) -> Iterator[Row]:
    required = schema.get("required", [])
    for name, inner in schema.get("properties", {}).items():
        found = _resolved(document, inner)
        yield Row(
            f"{prefix}{name}",
            _kind(document, inner) + _default(inner),
            name in required,
            inner.get("description", "") or found.get("description", ""),
        )
        if "properties" in found and depth < _DEEPEST:
            yield from _rows(document, found, f"{prefix}{name}.", depth + 1)


def _reply_example(document: Document, reply: Document) -> str | None:
    for media in reply.get("content", {}).values():
        if "examples" in media:
            return _pretty(next(iter(media["examples"].values()))["value"])
        found = _resolved(document, media["schema"])
        if "examples" in found:
            return _pretty(found["examples"][0])
    return None


def _resolved(document: Document, schema: Document) -> Document:
    reference = schema.get("$ref")
    if reference is None:
        return schema
    found: Document = document["components"]["schemas"][reference.rsplit("/", 1)[1]]
    return found


def _kind(document: Document, schema: Document) -> str:
    """The type in words: ``string``, ``list of strings``, ``one of …``."""
    found = _resolved(document, schema)
    if "const" in found:
        return f"“{found['const']}”"
    if "enum" in found:
        return "one of " + ", ".join(str(value) for value in found["enum"])
    if "anyOf" in found:
        kinds = [_kind(document, each) for each in found["anyOf"] if each.get("type") != "null"]
        nullable = any(each.get("type") == "null" for each in found["anyOf"])
        return " or ".join(kinds + (["null"] if nullable else []))
    kind = str(found.get("type", "any"))
    if kind == "array":
        return f"list of {_kind(document, found.get('items', {}))}"
    if kind == "object" and isinstance(found.get("additionalProperties"), dict):
        return f"object of {_kind(document, found['additionalProperties'])}"
    wanted = found.get("format")
    return f"{kind} ({wanted})" if wanted else kind


def _default(schema: Document) -> str:
    told = schema.get("default")
    return "" if told in (None, [], {}) or "const" in schema else f", default {json.dumps(told)}"


def _pretty(value: Any) -> str | None:
    return None if value is None else json.dumps(value, indent=2, ensure_ascii=False)


def _anchor(name: str) -> str:
    return name.lower().replace(" ", "-")
