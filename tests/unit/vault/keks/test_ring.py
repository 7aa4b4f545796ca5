"""Finding KEKs by id, opening them by URI."""

from __future__ import annotations

from pathlib import Path

import pytest

from authpipe.domain.errors import ConfigurationError, VaultError
from authpipe.vault.keks.local import LocalKek
from authpipe.vault.keks.ring import KekRing
from authpipe.vault.keks.uri import open_keks


def test_a_ring_finds_every_kek_by_its_id(tmp_path: Path) -> None:
    """The primary and the others alike."""
    first, second = LocalKek.create(tmp_path / "first"), LocalKek.create(tmp_path / "second")
    ring = KekRing(first, [second])
    assert ring.primary is first
    assert ring.find(first.kek_id) is first
    assert ring.find(second.kek_id) is second


def test_an_unknown_id_is_named_with_the_remedy(tmp_path: Path) -> None:
    """What is known instead stays in the detail, for the operator's log."""
    kek = LocalKek.create(tmp_path / "kek")
    with pytest.raises(VaultError, match="key-encryption key local-0123 is missing; configure") as caught:
        KekRing(kek).find("local-0123")
    assert caught.value.detail == f"known KEKs: {kek.kek_id} ({kek.uri})"


def test_the_first_uri_is_the_primary(tmp_path: Path) -> None:
    """The order in the settings decides what wraps new keys."""
    first, second = LocalKek.create(tmp_path / "first"), LocalKek.create(tmp_path / "second")
    ring = open_keks([second.uri, first.uri], production=True)
    assert ring.primary.kek_id == second.kek_id
    assert ring.find(first.kek_id).uri == first.uri


def test_every_kek_is_closed_also_when_a_later_one_cannot_be_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads and logins of those before it are not left behind."""
    closed: list[str] = []
    monkeypatch.setattr(LocalKek, "close", lambda kek: closed.append(kek.uri))
    first, second = LocalKek.create(tmp_path / "first"), LocalKek.create(tmp_path / "second")
    with pytest.raises(ConfigurationError, match="third does not exist"):
        open_keks([first.uri, second.uri, f"local:{tmp_path / 'third'}"], production=True)
    assert closed == [first.uri, second.uri]
    closed.clear()
    open_keks([second.uri, first.uri], production=True).close()
    assert closed == [second.uri, first.uri]


def test_production_refuses_an_exposed_file_also_among_the_others(tmp_path: Path) -> None:
    """A KEK that is no longer primary still unwraps everything it wrapped."""
    first, second = LocalKek.create(tmp_path / "first"), LocalKek.create(tmp_path / "second")
    (tmp_path / "second").chmod(0o644)
    open_keks([first.uri, second.uri], production=False)
    with pytest.raises(ConfigurationError, match="second is open to other accounts"):
        open_keks([first.uri, second.uri], production=True)


@pytest.mark.parametrize(
    ("uris", "told"),
    [
        pytest.param([], "no key-encryption key is configured", id="none"),
        pytest.param(["local:"], "needs the path", id="no path"),
        pytest.param(["/etc/authpipe/kek"], "has no scheme; known: local:", id="a bare path"),
        pytest.param(
            ["vault-transit:x?pin=1234"], "unknown scheme 'vault-transit'; known: local:", id="foreign"
        ),
    ],
)
def test_a_uri_that_cannot_be_opened_is_refused(uris: list[str], told: str) -> None:
    """The message says which schemes there are and repeats no PIN."""
    with pytest.raises(ConfigurationError, match=told) as caught:
        open_keks(uris, production=False)
    assert "1234" not in str(caught.value)
