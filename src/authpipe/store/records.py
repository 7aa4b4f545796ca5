"""Turns rows into the frozen types of ``domain``: by column name, enums and arrays converted."""

from __future__ import annotations

import types
import typing
from collections.abc import Callable
from dataclasses import fields
from enum import StrEnum
from typing import Any, TypeVar

import asyncpg

T = TypeVar("T")


def _converter(hint: object) -> Callable[[Any], Any] | None:
    """How a column of this type is read: enums by value, arrays as tuples, the rest as it comes."""
    if isinstance(hint, types.UnionType):
        inner = [arm for arm in typing.get_args(hint) if arm is not type(None)]
        convert = _converter(inner[0]) if len(inner) == 1 else None
        return None if convert is None else lambda value: None if value is None else convert(value)
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return hint
    if typing.get_origin(hint) is tuple:
        return tuple
    return None


_plans: dict[type[Any], tuple[tuple[str, Callable[[Any], Any] | None], ...]] = {}


def _plan(kind: type[Any]) -> tuple[tuple[str, Callable[[Any], Any] | None], ...]:
    plan = _plans.get(kind)
    if plan is None:
        hints = typing.get_type_hints(kind)
        plan = tuple((field.name, _converter(hints[field.name])) for field in fields(kind))
        _plans[kind] = plan
    return plan


def read(kind: type[T], row: asyncpg.Record) -> T:
    """Build ``kind`` from the columns of the same names; further columns of the row are ignored."""
    values = {name: row[name] if convert is None else convert(row[name]) for name, convert in _plan(kind)}
    return kind(**values)
