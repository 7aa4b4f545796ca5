"""The text of API keys."""

from __future__ import annotations

import hashlib
import re

import pytest

from authpipe.access.key_text import key_hash, key_prefix, new_key
from authpipe.domain.errors import Unauthenticated
from authpipe.domain.secret import Secret

GOOD = "apk_abcdefgh_" + "A" * 43


def test_a_new_key_has_the_documented_form() -> None:
    """apk, eight characters of base32, 43 of base64url."""
    text = new_key().reveal()
    assert re.fullmatch(r"apk_[a-z2-7]{8}_[A-Za-z0-9_-]{43}", text)
    assert new_key() != new_key()


def test_prefix_and_hash_come_from_the_text() -> None:
    """The prefix is the public part, the hash SHA-256 of the whole."""
    for key in (new_key() for _ in range(200)):
        assert key.reveal().startswith(key_prefix(key) + "_")
        assert key_hash(key) == hashlib.sha256(key.reveal().encode()).digest()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "apk_",
        GOOD[:-1],
        GOOD + "A",
        GOOD + "\n",
        " " + GOOD,
        GOOD.upper(),
        GOOD.replace("apk_", "ap_"),
        GOOD.replace("abcdefgh", "abcdefg1"),
        GOOD.replace("abcdefgh", "abcdefgé"),
        GOOD[:-1] + "B",  # not what encoding 32 bytes ends in
        GOOD[:-2] + "+A",
        "x" * 1_000_000,
    ],
)
def test_malformed_text_is_refused_without_being_repeated(text: str) -> None:
    """Text that is no key is refused before any database work, with the one message."""
    for read in (key_hash, key_prefix):
        with pytest.raises(Unauthenticated) as refused:
            read(Secret(text))
        assert refused.value.message == "a valid API key is needed: send it as 'Authorization: Bearer <key>'"
