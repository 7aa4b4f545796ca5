"""Loads provider definitions from TOML, one file per provider, and refuses what is not exactly right."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

from authpipe.catalog.catalog import Catalog
from authpipe.catalog.contradictions import contradictions
from authpipe.catalog.definition import ProviderDefinition
from authpipe.catalog.finding import Finding
from authpipe.catalog.strict import read_table
from authpipe.domain.errors import ConfigurationError

_SUFFIX: Final = ".toml"


def load_catalog(directory: Path | None = None) -> Catalog:
    """Every definition in ``directory``, by default those that come with Authpipe.

    Raises ``ConfigurationError`` for a file that is not a definition; the message has one line per fault:
    file, dotted key, what is wrong and how to mend it.  Files that do not end in ``.toml`` are ignored.
    """
    place: Traversable = files("authpipe.catalog") / "providers" if directory is None else directory
    try:
        found = sorted(
            (file for file in place.iterdir() if file.name.endswith(_SUFFIX)), key=lambda file: file.name
        )
        return Catalog([read_definition(file.name, file.read_text(encoding="utf-8")) for file in found])
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"cannot read the provider definitions in {place}: {error}") from error


def read_definition(file_name: str, text: str) -> ProviderDefinition:
    """The definition in ``text``.  Raises ``ConfigurationError`` naming every fault, one per line."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{file_name}: not valid TOML: {error}") from error
    findings: list[Finding] = []
    definition = read_table(ProviderDefinition, table, findings)
    if definition is not None:
        findings.extend(contradictions(definition))
        if definition.id + _SUFFIX != file_name:
            findings.append(
                Finding(key="id", message=f"is {definition.id!r}; it must be the name of the file")
            )
    if definition is None or findings:
        lines = (f"{file_name}: {finding.key}: {finding.message}" for finding in findings)
        raise ConfigurationError("\n".join(lines))
    return definition
