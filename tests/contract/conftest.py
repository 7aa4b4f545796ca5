"""What the contract tests look at: this tree's files as they are, read once."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOT_OURS = {".git", ".venv", ".cache", "node_modules", "__pycache__", "dist", "build"}


@dataclass(frozen=True)
class Module:
    """One Python module of the package, parsed."""

    path: Path
    name: str  # authpipe.store.database
    tree: ast.Module

    @property
    def room(self) -> str:
        """The room it lies in; empty for the package's own top-level modules."""
        parts = self.path.relative_to(ROOT / "src" / "authpipe").parts
        return parts[0] if len(parts) > 1 else ""

    @property
    def shown(self) -> str:
        """Its path as a person would look for it."""
        return self.path.relative_to(ROOT).as_posix()

    def strings(self) -> Iterator[tuple[int, str]]:
        """Every string literal with its line, docstrings left out; the fixed parts of an f-string joined."""
        skipped: set[int] = set()
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                skipped.add(id(node.value))  # docstrings
            elif isinstance(node, ast.JoinedStr):
                parts = [part.value for part in node.values if isinstance(part, ast.Constant)]
                skipped.update(id(part) for part in node.values)
                yield node.lineno, " … ".join(str(part) for part in parts)
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skipped:
                yield node.lineno, node.value


def _tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT, capture_output=True, check=False,
    )  # fmt: skip
    if listed.returncode == 0:
        found = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    else:  # a source archive has no repository
        found = [path for path in ROOT.rglob("*") if not NOT_OURS.intersection(path.relative_to(ROOT).parts)]
    return sorted(path for path in found if path.is_file())


@pytest.fixture(scope="session")
def root() -> Path:
    """The top of the tree."""
    return ROOT


@pytest.fixture(scope="session")
def tracked_files() -> list[Path]:
    """Every file that is, or would be, committed."""
    return _tracked()


@pytest.fixture(scope="session")
def modules() -> list[Module]:
    """Every Python module of src/authpipe."""
    source = ROOT / "src"
    found = []
    for path in sorted((source / "authpipe").rglob("*.py")):
        relative = path.relative_to(source).with_suffix("")
        name = ".".join(relative.parts).removesuffix(".__init__")
        found.append(Module(path, name, ast.parse(path.read_text(encoding="utf-8"), str(path))))
    return found
