"""Requests made of an OpenAPI document: every operation, filled with ids of objects that exist."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

EXTENSION = "x-authpipe-access"
#: What reads comes before what changes, and what removes is last.
_ORDER = ("get", "patch", "put", "post", "delete")


@dataclass(frozen=True)
class Attempt:
    """One request of one operation."""

    operation_id: str
    method: str
    path: str
    access: Mapping[str, str] | None
    params: dict[str, str] = field(default_factory=dict)
    body: Any = None
    #: Whether a good answer has no end: server-sent events.
    endless: bool = False

    @property
    def arguments(self) -> dict[str, Any]:
        """For the HTTP client."""
        return {} if self.body is None else {"json": self.body}

    def sent(self) -> str:
        """Everything the request says, to tell an answer that repeats it from one that tells more."""
        return f"{self.path} {self.params} {self.body}"

    @property
    def names_an_id(self) -> bool:
        """Whether the address holds an id that was chosen here, not by the application or the catalog."""
        return re.search(r"/[0-9a-f]{8}-[0-9a-f-]{27}", self.path) is not None

    def __str__(self) -> str:
        return f"{self.method} {self.path} {self.params or ''}"


@dataclass(frozen=True)
class Filling:
    """What stands for what: ``path`` by the parameter's name, ``values`` by the name of a query parameter or
    of a body's field, ``bodies`` by the name of a body's schema."""

    path: Mapping[str, str]
    values: Mapping[str, str]
    bodies: Mapping[str, Mapping[str, Any]]


def operations(document: Mapping[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """Method, path and operation of each, what reads first."""
    found = [
        (method, path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    return sorted(found, key=lambda each: (_ORDER.index(each[0]), each[1]))


def attempts(document: Mapping[str, Any], filling: Filling) -> Iterator[Attempt]:
    """Every operation under ``/v1``, with each kind of body it takes, and with few and with many parameters.

    Raises ``KeyError`` for a path parameter nothing stands for.
    """
    for method, path, operation in operations(document):
        if not path.startswith("/v1"):
            continue
        for params in _queries(operation, filling):
            for body in _bodies(document, operation, filling):
                yield Attempt(
                    operation_id=operation["operationId"],
                    method=method.upper(),
                    path=_filled(path, filling),
                    access=operation.get(EXTENSION),
                    params=params,
                    body=body,
                    endless="text/event-stream" in operation["responses"].get("200", {}).get("content", {}),
                )


def _filled(path: str, filling: Filling) -> str:
    def stand_in(parameter: re.Match[str]) -> str:
        if parameter[1] not in filling.path:
            raise KeyError(f"nothing stands for the path parameter {parameter[1]} of {path}")
        return quote(filling.path[parameter[1]], safe="")

    return re.sub(r"\{(\w+)[^}]*\}", stand_in, path)


def _queries(operation: Mapping[str, Any], filling: Filling) -> list[dict[str, str]]:
    parameters = [each for each in operation.get("parameters", ()) if each["in"] == "query"]
    few = {each["name"]: filling.values[each["name"]] for each in parameters if each["required"]}
    many = {
        each["name"]: filling.values[each["name"]] for each in parameters if each["name"] in filling.values
    }
    return [few] if few == many else [few, many]


def _bodies(document: Mapping[str, Any], operation: Mapping[str, Any], filling: Filling) -> list[Any]:
    if "requestBody" not in operation:
        return [None]
    [media] = operation["requestBody"]["content"].values()
    name, schema = _resolved(document, media["schema"])
    alternatives = schema.get("oneOf") or schema.get("anyOf")
    kinds = [_resolved(document, each) for each in alternatives] if alternatives else [(name, schema)]
    return [
        {**_with(kind["examples"][0], filling.values), **filling.bodies.get(title, {})}
        for title, kind in kinds
    ]


def _resolved(document: Mapping[str, Any], schema: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    if "$ref" not in schema:
        return str(schema.get("title", "")), schema
    name = schema["$ref"].rsplit("/", 1)[-1]
    return name, document["components"]["schemas"][name]


def _with(example: Any, values: Mapping[str, str]) -> Any:
    """The example with the ids of real objects."""
    return {name: values.get(name, value) for name, value in example.items()}
