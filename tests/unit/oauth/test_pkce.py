"""Proof Key for Code Exchange."""

from __future__ import annotations

import re

from authpipe.domain.secret import Secret
from authpipe.oauth.pkce import challenge, new_verifier


def test_the_challenge_is_that_of_rfc_7636_appendix_b() -> None:
    """The vector of the standard."""
    verifier = Secret("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")
    assert challenge(verifier) == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


def test_a_verifier_has_256_bits_and_the_grammar_of_the_standard() -> None:
    """43 to 128 unreserved characters, never the same twice."""
    made = [new_verifier().reveal() for _ in range(100)]
    assert all(re.fullmatch(r"[A-Za-z0-9._~-]{43,128}", text) for text in made)
    assert len(set(made)) == 100
