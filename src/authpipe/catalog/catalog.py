"""The providers Authpipe knows, found by id, by words or by category."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from authpipe.catalog.definition import ProviderDefinition
from authpipe.domain.errors import NotFound


class Catalog:
    """An immutable set of definitions, ordered by name."""

    __slots__ = ("_by_id",)

    def __init__(self, definitions: Iterable[ProviderDefinition]) -> None:
        ordered = sorted(definitions, key=lambda definition: (definition.name.casefold(), definition.id))
        self._by_id: Mapping[str, ProviderDefinition] = MappingProxyType(
            {definition.id: definition for definition in ordered}
        )

    def get(self, provider: str) -> ProviderDefinition:
        """The definition with that id.  Raises ``NotFound``, naming ids that are close to it."""
        definition = self._by_id.get(provider)
        if definition is None:
            # What was asked for is not repeated: a secret may have been put into the wrong field.
            raise NotFound(f"there is no such provider{self._close_to(provider)}")
        return definition

    def all(self) -> tuple[ProviderDefinition, ...]:
        """Every definition, by name."""
        return tuple(self._by_id.values())

    def search(self, text: str | None = None, category: str | None = None) -> tuple[ProviderDefinition, ...]:
        """Definitions of the category that have every word of ``text`` in id, name, category or description.

        Matches at the beginning of id or name come first; within that the order is by name.  Without
        arguments all are found.
        """
        words = (text or "").casefold().split()
        found = [
            definition
            for definition in self._by_id.values()
            if (category is None or definition.category == category)
            and all(word in _searched(definition) for word in words)
        ]
        if words:
            found.sort(key=lambda definition: not _begins_with(definition, words[0]))
        return tuple(found)

    def categories(self) -> Mapping[str, int]:
        """The categories in use, in alphabetical order, each with the number of its providers."""
        counts: dict[str, int] = {}
        for definition in self._by_id.values():
            counts[definition.category] = counts.get(definition.category, 0) + 1
        return dict(sorted(counts.items()))

    def _close_to(self, provider: str) -> str:
        from difflib import get_close_matches

        close = get_close_matches(provider.casefold()[:64], self._by_id, n=3, cutoff=0.6)
        return f" (did you mean {' or '.join(close)}?)" if close else ""


def _searched(definition: ProviderDefinition) -> str:
    return f"{definition.id} {definition.name} {definition.category} {definition.description}".casefold()


def _begins_with(definition: ProviderDefinition, word: str) -> bool:
    return definition.id.startswith(word) or definition.name.casefold().startswith(word)
