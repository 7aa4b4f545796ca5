"""Lists: one page at a time, oldest first unless said otherwise, continued by an opaque cursor."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Annotated, Generic, Literal, TypeVar
from uuid import UUID

from pydantic import Field

from authpipe.api.fields import Answer, Body
from authpipe.domain.errors import InvalidInput

T = TypeVar("T")
R = TypeVar("R")

LONGEST_PAGE = 200
_PREFIX = "after:"


class Paging(Body):
    """The two parameters every list takes."""

    cursor: Annotated[
        str | None,
        Field(max_length=1000, description="The `next_cursor` of the page before; none for the first page."),
    ] = None
    limit: Annotated[int, Field(ge=1, le=LONGEST_PAGE, description="How many at most.")] = 50


class Page(Answer, Generic[T]):
    """``next_cursor`` asks for what follows; null on the last page.

    A cursor stays good whatever is added or removed meanwhile, and no object that stays is left out or
    comes twice.
    """

    object: Literal["list"] = "list"
    data: list[T]
    next_cursor: str | None = None


def cursor_to(value: str) -> str:
    """The opaque form of a place in a list."""
    return base64.urlsafe_b64encode((_PREFIX + value).encode()).decode().rstrip("=")


def place_of(cursor: str | None) -> str | None:
    """The place a cursor stands for; None for the beginning.  Raises ``InvalidInput``."""
    if cursor is None:
        return None
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        raise bad_cursor() from None
    if not text.startswith(_PREFIX):
        raise bad_cursor()
    return text.removeprefix(_PREFIX)


def id_of(cursor: str | None) -> UUID | None:
    """As :func:`place_of`, for lists in order of ids."""
    place = place_of(cursor)
    try:
        return None if place is None else UUID(place)
    except ValueError:
        raise bad_cursor() from None


def bad_cursor() -> InvalidInput:
    """The error for a cursor no answer of this list held."""
    return InvalidInput("cursor must be the next_cursor of an earlier answer of this list", field="cursor")


def cut(found: Sequence[R], limit: int, place: Callable[[R], object]) -> tuple[Sequence[R], str | None]:
    """The page and the cursor to the next, of what was found with one more than ``limit``."""
    if len(found) <= limit:
        return found, None
    page = found[:limit]
    return page, cursor_to(str(place(page[-1])))
