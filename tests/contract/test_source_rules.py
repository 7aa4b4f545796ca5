"""Rules that every module of src/authpipe keeps, read from its syntax tree."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Module

SOFT_LINES, HARD_LINES = 300, 500

# A statement in capitals anywhere, or in small letters when the string begins with it.
SQL_IN_CAPITALS = re.compile(
    r"\bSELECT\b.+\bFROM\b|\bSELECT\s+(?:set_config|pg_|current_setting|\d)|\bINSERT\s+INTO\b|\bUPDATE\s+\S+\s+SET\b"
    r"|\bDELETE\s+FROM\b|\bTRUNCATE\s+\w|\bMERGE\s+INTO\b|\bSET\s+(?:LOCAL|ROLE|SESSION)\b|^\s*(?:LISTEN|NOTIFY)\s+\w"
    r"|\b(?:CREATE|ALTER|DROP)\s+(?:UNIQUE\s+)?(?:TABLE|INDEX|ROLE|USER|SCHEMA|POLICY|FUNCTION|TYPE|DATABASE|EXTENSION)\b",
    re.DOTALL,
)
SQL_IN_SMALL_LETTERS = re.compile(
    r"^\s*(?:select\s+[\w.*]+(?:\s*,\s*[\w.*]+)*\s+from\s+\w+|insert\s+into\s+\w|update\s+\w+\s+set\s+\w+\s*=|delete\s+from\s+\w+(?:\s+where|;|$))",
)

BANNED_WORDS = {"manager", "helper", "util", "base", "common"}
BANNED_WORDS |= {f"{word}s" for word in BANNED_WORDS}

MAY_NAME_PROVIDERS = ("catalog/", "sandbox/", "sdk/adapters/", "adapters/", "cli/demo.py")


def test_no_file_is_longer_than_an_idea(tracked_files: list[Path], root: Path) -> None:
    """Sources hold at most 500 lines; those over 300, and such tests, are named as a warning."""
    too_long, long = [], []
    for path in tracked_files:
        shown = path.relative_to(root).as_posix()
        is_source = (shown.startswith("src/") and path.suffix == ".py") or (
            shown.startswith("packages/") and path.suffix in {".ts", ".tsx"}
        )
        is_test = shown.startswith("tests/") and path.suffix == ".py"
        if not is_source and not is_test:
            continue
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if is_source and lines > HARD_LINES:
            too_long.append(f"{shown}: {lines} lines")
        elif lines > (SOFT_LINES if is_source else HARD_LINES):
            long.append(f"{shown}: {lines} lines")
    if long:
        print("Longer than planned, though allowed:\n  " + "\n  ".join(long))
    assert too_long == [], f"split these: at most {HARD_LINES} lines"


def test_sql_lives_in_the_store_alone(modules: list[Module]) -> None:
    """No string outside store/ reads like an SQL statement."""
    found = [
        f"{module.shown}:{line}: {text.strip()[:60]}"
        for module in modules
        if module.room != "store"
        for line, text in module.strings()
        if SQL_IN_CAPITALS.search(text) or SQL_IN_SMALL_LETTERS.search(text)
    ]
    assert not found, "\n".join(["", *found])


@pytest.mark.parametrize(
    "text",
    [
        "SELECT a\nFROM b",
        "select id, x from t",
        "UPDATE t SET a = 1",
        "  delete from t where a",
        "CREATE TABLE t ()",
    ],
)
def test_the_search_for_sql_knows_sql(text: str) -> None:
    """The pattern above matches statements as they are written."""
    assert SQL_IN_CAPITALS.search(text) or SQL_IN_SMALL_LETTERS.search(text)


@pytest.mark.parametrize(
    "text", ["Select a guild from the list.", "update the settings", "Deleted from Discord"]
)
def test_the_search_for_sql_leaves_prose_alone(text: str) -> None:
    """Text shown to people is not taken for a statement."""
    assert not SQL_IN_CAPITALS.search(text)
    assert not SQL_IN_SMALL_LETTERS.search(text)


def test_providers_are_named_in_the_catalog_alone(
    modules: list[Module], root: Path, tracked_files: list[Path]
) -> None:
    """No string literal is a provider's id outside the catalog, the sandbox, the adapters and the demo."""
    package = root / "src" / "authpipe"
    providers = {path.stem for path in (package / "catalog" / "providers").glob("*.toml")}
    assert providers, "the catalog is empty, so this test would prove nothing"
    found = [
        f"{module.shown}:{line}: {text!r}"
        for module in modules
        if not module.path.relative_to(package).as_posix().startswith(MAY_NAME_PROVIDERS)
        for line, text in module.strings()
        if text.lower() in providers
    ]
    quoted = re.compile(r"""["'](?:{})["']""".format("|".join(sorted(providers))), re.IGNORECASE)
    for path in tracked_files:
        if path.suffix not in {".sql", ".html", ".j2", ".jinja", ".js"} or not path.is_relative_to(package):
            continue
        if path.relative_to(package).as_posix().startswith(MAY_NAME_PROVIDERS):
            continue
        found += [
            f"{path.relative_to(root)}:{number}: {hit.group()}"
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
            for hit in quoted.finditer(line)
        ]
    assert not found, "\n".join(["", *found])


def _words(name: str) -> set[str]:
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    return {word.lower() for word in re.split(r"[_.\W]+", apart) if word}


def test_names_say_what_things_are(modules: list[Module]) -> None:
    """No module or class is a manager, a helper, a util, a base or common."""
    found = []
    for module in modules:
        if _words(module.name) & BANNED_WORDS:
            found.append(module.shown)
        found += [
            f"{module.shown}:{node.lineno}: class {node.name}"
            for node in ast.walk(module.tree)
            if isinstance(node, ast.ClassDef) and _words(node.name) & BANNED_WORDS
        ]
    assert not found, "\n".join(["", *found])


def test_nothing_is_left_for_later(modules: list[Module]) -> None:
    """The sources hold no marker of unfinished work."""
    marker = re.compile(r"\b(?:TODO|FIXME|XXX|NotImplementedError)\b")
    found = [
        f"{module.shown}:{number}: {line.strip()}"
        for module in modules
        for number, line in enumerate(module.path.read_text(encoding="utf-8").splitlines(), 1)
        if marker.search(line)
    ]
    assert not found, "\n".join(["", *found])


@pytest.mark.parametrize(
    ("room", "except_for", "allowed"),
    [
        ("domain", (), set()),
        # Each adapter meets the library that it adapts to; the file on disk is an extra of its own.
        ("sdk", ("sdk/adapters/", "sdk/sealed_file.py"), {"httpx2"}),
    ],
)
def test_rooms_that_stay_light_import_little(
    modules: list[Module], room: str, except_for: tuple[str, ...], allowed: set[str]
) -> None:
    """The domain imports the standard library alone; the SDK adds its one dependency."""
    found = []
    for module in modules:
        inside = module.shown.removeprefix("src/authpipe/")
        if module.room != room or (except_for and inside.startswith(except_for)):
            continue
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            else:
                continue
            for name in names:
                top = name.split(".")[0]
                if top != "authpipe" and top not in sys.stdlib_module_names and top not in allowed:
                    found.append(f"{module.shown}:{node.lineno}: {name}")
    assert not found, "\n".join(["", *found])
