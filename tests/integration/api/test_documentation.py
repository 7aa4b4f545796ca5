"""The OpenAPI document and the page made of it: complete, true, and from this host alone."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

from authpipe.api.openapi import TAGS
from authpipe.api.rules import EXTENSION

if TYPE_CHECKING:
    from conftest import Api


#: Sent with POST for their bodies; a repetition changes nothing.
READS = {"get_credentials", "report_rejected_credential"}


async def _document(api: Api) -> dict[str, Any]:
    answer = await api.call("GET", "/openapi.json", key=None)
    assert answer.status_code == 200
    return dict(answer.json())


def _operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (method, path, operation)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    ]


def _resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    name = schema.get("$ref", "").rsplit("/", 1)[-1]
    return dict(document["components"]["schemas"][name]) if name else schema


async def test_every_operation_is_described(api: Api) -> None:
    """An id of its own, a tag of the list, a summary, the 401, and the Idempotency-Key of a POST."""
    document = await _document(api)
    assert document["openapi"].startswith("3.1")
    assert [tag["name"] for tag in document["tags"]] == [name for name, _ in TAGS]
    operations = _operations(document)
    ids = [operation["operationId"] for _, _, operation in operations]
    assert len(ids) == len(set(ids))
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)+", identifier) for identifier in ids)
    for method, path, operation in operations:
        assert set(operation["tags"]) <= {name for name, _ in TAGS}, path
        assert operation["summary"], path
        if path.startswith("/v1/"):
            assert "401" in operation["responses"], path
            parameters = [parameter["name"] for parameter in operation.get("parameters", [])]
            changes = method == "post" and operation["operationId"] not in READS
            assert ("Idempotency-Key" in parameters) == changes, path
    assert document["security"] == [{"api_key": []}]


async def test_the_reference_page_tells_every_rule(api: Api) -> None:
    """The table of routes names the role each one needs, and whether a key of one tenant may use it."""
    page = (Path(__file__).parents[3] / "docs" / "reference" / "http-api.md").read_text()
    told = {
        (method.lower(), path): (role, "environment" if reach == "refused" else "tenant")
        for method, path, role, reach in re.findall(
            r"^\| `([A-Z]+) (/v1/\S+)` \| (\w+) \| ([\w' ]+) \|$", page, re.MULTILINE
        )
    }
    enforced = {
        (method, path): (operation[EXTENSION]["role"], operation[EXTENSION]["reach"])
        for method, path, operation in _operations(await _document(api))
        if path.startswith("/v1/")
    }
    assert told == enforced


async def test_every_reference_leads_somewhere(api: Api) -> None:
    """No schema is missing and none is left over."""
    document = await _document(api)
    text = json.dumps(document)
    named = set(re.findall(r'"#/components/schemas/([^"]+)"', text))
    assert named == set(document["components"]["schemas"])


async def test_every_body_and_answer_has_an_example(api: Api) -> None:
    """One that is about a provider of the catalog."""
    document = await _document(api)
    for _, path, operation in _operations(document):
        contents = [operation["requestBody"]] if "requestBody" in operation else []
        contents += operation["responses"].values()
        for content in contents:
            for kind, media in content.get("content", {}).items():
                if not path.startswith("/v1/"):
                    continue
                schema = _resolved(document, media["schema"])
                alternatives = schema.get("oneOf", [schema])
                told = "examples" in media or all(
                    "examples" in _resolved(document, each) for each in alternatives
                )
                assert told, (path, kind)
    assert "<provider>" not in json.dumps(document).lower()
    assert '"provider": "discord"' in json.dumps(document)


async def test_the_page_shows_every_operation(api: Api) -> None:
    """With its anchor in the contents, and the text of the introduction."""
    document = await _document(api)
    page = (await api.call("GET", "/docs", key=None)).text
    for _, path, operation in _operations(document):
        assert f'id="{operation["operationId"]}"' in page
        assert f'href="#{operation["operationId"]}"' in page
        assert f"<code>{path}</code>" in page
    assert "Idempotency-Key" in page
    assert "width=device-width" in page


class _Addresses(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            if name in ("href", "src", "action"):
                self.found.append(value or "")
            assert name != "style"
            assert not name.startswith("on")


async def test_the_page_needs_no_other_host_and_no_script(api: Api) -> None:
    """Every address is its own, the policy forbids the rest, and the style sheet is there."""
    answer = await api.call("GET", "/docs", key=None)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    parser = _Addresses()
    parser.feed(answer.text)
    assert not {"script", "img", "iframe", "form"} & parser.tags
    assert all(address.startswith(("#", "/")) for address in parser.found)
    style = await api.call("GET", "/docs/reference.css", key=None)
    assert style.headers["content-type"].startswith("text/css")
    assert "url(" not in style.text
