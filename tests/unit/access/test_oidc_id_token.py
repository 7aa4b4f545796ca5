"""ID tokens: every check of OpenID Connect Core 3.1.3.7, each broken on its own."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, OKPKey, RSAKey

from authpipe.access.oidc_id_token import ALGORITHMS, Identity, key_id, read_id_token
from authpipe.access.operator_tokens import token_hash
from authpipe.access.sign_in_refused import SignInReason, SignInRefused
from authpipe.domain.secret import Secret

NOW = datetime(2026, 5, 17, 12, tzinfo=UTC)
ISSUER, CLIENT, NONCE = "https://id.example.com", "authpipe", "n" * 43
KEY = RSAKey.generate_key(2048, {"use": "sig"})
KEY.ensure_kid()


def _claims(**changed: Any) -> dict[str, Any]:
    moment = int(NOW.timestamp())
    claims = {
        "iss": ISSUER,
        "sub": "subject-1",
        "aud": CLIENT,
        "exp": moment + 300,
        "iat": moment,
        "nonce": NONCE,
        "email": "ada@example.com",
        "email_verified": True,
    }
    return {name: value for name, value in {**claims, **changed}.items() if value is not ...}


def _signed(
    claims: dict[str, Any], *, algorithm: str = "RS256", key: Any = KEY, kid: str | None = None
) -> Secret:
    header = {"alg": algorithm, "kid": kid or key.kid}
    return Secret(jwt.encode(header, claims, key, algorithms=[algorithm]))


def _read(token: Secret, **changed: Any) -> Identity:
    given = {
        "issuer": ISSUER,
        "client_id": CLIENT,
        "algorithms": ALGORITHMS,
        "nonce_hash": token_hash(Secret(NONCE)),
        "now": NOW,
    }
    return read_id_token(token, changed.pop("keys", KeySet([KEY])), **{**given, **changed})


def test_a_token_for_us_tells_who_it_is() -> None:
    """Subject and verified email."""
    identity = _read(_signed(_claims(name="Ada")))
    assert identity == Identity(issuer=ISSUER, subject="subject-1", email="ada@example.com", name="Ada")


@pytest.mark.parametrize(
    ("changed", "detail"),
    [
        ({"iss": "https://id.example.com/"}, "iss"),
        ({"iss": "https://evil.example.com"}, "iss"),
        ({"iss": ...}, "iss"),
        ({"aud": "another"}, "aud"),
        ({"aud": ["another", "third"], "azp": CLIENT}, "aud"),
        ({"aud": ...}, "aud"),
        ({"aud": [CLIENT, "another"]}, "azp"),
        ({"aud": [CLIENT, "another"], "azp": "another"}, "azp"),
        ({"azp": "another"}, "azp"),
        ({"exp": ...}, "exp"),
        ({"exp": "9999999999"}, "exp"),
        ({"exp": True}, "exp"),
        ({"exp": int(NOW.timestamp()) - 60}, "exp"),
        ({"iat": ...}, "iat"),
        ({"iat": int(NOW.timestamp()) + 61}, "iat"),
        ({"iat": int((NOW - timedelta(minutes=12)).timestamp())}, "iat"),
        ({"nbf": int(NOW.timestamp()) + 61}, "nbf"),
        ({"nonce": ...}, "nonce"),
        ({"nonce": "m" * 43}, "nonce"),
        ({"nonce": [NONCE]}, "nonce"),
        ({"sub": ...}, "sub"),
        ({"sub": ""}, "sub"),
        ({"sub": 7}, "sub"),
        ({"sub": "x" * 256}, "sub"),
        ({"sub": "a\nb"}, "sub"),
    ],
)
def test_a_claim_that_does_not_hold_refuses_the_token(changed: dict[str, Any], detail: str) -> None:
    """One text for the person, the failed check for the log."""
    with pytest.raises(SignInRefused) as caught:
        _read(_signed(_claims(**changed)))
    assert caught.value.reason is SignInReason.ID_TOKEN_REFUSED
    assert detail in str(caught.value.detail)


def test_small_differences_between_clocks_are_allowed() -> None:
    """A minute either way."""
    moment = int(NOW.timestamp())
    assert _read(_signed(_claims(exp=moment - 59)))
    assert _read(_signed(_claims(iat=moment + 60)))


@pytest.mark.parametrize("verified", [False, ..., "true", 1, None])
def test_an_email_counts_only_when_the_provider_verified_it(verified: Any) -> None:
    """The word for it is the boolean true and nothing like it."""
    assert _read(_signed(_claims(email_verified=verified))).email is None


@pytest.mark.parametrize("algorithm", ["RS256", "PS256"])
def test_every_signature_of_an_rsa_key_works(algorithm: str) -> None:
    """As far as the provider says that it uses it."""
    assert _read(_signed(_claims(), algorithm=algorithm), algorithms={algorithm})


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")
def test_elliptic_keys_work() -> None:
    """ES256 and EdDSA."""
    curve = ECKey.generate_key("P-256", {"use": "sig"})
    edwards = OKPKey.generate_key("Ed25519", {"use": "sig"})
    for key, algorithm in ((curve, "ES256"), (edwards, "EdDSA")):
        key.ensure_kid()
        assert _read(_signed(_claims(), algorithm=algorithm, key=key), keys=KeySet([key]))


def _by_hand(algorithm: str, sign: Callable[[bytes], bytes]) -> Secret:
    parts = [_base64(json.dumps(each).encode()) for each in ({"alg": algorithm, "kid": KEY.kid}, _claims())]
    return Secret(".".join([*parts, _base64(sign(".".join(parts).encode()))]))


def _base64(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def _unsigned() -> Secret:
    return _by_hand("none", lambda _: b"")


def _by_public_key() -> Secret:
    """The classic: the provider's public key as the secret of an HMAC."""
    return _by_hand("HS256", lambda text: hmac.digest(KEY.as_pem(private=False), text, "sha256"))


def _by_stranger() -> Secret:
    return _signed(_claims(), key=RSAKey.generate_key(2048), kid=KEY.kid)


def _tampered() -> Secret:
    header, _, signature = _signed(_claims()).reveal().split(".")
    other = _signed(_claims(sub="somebody-else")).reveal().split(".")[1]
    return Secret(f"{header}.{other}.{signature}")


@pytest.mark.parametrize(
    "make",
    [
        _unsigned,
        _by_public_key,
        _by_stranger,
        _tampered,
        lambda: Secret("not a token"),
        lambda: Secret("a.b.c"),
        lambda: Secret("x" * 70_000),
        lambda: _signed(_claims(), kid="unknown"),
    ],
    ids=["none", "hmac", "stranger", "tampered", "text", "parts", "long", "unknown kid"],
)
def test_only_the_providers_signature_counts(make: Any) -> None:
    """Whatever else there is in the place of a signature."""
    with pytest.raises(SignInRefused) as caught:
        _read(make())
    assert caught.value.reason is SignInReason.ID_TOKEN_REFUSED


def test_an_algorithm_the_provider_does_not_use_is_refused() -> None:
    """Even a good signature with another algorithm of the same key."""
    with pytest.raises(SignInRefused):
        _read(_signed(_claims(), algorithm="RS512"), algorithms={"RS256"})
    with pytest.raises(SignInRefused):
        _read(_signed(_claims()), algorithms={"HS256", "none"})


def test_the_key_is_named_before_anything_is_believed() -> None:
    """Its id only; a token without one names none."""
    assert key_id(_signed(_claims())) == KEY.kid
    with pytest.raises(SignInRefused):
        key_id(Secret("not a token"))
