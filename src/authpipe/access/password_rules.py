"""Which passwords operators may choose: long enough, and not the first that anybody would guess.

NIST SP 800-63B section 3.1.1.2 and OWASP ASVS 5.0 section 6.2: length instead of composition rules, every
character allowed, and a comparison with common passwords and with words of this very account.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import cache
from importlib import resources

from authpipe.domain.errors import InvalidInput
from authpipe.domain.secret import Secret

#: Characters.
SHORTEST = 12
#: Bytes: what anybody would type, far below what would be work to hash.
LONGEST_BYTES = 1024
#: Bytes as they were sent.  Composing makes no text of any script three times as short, and costs the square
#: of the number of combining marks in a row.
_LONGEST_RAW_BYTES = 4 * LONGEST_BYTES

_FEWEST_DIFFERENT = 5
#: Letters and digits beside a guessable word, or outside of runs, that make it no better.
_DECORATION = 2
_SHORTEST_WORD, _LONGEST_WORD = 4, 40
_RUNS = (
    "abcdefghijklmnopqrstuvwxyz",
    "012345678901234567890",
    "qwertyuiop",
    "asdfghjkl",
    "zxcvbnm",
    "qwertzuiop",
    "azertyuiop",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm",
    "1q2w3e4r5t6y7u8i9o0p",
)
_SHORTEST_RUN = 3
_LEET = str.maketrans("@4831!0$57", "aabeliosst")


def as_hashed(password: Secret) -> bytes | None:
    """The bytes of a password in Unicode's composed form: one keyboard may send what another takes apart.

    None for more than :data:`LONGEST_BYTES`, which is nobody's password.
    """
    text = _composed(password)
    encoded = None if text is None else text.encode()
    return encoded if encoded is not None and len(encoded) <= LONGEST_BYTES else None


def check_password(password: Secret, *, account_words: Iterable[str] = ()) -> None:
    """Raise ``InvalidInput`` that says what would do, unless the password may be chosen.

    ``account_words`` are what an attacker knows of the account: its email and name.  It is work of some
    milliseconds: not for the event loop.
    """
    text = _composed(password)
    if text is None or len(text.encode()) > LONGEST_BYTES:
        raise _refused(f"must have at most {LONGEST_BYTES} bytes")
    if len(text) < SHORTEST:
        raise _refused(f"must have at least {SHORTEST} characters")
    folded = text.casefold()
    if len(set(folded)) < _FEWEST_DIFFERENT:
        raise _refused("repeats too few characters: take a few unrelated words")
    if len(_without_runs(folded)) <= _DECORATION:
        raise _refused("follows the keyboard or the alphabet: take a few unrelated words")
    known = {word for each in account_words for word in _words(each)}
    if _stands_on(folded, frozenset(known)):
        raise _refused("is made of the email, the name or Authpipe's own: take a few unrelated words")
    if folded in _common() or _stands_on(folded, _common()):
        raise _refused("is one of the most common, with little added: take a few unrelated words")


def _composed(password: Secret) -> str | None:
    """Unicode's normalization form C; None when so much was sent that it cannot be a password."""
    if len(password.reveal_bytes()) > _LONGEST_RAW_BYTES:
        return None
    return unicodedata.normalize("NFC", password.reveal())


def _refused(why: str) -> InvalidInput:
    return InvalidInput(f"The password {why}.", field="password")


def _words(text: str) -> set[str]:
    folded = text.casefold()
    found = {"authpipe", folded, folded.partition("@")[0], *re.split(r"[\W_]+", folded)}
    return {word for word in found if len(word) >= _SHORTEST_WORD}


@cache
def _common() -> frozenset[str]:
    text = resources.files("authpipe.access").joinpath("common_passwords.txt").read_text(encoding="ascii")
    return frozenset(line for line in text.splitlines() if line and not line.startswith("#"))


def _stands_on(folded: str, words: frozenset[str]) -> bool:
    """Whether one of the words, once or repeated, is all there is beside digits, marks and decoration."""
    inner = folded.strip("0123456789!?.,;:#$%&*+-_=/\\ ")
    for text in {folded, inner, inner.translate(_LEET)}:
        for start in range(len(text)):
            for end in range(start + _SHORTEST_WORD, min(start + _LONGEST_WORD, len(text)) + 1):
                word = text[start:end]
                if word in words:
                    rest = re.sub(r"[\W\d_]", "", text.replace(word, ""))
                    if len(rest) <= _DECORATION:
                        return True
    return False


def _without_runs(folded: str) -> str:
    """What is left when every piece of the alphabet, the digits and the keyboard's rows is taken out."""
    left, at = "", 0
    while at < len(folded):
        length = _run_at(folded, at)
        if length < _SHORTEST_RUN:
            left += folded[at]
            length = 1
        at += length
    return left


def _run_at(folded: str, at: int) -> int:
    longest = 0
    for run in _RUNS:
        for row in (run, run[::-1]):
            length = longest + 1
            while at + length <= len(folded) and folded[at : at + length] in row:
                longest, length = length, length + 1
    return longest
