"""Reads a parsed TOML table into a frozen dataclass, strictly: nothing unknown, missing or of another type.

The dataclasses are the schema.  Their type hints are turned into readers once per class, so that reading a
file costs a few dictionary look-ups per key.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, Final, NamedTuple, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from authpipe.catalog.finding import Finding

T = TypeVar("T")

#: Reads one value that stands at a dotted key; on failure records why and returns ``_REFUSED``.
_Reader = Callable[[object, str, list[Finding]], object]

_REFUSED: Final = object()


class _Plan(NamedTuple):
    readers: Mapping[str, _Reader]
    required: tuple[str, ...]


_PLANS: Final[dict[type[Any], _Plan]] = {}


def read_table(kind: type[T], table: Mapping[str, object], findings: list[Finding]) -> T | None:
    """``table`` as a ``kind``, or None with every reason added to ``findings``."""
    read = _read_dataclass(kind, table, "", findings)
    return None if read is _REFUSED else cast("T", read)


def keys_of(kind: type[Any]) -> tuple[str, ...]:
    """The keys a table of that kind may have, in the order of the dataclass."""
    return tuple(_plan(kind).readers)


def close_match(word: str, known: tuple[str, ...]) -> str | None:
    """The known word that was probably meant, if one is near."""
    from difflib import get_close_matches

    found = get_close_matches(word, known, n=1, cutoff=0.6)
    return found[0] if found else None


def _plan(kind: type[Any]) -> _Plan:
    plan = _PLANS.get(kind)
    if plan is None:
        plan = _PLANS[kind] = _made_plan(kind)
    return plan


def _made_plan(kind: type[Any]) -> _Plan:
    hints = get_type_hints(kind)
    fields = dataclasses.fields(kind)
    return _Plan(
        readers={field.name: _reader(hints[field.name]) for field in fields},
        required=tuple(
            field.name
            for field in fields
            if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        ),
    )


def _reader(hint: Any) -> _Reader:
    if hint is str:
        return _read_text
    if hint is int:
        return _read_integer
    if hint is bool:
        return _read_boolean
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        (inner,) = (argument for argument in get_args(hint) if argument is not type(None))
        return _reader(inner)
    if origin is tuple:
        return _list_reader(_reader(get_args(hint)[0]))
    if origin is frozenset:
        return _set_reader(_reader(get_args(hint)[0]))
    if origin is Mapping:
        return _read_texts
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return _enum_reader(hint)
    if dataclasses.is_dataclass(hint):
        return lambda value, key, findings: _read_dataclass(cast("type[Any]", hint), value, key, findings)
    raise TypeError(f"no strict reader for {hint!r}")


def _read_dataclass(kind: type[Any], value: object, key: str, findings: list[Finding]) -> object:
    if not isinstance(value, dict):
        return _refuse(findings, key, f"must be a table, not {_toml_name(value)}")
    plan = _plan(kind)
    before = len(findings)
    prefix = f"{key}." if key else ""
    read: dict[str, object] = {}
    for name, item in value.items():
        reader = plan.readers.get(name)
        if reader is None:
            _refuse(findings, prefix + name, f"unknown key ({_suggestion(name, tuple(plan.readers))})")
        else:
            read[name] = reader(item, prefix + name, findings)
    for name in plan.required:
        if name not in value:
            _refuse(findings, prefix + name, "missing key; add it")
    return kind(**read) if len(findings) == before else _REFUSED


def _read_text(value: object, key: str, findings: list[Finding]) -> object:
    if not isinstance(value, str):
        return _refuse(findings, key, f"must be text, not {_toml_name(value)}")
    if value == " ":
        return value  # a separator; elsewhere nothing is meant by blanks
    if not value.strip():
        return _refuse(findings, key, "must not be empty; leave the key out instead")
    if value != value.strip():
        return _refuse(findings, key, "has blanks around it; remove them")
    return value


def _read_integer(value: object, key: str, findings: list[Finding]) -> object:
    # bool is a subclass of int, and `true` is never meant as 1.
    if isinstance(value, bool) or not isinstance(value, int):
        return _refuse(findings, key, f"must be a whole number, not {_toml_name(value)}")
    return value


def _read_boolean(value: object, key: str, findings: list[Finding]) -> object:
    if not isinstance(value, bool):
        return _refuse(findings, key, f"must be true or false, not {_toml_name(value)}")
    return value


def _read_texts(value: object, key: str, findings: list[Finding]) -> object:
    if not isinstance(value, dict):
        return _refuse(findings, key, f"must be a table of texts, not {_toml_name(value)}")
    before = len(findings)
    for name, item in value.items():
        _read_text(item, f"{key}.{name}", findings)
    return value if len(findings) == before else _REFUSED


def _list_reader(read_item: _Reader) -> _Reader:
    def read(value: object, key: str, findings: list[Finding]) -> object:
        if not isinstance(value, list):
            return _refuse(findings, key, f"must be a list, not {_toml_name(value)}")
        items = tuple(read_item(item, f"{key}[{position}]", findings) for position, item in enumerate(value))
        return _REFUSED if _REFUSED in items else items

    return read


def _set_reader(read_item: _Reader) -> _Reader:
    read_list = _list_reader(read_item)

    def read(value: object, key: str, findings: list[Finding]) -> object:
        items = read_list(value, key, findings)
        if not isinstance(items, tuple):
            return _REFUSED
        found = frozenset(items)
        if len(found) != len(items):
            return _refuse(findings, key, "names something twice; remove the repetition")
        return found

    return read


def _enum_reader(kind: type[StrEnum]) -> _Reader:
    members: Mapping[object, StrEnum] = {member.value: member for member in kind}
    values = tuple(member.value for member in kind)

    def read(value: object, key: str, findings: list[Finding]) -> object:
        if not isinstance(value, str):
            return _refuse(findings, key, f"must be text, not {_toml_name(value)}")
        member = members.get(value)
        if member is None:
            return _refuse(findings, key, f"{value!r} is not allowed ({_suggestion(value, values)})")
        return member

    return read


def _refuse(findings: list[Finding], key: str, message: str) -> object:
    findings.append(Finding(key=key, message=message))
    return _REFUSED


def _suggestion(word: str, known: tuple[str, ...]) -> str:
    meant = close_match(word, known)
    return f"did you mean {meant}?" if meant else f"known: {', '.join(known)}"


def _toml_name(value: object) -> str:
    names = {
        bool: "true or false",
        int: "a number",
        float: "a number",
        str: "text",
        list: "a list",
        dict: "a table",
    }
    return names.get(type(value), "a date")
