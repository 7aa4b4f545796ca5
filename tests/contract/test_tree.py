"""What may not be in the tree: places of one machine, hosts of registries, requirements without hashes."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

# Written in pieces, so that this file keeps its own rule.
MACHINE_PATH = re.compile(r"(?<![\w./:-])/(?:work|root|opt/wheels|home/[a-z_][\w-]*)/")
REGISTRY_HOST = re.compile(
    "|".join((r"pypi\." + "org", r"pythonhosted\." + "org", r"registry\.npmjs\." + "org"))
)


def _texts(tracked_files: list[Path], root: Path) -> list[tuple[str, str]]:
    found = []
    for path in tracked_files:
        content = path.read_bytes()
        if b"\0" not in content:
            found.append((path.relative_to(root).as_posix(), content.decode("utf-8")))
    return found


@pytest.mark.parametrize("pattern", [MACHINE_PATH, REGISTRY_HOST], ids=["machine path", "registry host"])
def test_no_file_names_a_place_of_one_machine(
    tracked_files: list[Path], root: Path, pattern: re.Pattern[str]
) -> None:
    """Nobody's home directory, checkout or package index is written into a file.

    npm leaves the index out of its lock file with `omit-lockfile-registry-resolved=true`.
    """
    found = [
        f"{shown}:{number}: {hit.group()}"
        for shown, text in _texts(tracked_files, root)
        for number, line in enumerate(text.splitlines(), 1)
        for hit in pattern.finditer(line)
    ]
    assert not found, "\n".join(["", *found])


def test_requirements_come_from_no_particular_index_and_carry_hashes(root: Path) -> None:
    """Every locked package has its files' hashes, and no option, address or folder says where to get it."""
    files = sorted((root / "requirements").glob("*.txt"))
    assert [path.name for path in files] == ["build.txt", "dev.txt", "server.txt", "uv.txt"]
    for path in files:
        text = path.read_text()
        assert "://" not in text, path.name
        entries = [
            entry for entry in text.replace("\\\n", " ").splitlines() if entry and entry[0] not in "# "
        ]
        assert entries, path.name
        assert [
            entry for entry in entries if not re.match(r"[\w.-]+==\S+ .*--hash=sha256:[0-9a-f]{64}", entry)
        ] == []


def test_one_package_has_one_version_in_every_lock(root: Path) -> None:
    """What `make demo` runs is what `make test` tested."""
    versions: dict[str, set[str]] = {}
    for path in (root / "requirements").glob("*.txt"):
        for name, version in re.findall(r"^([\w.-]+)==(\S+)", path.read_text(), re.MULTILINE):
            versions.setdefault(name, set()).add(version)
    assert {name: found for name, found in versions.items() if len(found) > 1} == {}


def test_the_locks_hold_what_the_project_asks_for(root: Path) -> None:
    """A dependency added to pyproject.toml without `make lock` is found here."""
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    asked = {
        "server": project["dependencies"] + project["optional-dependencies"]["server"],
        "dev": project["optional-dependencies"]["dev"],
    }
    for tier, requirements in asked.items():
        locked = set(
            re.findall(r"^([\w.-]+)==", (root / "requirements" / f"{tier}.txt").read_text(), re.MULTILINE)
        )
        names = {_normal(re.match(r"[\w.-]+", entry).group()) for entry in requirements} - {"authpipe"}  # type: ignore[union-attr]
        assert names - locked == set(), f"run `make lock`: requirements/{tier}.txt lacks these"


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
