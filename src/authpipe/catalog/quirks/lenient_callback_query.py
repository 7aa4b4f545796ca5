"""Callbacks in which a parameter is joined by ``?`` where the standard has ``&``."""

from __future__ import annotations

import re
from typing import Final

from authpipe.catalog.quirks.callback_query import standard_callback_query
from authpipe.catalog.quirks.quirk import Quirk

# A question mark may stand literally in a query (RFC 3986 section 3.4): only one that begins a parameter
# counts as a joint, and not the very first character, which would be an empty parameter.
_JOINT: Final = re.compile(r"(?<=.)\?(?=[A-Za-z_][A-Za-z0-9_.-]*=)")


def callback_query(raw_query: str) -> list[tuple[str, str]]:
    """Names and values in order, for queries such as ``code=abc?state=xyz``."""
    return standard_callback_query(_JOINT.sub("&", raw_query))


QUIRK: Final = Quirk(
    name="lenient_callback_query",
    summary="a parameter of the callback may be joined by ? instead of &",
    callback_query=callback_query,
)
