"""Deviations that are code: one file per behaviour, referred to by name from provider definitions."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from authpipe.catalog.definition import ProviderDefinition
from authpipe.catalog.quirks import lenient_callback_query
from authpipe.catalog.quirks.callback_query import standard_callback_query
from authpipe.catalog.quirks.quirk import Quirk
from authpipe.domain.errors import InvalidInput

#: Every quirk a definition may name.
QUIRKS: Final[Mapping[str, Quirk]] = MappingProxyType(
    {quirk.name: quirk for quirk in (lenient_callback_query.QUIRK,)}
)

#: Longest callback query that is read, in characters; the longest codes known stay under 2 KiB.
MAX_CALLBACK_QUERY: Final = 8192


def parse_callback_query(definition: ProviderDefinition, raw_query: str) -> list[tuple[str, str]]:
    """The parameters of a callback of that provider, in order, repetitions and blank values kept.

    Raises ``InvalidInput`` (field ``query``) for one that is too long or malformed; the message never
    repeats it, since it may hold an authorization code.
    """
    if len(raw_query) > MAX_CALLBACK_QUERY:
        raise InvalidInput(f"is longer than {MAX_CALLBACK_QUERY} characters", field="query")
    behaviours = (QUIRKS[name].callback_query for name in sorted(definition.quirks) if name in QUIRKS)
    read = next((behaviour for behaviour in behaviours if behaviour), standard_callback_query)
    try:
        return read(raw_query)
    except ValueError:
        raise InvalidInput("is not a list of name=value pairs", field="query") from None
