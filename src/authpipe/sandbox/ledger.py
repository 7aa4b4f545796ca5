"""Who authorized what: authorizations and the codes and tokens issued under them.

Tokens are kept as SHA-256 digests only, so that listing them reveals none.
"""

from __future__ import annotations

import hashlib
import secrets
import string
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from authpipe.domain.clock import Clock

TokenKind = Literal["code", "access", "refresh"]

#: Authorization codes live ten minutes, the maximum RFC 6749 section 4.1.2 recommends.
CODE_LIFETIME_S = 600

_ALPHABET = string.ascii_letters + string.digits


def digest(value: str) -> str:
    """The name under which a secret is remembered and shown: its SHA-256 in hex."""
    return hashlib.sha256(value.encode()).hexdigest()


def new_secret(length: int, marker: str | None, *, prefix: str = "", alphabet: str = _ALPHABET) -> str:
    """A random secret of the given length, longer only when the marker would leave it guessable."""
    fixed = prefix + (marker or "")
    fill = max(length - len(fixed), 20)
    return fixed + "".join(secrets.choice(alphabet) for _ in range(fill))


@dataclass
class Authorization:
    """One person's consent to one application.  Ending it ends everything issued under it."""

    id: str
    client_id: str
    user: str
    scopes: set[str]
    created_at: datetime
    revoked: bool = False


@dataclass(frozen=True)
class CodeBinding:
    """What an authorization code is bound to and what the consent screen decided."""

    redirect_uri: str
    challenge: str | None = None
    challenge_method: str | None = None
    guild_id: str | None = None
    channel_id: str | None = None
    permissions: int = 0


@dataclass
class Token:
    """A code, access token or refresh token; ``used`` means it was traded in and is worth nothing now."""

    id: str
    kind: TokenKind
    sha256: str
    authorization: Authorization
    scopes: tuple[str, ...]
    issued_at: datetime
    expires_at: datetime | None
    used: bool = False
    revoked: bool = False
    binding: CodeBinding | None = field(default=None, repr=False)

    def shown(self) -> dict[str, object]:
        """The record without any secret."""
        return {
            "id": self.id,
            "authorization_id": self.authorization.id,
            "kind": self.kind,
            "sha256": self.sha256,
            "scopes": list(self.scopes),
            "issued_at": self.issued_at.isoformat(),
            "expires_at": None if self.expires_at is None else self.expires_at.isoformat(),
            "used": self.used,
            "revoked": self.revoked or self.authorization.revoked,
        }


class Ledger:
    """The authorizations and tokens of one provider."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tokens: dict[str, Token] = {}
        self.authorizations: list[Authorization] = []
        self._sequence = 0

    @property
    def tokens(self) -> list[Token]:
        """Every code and token ever issued, oldest first."""
        return list(self._tokens.values())

    def standing(self, client_id: str, user: str) -> Authorization | None:
        """The authorization in force between a person and an application."""
        for authorization in reversed(self.authorizations):
            if (authorization.client_id, authorization.user) == (client_id, user):
                return None if authorization.revoked else authorization
        return None

    def authorize(self, client_id: str, user: str, scopes: tuple[str, ...]) -> Authorization:
        """Record a consent: it widens the authorization in force or begins a new one."""
        authorization = self.standing(client_id, user)
        if authorization is None:
            authorization = Authorization(
                self._next("authorization"), client_id, user, set(), self._clock.now()
            )
            self.authorizations.append(authorization)
        authorization.scopes.update(scopes)
        return authorization

    def issue(
        self,
        kind: TokenKind,
        value: str,
        authorization: Authorization,
        scopes: tuple[str, ...],
        lifetime_s: int | None,
        binding: CodeBinding | None = None,
    ) -> Token:
        """Remember a secret just made; ``lifetime_s`` of ``None`` never expires."""
        now = self._clock.now()
        expires_at = None if lifetime_s is None else now + timedelta(seconds=lifetime_s)
        token = Token(
            self._next(kind), kind, digest(value), authorization, scopes, now, expires_at, binding=binding
        )
        self._tokens[token.sha256] = token
        return token

    def find(self, kind: TokenKind, value: str) -> Token | None:
        """The record of a presented secret, alive or not."""
        token = self._tokens.get(digest(value))
        return token if token is not None and token.kind == kind else None

    def alive(self, kind: TokenKind, value: str) -> Token | None:
        """The record of a presented secret if it is still worth anything."""
        token = self.find(kind, value)
        if token is None or token.used or token.revoked or token.authorization.revoked:
            return None
        if token.expires_at is not None and token.expires_at <= self._clock.now():
            return None
        return token

    def revoke(self, *, user: str | None = None, client_id: str | None = None) -> int:
        """End the authorizations that match and say how many were in force."""
        ended = 0
        for authorization in self.authorizations:
            if authorization.revoked or (user is not None and authorization.user != user):
                continue
            if client_id is not None and authorization.client_id != client_id:
                continue
            authorization.revoked = True
            ended += 1
        return ended

    def _next(self, prefix: str) -> str:
        self._sequence += 1
        return f"{prefix}-{self._sequence}"
