"""Reading an ID token: whose it is, once everything about it was checked (OpenID Connect Core 3.1.3.7)."""

from __future__ import annotations

import hmac
import warnings
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeGuard

from joserfc import jws, jwt
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import KeySet

from authpipe.access.operator_tokens import token_hash
from authpipe.access.sign_in_refused import SignInReason, SignInRefused
from authpipe.domain.secret import Secret

#: Signatures by a key that only the provider has.  ``none`` and everything with a shared secret are not here.
ALGORITHMS = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"}
)
#: How far two clocks may be apart.
SKEW = timedelta(seconds=60)
#: How long ago a token that was made for this very answer can have been issued.
OLDEST = timedelta(minutes=10)
_LONGEST = 65_536
_LONGEST_SUBJECT = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Whom the provider vouches for.  ``email`` is None unless the provider says that it verified it."""

    issuer: str
    subject: str
    email: str | None
    name: str | None


def key_id(id_token: Secret) -> str | None:
    """The ``kid`` the token names, before anything is believed.  Raises ``SignInRefused``."""
    try:
        header = jws.extract_compact(_bounded(id_token).reveal_bytes()).headers()
    except (JoseError, ValueError) as error:
        raise refused(f"not a signed token: {type(error).__name__}") from None
    found = header.get("kid")
    return found if isinstance(found, str) else None


def read_id_token(
    id_token: Secret,
    keys: KeySet,
    *,
    issuer: str,
    client_id: str,
    algorithms: Collection[str],
    nonce_hash: bytes,
    now: datetime,
) -> Identity:
    """The identity in a token that is signed by the provider, for us, now, for this very browser.

    ``algorithms`` are those the provider says it uses; only those of :data:`ALGORITHMS` count.  Raises
    ``SignInRefused`` (``id_token_refused``) whose private detail says which check failed.
    """
    claims = _signed_claims(_bounded(id_token), keys, ALGORITHMS & set(algorithms))
    if claims.get("iss") != issuer:
        raise refused("iss is another")
    _check_audience(claims, client_id)
    _check_times(claims, now)
    nonce = claims.get("nonce")
    if not isinstance(nonce, str) or not _same_nonce(nonce, nonce_hash):
        raise refused("nonce is another")
    return identity_of(claims, issuer)


def _signed_claims(id_token: Secret, keys: KeySet, algorithms: frozenset[str]) -> dict[str, Any]:
    if not algorithms:
        # The library takes an empty list as leave to use its own.
        raise refused("signature: no algorithm is allowed")
    try:
        with warnings.catch_warnings():
            # RFC 9864 renames EdDSA; providers go on writing the old name.
            warnings.filterwarnings("ignore", "EdDSA is deprecated", SecurityWarning)
            return jwt.decode(id_token.reveal(), keys, algorithms=sorted(algorithms)).claims
    except (JoseError, ValueError, KeyError, TypeError) as error:
        raise refused(f"signature: {type(error).__name__}") from None


def identity_of(claims: dict[str, Any], issuer: str) -> Identity:
    """Subject, verified email and name of claims that are known to be the provider's.

    Raises ``SignInRefused`` when there is no usable subject.
    """
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 1 <= len(subject) <= _LONGEST_SUBJECT or not subject.isprintable():
        raise refused("sub is missing or unusable")
    email, name = claims.get("email"), claims.get("name")
    return Identity(
        issuer=issuer,
        subject=subject,
        email=email if isinstance(email, str) and claims.get("email_verified") is True else None,
        name=name if isinstance(name, str) else None,
    )


def refused(detail: str) -> SignInRefused:
    """The one text for every check that failed; which one it was stands in the log."""
    return SignInRefused(
        SignInReason.ID_TOKEN_REFUSED,
        "What the identity provider sent about you does not hold. Go back and sign in again.",
        detail=detail,
    )


def _bounded(id_token: Secret) -> Secret:
    if len(id_token.reveal()) > _LONGEST:
        raise refused("too long")
    return id_token


def _check_audience(claims: dict[str, Any], client_id: str) -> None:
    told = claims.get("aud")
    audiences = told if isinstance(told, list) else [told]
    party = claims.get("azp")
    if client_id not in audiences:
        raise refused("aud is another")
    if len(audiences) > 1 and party is None:
        raise refused("several audiences and no azp")
    if party is not None and party != client_id:
        raise refused("azp is another")


def _check_times(claims: dict[str, Any], now: datetime) -> None:
    expires, issued, not_before = claims.get("exp"), claims.get("iat"), claims.get("nbf")
    moment, skew = now.timestamp(), SKEW.total_seconds()
    if not _is_number(expires) or expires <= moment - skew:
        raise refused("exp is missing or past")
    if not _is_number(issued) or issued > moment + skew:
        raise refused("iat is missing or in the future")
    if issued < moment - OLDEST.total_seconds() - skew:
        raise refused("iat is too long ago")
    if not_before is not None and (not _is_number(not_before) or not_before > moment + skew):
        raise refused("nbf is in the future")


def _is_number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _same_nonce(nonce: str, nonce_hash: bytes) -> bool:
    try:
        return hmac.compare_digest(token_hash(Secret(nonce)), nonce_hash)
    except ValueError:
        return False
