"""How authenticated facts become bytes, so that no two sets of facts become the same bytes."""

from __future__ import annotations

from struct import Struct

_HEAD = Struct(">BI")
_ABSENT = b"\x00"
_PRESENT = 1


def encode_facts(*facts: bytes | None) -> bytes:
    """Each fact with its length before it; None is a single zero byte and differs from every value.

    Injective: a boundary cannot move from one fact to the next, and an absent fact cannot pass for an empty
    one, so data authenticated under one set of facts never verifies under another.
    """
    return b"".join(
        [_ABSENT if fact is None else _HEAD.pack(_PRESENT, len(fact)) + fact for fact in facts],
    )
