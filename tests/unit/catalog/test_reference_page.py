"""docs/reference/provider-definition.md names every key a definition may have, and no other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from authpipe.catalog import definition
from authpipe.catalog.contradictions import CATEGORIES
from authpipe.catalog.placeholders import STANDARD_NAMES
from authpipe.catalog.quirks import QUIRKS
from authpipe.catalog.strict import keys_of
from authpipe.domain.credential import CredentialKind, CredentialSource
from authpipe.oauth.server import AuthorizationServer, BodyFormat, ClientAuthentication, Pkce, TokenFields

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "provider-definition.md"

SECTIONS: dict[str, type[Any]] = {
    "The provider": definition.ProviderDefinition,
    "Authorization server": AuthorizationServer,
    "Token fields": TokenFields,
    "Side": definition.Side,
    "Header": definition.HeaderFormat,
    "Account": definition.AccountFacts,
    "Parameter": definition.Parameter,
    "Key field": definition.KeyField,
    "Extra credential": definition.ExtraCredential,
    "Request": definition.RequestTemplate,
    "Probe": definition.Probe,
    "Probe rule": definition.ProbeRule,
    "App credential": definition.AppCredential,
    "Scope": definition.Scope,
    "Setup step": definition.SetupStep,
}

WORDS = [
    *definition.AuthModel,
    *definition.SideName,
    *definition.RefreshPolicy,
    *definition.Reading,
    *definition.FactSource,
    *definition.RemovalEffect,
    *definition.RequestAuth,
    *CredentialKind,
    *CredentialSource,
    *BodyFormat,
    *ClientAuthentication,
    *Pkce,
    *CATEGORIES,
    *QUIRKS,
]


def section(title: str) -> str:
    found = re.search(rf"^#+ {re.escape(title)}$(.*?)(?=^#|\Z)", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert found, f"the page has no section {title!r}"
    return found[1]


def documented_keys(title: str) -> list[str]:
    return re.findall(r"^\| `([^`]+)` \| [^|]+ \| [^|]+ \| [^|]+ \|$", section(title), re.MULTILINE)


@pytest.mark.parametrize("title", SECTIONS)
def test_every_key_of_a_table_is_documented_in_its_section(title: str) -> None:
    """The rows are the fields of the dataclass, in its order."""
    assert documented_keys(title) == list(keys_of(SECTIONS[title]))


def test_every_table_of_a_definition_has_a_section() -> None:
    """No dataclass that a file can reach is left out."""
    dataclasses = {
        kind
        for kind in vars(definition).values()
        if isinstance(kind, type) and hasattr(kind, "__dataclass_fields__")
    }
    assert dataclasses | {AuthorizationServer, TokenFields} == set(SECTIONS.values())


@pytest.mark.parametrize("word", WORDS)
def test_every_word_a_value_may_be_is_documented(word: str) -> None:
    """Enumerations, categories and quirks are listed by value."""
    assert f"`{word}`" in PAGE.read_text()


@pytest.mark.parametrize("name", STANDARD_NAMES)
def test_every_placeholder_is_documented(name: str) -> None:
    """The standard placeholders are listed."""
    assert f"`{{{name}}}`" in PAGE.read_text()
