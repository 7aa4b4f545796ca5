"""What is made before the first start."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from authpipe.domain.errors import ConfigurationError
from authpipe.server.first_start import prepare
from authpipe.server.settings import load_settings


def test_the_key_file_is_made_once(tmp_path: Path) -> None:
    """In a directory for its owner alone; the second call touches nothing."""
    settings = load_settings(data_dir=str(tmp_path / "a" / "state"))
    made = prepare(settings)
    assert made == tmp_path / "a" / "state" / "kek.key"
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    assert stat.S_IMODE(made.parent.stat().st_mode) == 0o700
    before = made.read_bytes()
    assert prepare(settings) is None
    assert made.read_bytes() == before


def test_a_kek_that_is_elsewhere_is_not_made(tmp_path: Path) -> None:
    """Only a local key can be."""
    assert prepare(load_settings(data_dir=str(tmp_path), keks=["pkcs11:token=a"])) is None
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_cannot_be_made_is_an_error_with_the_remedy(tmp_path: Path) -> None:
    """It names the variable."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="set AUTHPIPE_DATA_DIR"):
        prepare(load_settings(data_dir=str(tmp_path / "file" / "state")))
