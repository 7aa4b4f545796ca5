"""Imports point down, and a machine says so."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_the_import_contracts_are_kept(root: Path) -> None:
    """`.importlinter` holds: layers, no cycles, the SDK alone, the sandbox apart, every room listed."""
    checked = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=root, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stdout + checked.stderr
