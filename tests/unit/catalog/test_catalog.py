"""Providers are found by id, by words and by category."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from authpipe.catalog.catalog import Catalog
from authpipe.catalog.loader import load_catalog, read_definition
from authpipe.domain.errors import NotFound

PROVIDERS = Path(__file__).parents[3] / "src" / "authpipe" / "catalog" / "providers"


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load_catalog()


def test_the_definitions_that_come_with_authpipe_are_listed_by_name(catalog: Catalog) -> None:
    """All of them, in alphabetical order."""
    assert [definition.name for definition in catalog.all()] == [
        "Aircall",
        "ClickSend",
        "Dialpad",
        "Discord",
        "Drift",
    ]


def test_a_provider_is_found_by_id(catalog: Catalog) -> None:
    """The id is the name of its file."""
    assert catalog.get("discord").name == "Discord"


def test_an_unknown_provider_is_answered_with_close_names(catalog: Catalog) -> None:
    """A slip of the keyboard is one word away from the remedy."""
    with pytest.raises(NotFound, match=r"no such provider \(did you mean discord\?\)"):
        catalog.get("discrod")


def test_nothing_close_means_no_suggestion(catalog: Catalog) -> None:
    """The message stays short, and never repeats what may be a secret in the wrong field."""
    with pytest.raises(NotFound, match=r"^there is no such provider$"):
        catalog.get("zzzzzz")


@pytest.mark.parametrize(
    ("text", "category", "found"),
    [
        (None, None, ["aircall", "clicksend", "dialpad", "discord", "drift"]),
        ("", None, ["aircall", "clicksend", "dialpad", "discord", "drift"]),
        ("DISC", None, ["discord"]),
        ("d", None, ["dialpad", "discord", "drift", "aircall", "clicksend"]),
        ("calls", None, ["aircall", "dialpad"]),
        ("calls dialpad", None, ["dialpad"]),
        ("calls", "communication", ["aircall", "dialpad"]),
        ("calls", "crm", []),
        (None, "communication", ["aircall", "clicksend", "dialpad", "discord", "drift"]),
        ("nothing like it", None, []),
    ],
)
def test_a_search_finds_every_word_and_puts_names_first(
    catalog: Catalog, text: str | None, category: str | None, found: list[str]
) -> None:
    """Names that begin with the first word come before descriptions that contain it."""
    assert [definition.id for definition in catalog.search(text, category)] == found


def test_categories_are_counted(catalog: Catalog) -> None:
    """Each category in use, with its providers."""
    assert catalog.categories() == {"communication": 5}


def test_a_directory_of_ones_own_is_loaded_instead(tmp_path: Path) -> None:
    """Only the TOML files in it count."""
    shutil.copy(PROVIDERS / "clicksend.toml", tmp_path)
    (tmp_path / "README.md").write_text("not a definition")
    assert [definition.id for definition in load_catalog(tmp_path).all()] == ["clicksend"]


def test_the_reader_is_lean() -> None:
    """A definition costs far below a millisecond beside the parsing, so that hundreds load at once.

    The fastest of several runs is taken, and the bound is wide: it catches a reader that became ten times
    slower, not a busy machine.
    """
    text = (PROVIDERS / "clicksend.toml").read_text()
    read_definition("clicksend.toml", text)
    timings = []
    for _ in range(20):
        started = time.perf_counter()
        read_definition("clicksend.toml", text)
        timings.append(time.perf_counter() - started)
    assert min(timings) < 0.005
