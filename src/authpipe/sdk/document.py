"""Reading JSON answers: what is used is checked, what is unknown is ignored."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any


class Malformed(Exception):
    """An answer lacks a field or has it in the wrong type.  Names the field, never its value."""

    def __init__(self, field: str) -> None:
        super().__init__(f"field {field!r} is missing or has the wrong type")


class Document:
    """A JSON object with typed access.  Every method raises :class:`Malformed`."""

    __slots__ = ("_fields",)

    def __init__(self, value: object) -> None:
        if not isinstance(value, dict):
            raise Malformed("(the whole answer)")
        self._fields: dict[str, Any] = value

    @property
    def fields(self) -> Mapping[str, Any]:
        """The whole object, unchecked."""
        return MappingProxyType(self._fields)

    def text(self, name: str) -> str:
        """The text in ``name``."""
        value = self._fields.get(name)
        if not isinstance(value, str):
            raise Malformed(name)
        return value

    def optional_text(self, name: str) -> str | None:
        """The text in ``name``; None where it is absent or null."""
        return None if self._fields.get(name) is None else self.text(name)

    def whole(self, name: str) -> int:
        """The whole number in ``name``."""
        value = self._fields.get(name)
        if not isinstance(value, int) or isinstance(value, bool):
            raise Malformed(name)
        return value

    def flag(self, name: str) -> bool:
        """The truth value in ``name``; False where it is absent or null."""
        value = self._fields.get(name)
        if value is not None and not isinstance(value, bool):
            raise Malformed(name)
        return bool(value)

    def optional_time(self, name: str) -> datetime | None:
        """The RFC 3339 time in ``name``, in UTC; None where it is absent or null."""
        value = self.optional_text(name)
        if value is None:
            return None
        try:
            parsed = datetime.fromisoformat(value)
        except ValueError:
            parsed = None
        if parsed is None or parsed.tzinfo is None:
            raise Malformed(name)
        return parsed.astimezone(UTC)

    def texts(self, name: str) -> tuple[str, ...]:
        """The list of texts in ``name``; empty where it is absent or null."""
        value = self._fields.get(name)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise Malformed(name)
        return tuple(value)

    def text_mapping(self, name: str) -> dict[str, str]:
        """The object of texts in ``name``."""
        value = self._fields.get(name)
        if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
            raise Malformed(name)
        return value

    def frozen_mapping(self, name: str) -> Mapping[str, Any]:
        """The object in ``name``, read-only at every level; empty where it is absent or null."""
        value = self._fields.get(name)
        if value is None:
            return MappingProxyType({})
        if not isinstance(value, dict):
            raise Malformed(name)
        return MappingProxyType({key: _frozen(item) for key, item in value.items()})

    def optional_document(self, name: str) -> Document | None:
        """The object in ``name``; None where it is absent or null."""
        value = self._fields.get(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise Malformed(name)
        return Document(value)

    def documents(self, name: str) -> tuple[Document, ...]:
        """The list of objects in ``name``."""
        value = self._fields.get(name)
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise Malformed(name)
        return tuple(Document(item) for item in value)


def _frozen(value: Any) -> Any:
    # A cached answer is shared by every caller: none may change what the others see.
    if isinstance(value, dict):
        return MappingProxyType({key: _frozen(item) for key, item in value.items()})
    if isinstance(value, list):
        return tuple(_frozen(item) for item in value)
    return value
