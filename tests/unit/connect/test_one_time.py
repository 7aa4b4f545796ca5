"""The values that bind a browser, a session and an authorization attempt to each other."""

from __future__ import annotations

import base64

from authpipe.connect.one_time import digest, new_value
from authpipe.domain.secret import Secret


def test_a_value_is_256_random_bits() -> None:
    """Nothing of one can be told from another; the whole of each is safe in a URL and a cookie."""
    made = [base64.urlsafe_b64decode(new_value().reveal() + "=") for _ in range(200)]
    assert {len(value) for value in made} == {32}
    assert len(set(made)) == 200
    for bit in range(256):
        ones = sum(value[bit // 8] >> bit % 8 & 1 for value in made)
        # Of 256 fair coins thrown 200 times, one lies outside of this in fewer than 1 run of 10^12.
        assert 40 < ones < 160, f"bit {bit} is {ones} times 1 in 200 values"


def test_what_is_stored_does_not_tell_the_value() -> None:
    """SHA-256, the vector of FIPS 180: a copy of the database holds no state, link, cookie or code."""
    assert digest(Secret("abc")).hex() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
