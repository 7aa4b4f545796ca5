"""Which passwords may be chosen."""

from __future__ import annotations

import time

import pytest

from authpipe.access.password_rules import as_hashed, check_password
from authpipe.domain.errors import InvalidInput
from authpipe.domain.secret import Secret

WORDS = ("ada.lovelace@analytical.example", "Ada Lovelace")


@pytest.mark.parametrize(
    "text",
    [
        "maple cobalt otter 92",
        "correct horse battery staple",
        "Tr0ub4dor&3-is-not-it",
        "kuvertüre-schiffahrt",
        "пароль-из-нескольких-слов",
        "🦊🐢🐙🦉🐝 forest walk",
        "x7#Qm!vR2$Lp",
        "a" + "bc de fg hi jk" * 70,
    ],
)
def test_anything_long_and_unlikely_will_do(text: str) -> None:
    """No rule about kinds of characters; spaces and every alphabet are welcome."""
    check_password(Secret(text), account_words=WORDS)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "at least 12"),
        ("short but 11"[:11], "at least 12"),
        ("é" * 513, "at most 1024 bytes"),
        ("aaaaaaaaaaaaaaaa", "too few characters"),
        ("abababababababab", "too few characters"),
        ("123456789012", "keyboard"),
        ("abcdefghijklm1", "keyboard"),
        ("qwertyuiopasdf", "keyboard"),
        ("Qwertzuiop12345", "keyboard"),
        ("1qaz2wsx3edc4rfv", "keyboard"),
        ("password1234", "most common"),
        ("Password2026!!", "most common"),
        ("P@ssw0rd!!2026", "most common"),
        ("sunshine-2026-!", "most common"),
        ("dragondragon99", "most common"),
        ("1q2w3e4r5t6y", "keyboard"),
        ("ada.lovelace@analytical.example", "email"),
        ("Lovelace-2026", "email"),
        ("analytical1815!", "email"),
        ("authpipe123456", "Authpipe"),
    ],
)
def test_what_anybody_would_guess_is_refused(text: str, why: str) -> None:
    """The message says which rule it was, and never what was typed."""
    with pytest.raises(InvalidInput, match=why) as caught:
        check_password(Secret(text), account_words=WORDS)
    assert caught.value.field == "password"
    assert not text or text not in caught.value.message


def test_the_longest_password_costs_little() -> None:
    """Nobody can make the check itself expensive."""
    begun = time.process_time()
    check_password(Secret("zqxj vkwp " * 102))
    assert time.process_time() - begun < 0.5


def test_what_is_far_too_long_is_not_even_composed() -> None:
    """That would cost the square of its combining marks."""
    hostile = Secret("a" + "\u0300" * 50_000 + "\u0316" * 50_000)
    begun = time.process_time()
    assert as_hashed(hostile) is None
    with pytest.raises(InvalidInput, match="at most 1024 bytes"):
        check_password(hostile)
    assert time.process_time() - begun < 0.2


@pytest.mark.parametrize("letter", ["\u1112\u1161\u11ab", "\u03b1\u0313\u0300\u0345"])
def test_the_longest_password_may_be_sent_taken_apart(letter: str) -> None:
    """Composed, a syllable of Hangul or a letter of Greek with all its marks is three bytes."""
    assert as_hashed(Secret(letter * 341)) is not None
    assert as_hashed(Secret(letter * 342)) is None


def test_composed_and_decomposed_letters_are_the_same() -> None:
    """Keyboards differ in how they send an accent (Unicode, normalization form C)."""
    assert as_hashed(Secret("cafe\u0301 noisette amande")) == as_hashed(Secret("caf\u00e9 noisette amande"))
