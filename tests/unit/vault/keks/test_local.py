"""Key files: how they are made, and when they are refused."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authpipe.domain.errors import ConfigurationError
from authpipe.domain.secret import Secret
from authpipe.vault.aes_key import AesKey
from authpipe.vault.keks.key_file import find_problem, format_key_file, key_in
from authpipe.vault.keks.local import LocalKek


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_a_new_key_file_is_for_its_owner_alone(tmp_path: Path, umask: int) -> None:
    """Mode 0600 whatever the umask allows, and nothing else left beside it."""
    before = os.umask(umask)
    try:
        LocalKek.create(tmp_path / "kek")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "kek").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["kek"]


async def test_a_key_file_opens_as_the_key_that_was_created(tmp_path: Path) -> None:
    """Same URI, same id, and each unwraps what the other wrapped."""
    created = LocalKek.create(tmp_path / "kek")
    opened = LocalKek.open(tmp_path / "kek", refuse_exposed=True)
    assert opened.uri == created.uri == f"local:{tmp_path / 'kek'}"
    assert opened.kek_id == created.kek_id
    key = AesKey.generate()
    unwrapped = await opened.unwrap(await created.wrap(key, b"place"), b"place")
    assert unwrapped.reveal_key_bytes() == key.reveal_key_bytes()


def test_the_id_follows_the_key_and_not_the_place(tmp_path: Path) -> None:
    """A moved file is the same KEK; a new file of the old name is another."""
    first = LocalKek.create(tmp_path / "kek")
    (tmp_path / "kek").rename(tmp_path / "moved")
    second = LocalKek.create(tmp_path / "kek")
    assert LocalKek.open(tmp_path / "moved", refuse_exposed=True).kek_id == first.kek_id
    assert second.kek_id != first.kek_id


@pytest.mark.parametrize("kind", ["key file", "empty file", "directory", "dangling link"])
def test_an_existing_file_is_never_overwritten(tmp_path: Path, kind: str) -> None:
    """Whatever has the name keeps it, byte for byte."""
    path = tmp_path / "kek"
    if kind == "key file":
        LocalKek.create(path)
    elif kind == "empty file":
        path.touch()
    elif kind == "directory":
        path.mkdir()
    else:
        path.symlink_to(tmp_path / "nowhere")
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(ConfigurationError, match="never overwritten"):
        LocalKek.create(path)
    assert before == (path.read_bytes() if path.is_file() else None)
    assert [one.name for one in tmp_path.iterdir()] == ["kek"]


def test_of_many_that_create_the_same_file_one_succeeds(tmp_path: Path) -> None:
    """The others are told so, and the file is the winner's, whole."""

    def create(_: int) -> str | None:
        try:
            return LocalKek.create(tmp_path / "kek").kek_id
        except ConfigurationError:
            return None

    with ThreadPoolExecutor(8) as threads:
        ids = [kek_id for kek_id in threads.map(create, range(32)) if kek_id is not None]
    assert ids == [LocalKek.open(tmp_path / "kek", refuse_exposed=True).kek_id]
    assert [path.name for path in tmp_path.iterdir()] == ["kek"]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """The directory is missing: the message says which file and why."""
    with pytest.raises(ConfigurationError, match=r"missing/kek cannot be written: No such file"):
        LocalKek.create(tmp_path / "missing" / "kek")


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o644, 0o666, 0o660, 0o620, 0o602])
def test_an_exposed_file_is_refused_in_production_and_only_there(tmp_path: Path, mode: int) -> None:
    """The message gives the mode and the command that repairs it."""
    path = tmp_path / "kek"
    kek_id = LocalKek.create(path).kek_id
    path.chmod(mode)
    with pytest.raises(ConfigurationError, match=rf"mode {mode:04o}\); run: chmod 600 {path}"):
        LocalKek.open(path, refuse_exposed=True)
    assert LocalKek.open(path, refuse_exposed=False).kek_id == kek_id
    path.chmod(0o400)
    assert LocalKek.open(path, refuse_exposed=True).kek_id == kek_id


def test_a_link_to_an_exposed_file_is_refused(tmp_path: Path) -> None:
    """What counts is the mode of the file that is read."""
    LocalKek.create(tmp_path / "real")
    (tmp_path / "kek").symlink_to(tmp_path / "real")
    LocalKek.open(tmp_path / "kek", refuse_exposed=True)
    (tmp_path / "real").chmod(0o644)
    with pytest.raises(ConfigurationError, match="open to other accounts"):
        LocalKek.open(tmp_path / "kek", refuse_exposed=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_account_is_refused_in_production_and_only_there(tmp_path: Path) -> None:
    """Its owner can read it, and whoever can replace a file in its directory owns what they put there."""
    path = tmp_path / "kek"
    kek_id = LocalKek.create(path).kek_id
    os.chown(path, 65534, 65534)
    with pytest.raises(ConfigurationError, match=r"belongs to another account \(uid 65534\); run: chown 0 "):
        LocalKek.open(path, refuse_exposed=True)
    assert LocalKek.open(path, refuse_exposed=False).kek_id == kek_id


def test_a_missing_file_is_named_with_a_remedy(tmp_path: Path) -> None:
    """The operator learns what to do, not an errno."""
    with pytest.raises(ConfigurationError, match=r"kek does not exist; restore it .* 'authpipe init'"):
        LocalKek.open(tmp_path / "kek", refuse_exposed=False)


def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    """A directory, and a FIFO that nobody writes to, which must not hang."""
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path, tmp_path / "fifo"):
        with pytest.raises(ConfigurationError, match="is not a regular file"):
            LocalKek.open(path, refuse_exposed=False)


def _lines(*lines: str) -> bytes:
    return "\n".join(lines).encode() + b"\n"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        pytest.param(b"", "does not begin with 'authpipe-kek'", id="empty"),
        pytest.param(b"\xff\xfe\x00", "is not text", id="binary"),
        pytest.param(_lines("-----BEGIN PRIVATE KEY-----"), "does not begin with", id="something else"),
        pytest.param(_lines("authpipe-kek 2", "key A", "checksum b"), "has a version", id="a later version"),
        pytest.param(_lines("authpipe-kek 1"), "exactly one 'key' line", id="no key"),
        pytest.param(_lines("authpipe-kek 1", "key A"), "exactly one 'key' line", id="cut off"),
        pytest.param(
            _lines("authpipe-kek 1", "key A", "checksum b", "key B"), "exactly one 'key' line", id="two keys"
        ),
        pytest.param(_lines("authpipe-kek 1", "key AAAA", "checksum 0"), "checksum", id="damaged"),
        pytest.param(
            _lines("authpipe-kek 1", "key AAAA", "checksum a0805fb8336b66cc"), "256 bits", id="a short key"
        ),
        pytest.param(b"#" * 20_000, "too large", id="a large file"),
    ],
)
def test_a_malformed_file_is_refused_with_what_is_wrong(tmp_path: Path, content: bytes, told: str) -> None:
    """The message names file and fault and repeats nothing of the content."""
    path = tmp_path / "kek"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=told) as caught:
        LocalKek.open(path, refuse_exposed=False)
    assert str(path) in str(caught.value)
    assert "AAAA" not in str(caught.value)


@given(position=st.integers(min_value=0), replacement=st.sampled_from("AZaz09-_ \n#"))
def test_a_changed_character_never_yields_another_key(position: int, replacement: str) -> None:
    """A damaged key line is noticed: the file is refused or still says the same key."""
    key = AesKey(bytes(range(32)))
    text = format_key_file(key).reveal()
    position %= len(text)
    damaged = Secret(text[:position] + replacement + text[position + 1 :])
    assert find_problem(damaged) is not None or key_in(damaged).reveal_key_bytes() == key.reveal_key_bytes()


def test_the_file_warns_whoever_finds_it(tmp_path: Path) -> None:
    """Its first words say what it is and that it needs a copy."""
    LocalKek.create(tmp_path / "kek")
    text = (tmp_path / "kek").read_text()
    assert text.startswith("# Authpipe key-encryption key.")
    assert "Keep a copy" in text
