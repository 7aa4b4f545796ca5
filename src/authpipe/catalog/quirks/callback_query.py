"""The query of a callback, as RFC 6749 section 4.1.2 and the HTML standard have it."""

from __future__ import annotations

from urllib.parse import parse_qsl

#: More than any provider sends; a longer list only costs us time.
MAX_PARAMETERS = 64


def standard_callback_query(raw_query: str) -> list[tuple[str, str]]:
    """Names and values in order.

    Raises ``ValueError`` for a part without ``=``, bytes that are not UTF-8, or too many parameters.
    """
    if not raw_query:
        return []
    return parse_qsl(
        raw_query,
        keep_blank_values=True,
        strict_parsing=True,
        errors="strict",
        max_num_fields=MAX_PARAMETERS,
    )
