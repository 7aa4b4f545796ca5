"""Reading control requests strictly: an unknown or wrong field is named."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import TypeVar

from aiohttp import web

from authpipe.sandbox.wire import json_answer

_MARKER = re.compile(r"[A-Za-z0-9]{1,40}")
_Value = TypeVar("_Value")

#: Checks one value: the field's name and the value in, the value to keep out.
Check = Callable[[str, object], object]


class ControlError(Exception):
    """An error answer of the control API."""

    def __init__(self, status: int, code: str, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.field = field

    def answer(self) -> web.Response:
        """The answer as sent."""
        error = {"code": self.code, "field": self.field, "message": self.message}
        return json_answer({"error": error}, status=self.status)


def invalid(field: str, expectation: str) -> ControlError:
    """The error for a value of the wrong kind."""
    return ControlError(400, "invalid_field", f"{field} must be {expectation}", field)


async def read_object(request: web.Request, checks: Mapping[str, Check]) -> dict[str, object]:
    """The checked members of a JSON object; an empty body is an empty object."""
    raw = await request.read()
    try:
        document = json.loads(raw) if raw else {}
    except ValueError:
        raise ControlError(400, "invalid_json", "the body is not JSON") from None
    if not isinstance(document, dict):
        raise ControlError(400, "invalid_json", "the body is not a JSON object")
    return check_object(document, checks)


def check_object(document: Mapping[str, object], checks: Mapping[str, Check]) -> dict[str, object]:
    """Every member through its check."""
    checked: dict[str, object] = {}
    for name, value in document.items():
        if name not in checks:
            known = ", ".join(sorted(checks)) or "none"
            raise ControlError(400, "unknown_field", f"{name} is not a field here; known: {known}", name)
        checked[name] = checks[name](name, value)
    return checked


def required(fields: Mapping[str, object], name: str, kind: type[_Value]) -> _Value:
    """A member that must be there."""
    value = fields.get(name)
    if not isinstance(value, kind):
        raise ControlError(400, "invalid_field", f"{name} is required", name)
    return value


def text(field: str, value: object) -> str:
    """Text that is not empty."""
    if not isinstance(value, str) or not value:
        raise invalid(field, "a non-empty string")
    return value


def flag(field: str, value: object) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise invalid(field, "true or false")
    return value


def texts(field: str, value: object) -> list[str]:
    """A list of non-empty texts."""
    if not isinstance(value, list):
        raise invalid(field, "a list of strings")
    return [text(f"{field}[{index}]", entry) for index, entry in enumerate(value)]


def uri(field: str, value: object) -> str:
    """An absolute URI."""
    if not isinstance(value, str) or "://" not in value:
        raise invalid(field, "an absolute URI")
    return value


def uris(field: str, value: object) -> list[str]:
    """A list of absolute URIs."""
    if not isinstance(value, list):
        raise invalid(field, "a list of absolute URIs")
    return [uri(f"{field}[{index}]", entry) for index, entry in enumerate(value)]


def marker(field: str, value: object) -> str:
    """A marker that fits into every token."""
    if not isinstance(value, str) or _MARKER.fullmatch(value) is None:
        raise invalid(field, "1 to 40 characters of A-Z a-z 0-9")
    return value


def headers(field: str, value: object) -> dict[str, str]:
    """Header names and values without line breaks."""
    if not isinstance(value, dict):
        raise invalid(field, "an object of header names and texts")
    for name, content in value.items():
        if not isinstance(content, str) or {"\r", "\n", "\0"} & set(name + content):
            raise invalid(f"{field}.{name}", "text without line breaks")
    return dict(value)


def anything(field: str, value: object) -> object:
    """Any JSON value."""
    return value


def whole(low: int, high: int) -> Check:
    """A whole number within bounds."""

    def check(field: str, value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise invalid(field, f"a whole number from {low} to {high}")
        return value

    return check


def number(low: float, high: float) -> Check:
    """A number within bounds."""

    def check(field: str, value: object) -> float:
        if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
            raise invalid(field, f"a number from {low:g} to {high:g}")
        return float(value)

    return check


def one_of(*allowed: str | int) -> Check:
    """One of the values listed."""

    def check(field: str, value: object) -> object:
        if isinstance(value, bool) or value not in allowed:
            raise invalid(field, "one of " + ", ".join(str(entry) for entry in allowed))
        return value

    return check


def or_null(check: Check) -> Check:
    """The same, or null."""
    return lambda field, value: None if value is None else check(field, value)
