"""Makes text that a stranger wrote safe to store, log and show."""

from __future__ import annotations


def clean_text(text: str, *, longest: int) -> str:
    """The text on one line, without control, format and unpaired surrogate characters, cut to ``longest``."""
    kept = "".join(character if character.isprintable() else " " for character in text[: longest * 2])
    kept = " ".join(kept.split())
    return kept if len(kept) <= longest else kept[: longest - 1] + "\N{HORIZONTAL ELLIPSIS}"
