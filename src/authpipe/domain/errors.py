"""The error tree: a root, one base per room that fails in its own way, one class per case.

AuthpipeError
├── InvalidInput             the caller's request is wrong; names the field
├── NotFound                 no such object in this environment (or it is another tenant's)
├── Conflict                 the request contradicts what is stored
├── Unauthenticated          no valid API key
├── Forbidden                a valid key that may not do this
├── RateLimited              too many requests of a kind; says when to come back
├── CredentialError          a credential cannot be handed out
│   ├── NotConnected
│   ├── AmbiguousConnection
│   └── ReauthorizationRequired
├── ConnectError             a connect session or authorization attempt cannot go on
├── ProviderError            the provider's fault, or the network's between us
│   ├── ProviderUnavailable  transient: timeouts, 5xx, 429, an open circuit
│   └── ProviderRejected     the provider answered "no", with its own words kept as fields
├── VaultError               a ciphertext or key cannot be used (callers must not branch on why)
├── VaultUnavailable         transient: the place of a key-encryption key cannot be reached
└── ConfigurationError       the operator's settings, files or definitions are wrong

HTTP status codes live only in ``api/problem.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar


class AuthpipeError(Exception):
    """Base of everything Authpipe raises on purpose.

    ``code`` is stable and public, ``message`` may be shown to a caller, ``detail`` stays in our logs.
    """

    code: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, detail: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail

    def public_fields(self) -> Mapping[str, Any]:
        """What a problem document carries beside code and message.  Never a secret."""
        return {}


class InvalidInput(AuthpipeError):
    """A value the caller sent is unusable.  ``field`` names it, the message says what would be accepted."""

    code = "invalid_input"

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field

    def public_fields(self) -> Mapping[str, Any]:
        return {"field": self.field} if self.field else {}


class NotFound(AuthpipeError):
    """The object does not exist for this caller.  Says nothing about other environments or tenants."""

    code = "not_found"


class Conflict(AuthpipeError):
    """The request contradicts stored facts (a name taken, an installation claimed by another tenant)."""

    def __init__(self, message: str, *, code: str = "conflict") -> None:
        super().__init__(message)
        self.code = code  # type: ignore[misc]  # each conflict has its own stable code


class Unauthenticated(AuthpipeError):
    """No API key, or one that is unknown, revoked or expired; deliberately not told apart."""

    code = "unauthenticated"


class Forbidden(AuthpipeError):
    """The key is valid and may not do this."""

    code = "forbidden"


class RateLimited(AuthpipeError):
    """Too many requests of a kind came from there.  ``retry_after_s`` says in seconds when to come back."""

    code = "rate_limited"
    retryable = True

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s

    def public_fields(self) -> Mapping[str, Any]:
        return {"retry_after_s": self.retry_after_s}


class CredentialError(AuthpipeError):
    """Base for everything that keeps a credential from being handed out."""


class NotConnected(CredentialError):
    """Nothing that matches the request is connected."""

    code = "not_connected"


class AmbiguousConnection(CredentialError):
    """Several connections or installations match and none is primary.  ``candidates`` lists them."""

    code = "ambiguous_connection"

    def __init__(self, message: str, *, candidates: Sequence[Mapping[str, Any]]) -> None:
        super().__init__(message)
        self.candidates = tuple(candidates)

    def public_fields(self) -> Mapping[str, Any]:
        return {"candidates": list(self.candidates)}


class ReauthorizationRequired(CredentialError):
    """A human must connect again.  ``reason`` is a stable word such as ``revoked``."""

    code = "reauthorization_required"

    def __init__(
        self,
        message: str,
        *,
        reason: str,
        connection_id: str | None = None,
        installation_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.connection_id = connection_id
        self.installation_id = installation_id

    def public_fields(self) -> Mapping[str, Any]:
        fields = {
            "reason": self.reason,
            "connection_id": self.connection_id,
            "installation_id": self.installation_id,
        }
        return {key: value for key, value in fields.items() if value is not None}


class ConnectError(AuthpipeError):
    """A connect session, attempt or completion cannot go on; ``code`` says which rule refused it."""

    def __init__(self, message: str, *, code: str, detail: str | None = None) -> None:
        super().__init__(message, detail=detail)
        self.code = code  # type: ignore[misc]  # one class, one stable code per refused rule


class ProviderError(AuthpipeError):
    """Base for what goes wrong at, or on the way to, a provider."""


class ProviderUnavailable(ProviderError):
    """Transient: try again.  ``retry_after_s`` is the provider's own wish in seconds, when it told one.

    ``sent`` is False only when the provider certainly did not act on the request (it was never reached, or
    refused for its rate limit); an unknown outcome is True.
    """

    code = "provider_unavailable"
    retryable = True

    def __init__(
        self,
        message: str,
        *,
        retry_after_s: float | None = None,
        sent: bool = True,
        detail: str | None = None,
    ) -> None:
        super().__init__(message, detail=detail)
        self.retry_after_s = retry_after_s
        self.sent = sent

    def public_fields(self) -> Mapping[str, Any]:
        return {} if self.retry_after_s is None else {"retry_after_s": self.retry_after_s}


class ProviderRejected(ProviderError):
    """The provider understood and refused.  Its own error code, description and status are kept whole.

    ``error`` is the OAuth error code of RFC 6749 section 5.2 (or the provider's equivalent).  The
    description is redacted of every secret we sent before it gets here.
    """

    code = "provider_rejected"

    def __init__(
        self, message: str, *, error: str, description: str | None = None, status: int | None = None
    ) -> None:
        super().__init__(message, detail=description)
        self.error = error
        self.description = description
        self.status = status

    def public_fields(self) -> Mapping[str, Any]:
        return {"provider_error": self.error}


class VaultError(AuthpipeError):
    """A ciphertext or key is unusable.  One type on purpose: branching on why helps only an attacker."""

    code = "vault_error"


class VaultUnavailable(AuthpipeError):
    """Transient: the place where a key-encryption key is kept does not answer.  Try again.

    Not a ``VaultError``: it says nothing about any stored secret, so nothing may be given up because of it.
    """

    code = "vault_unavailable"
    retryable = True

    def __init__(
        self, message: str, *, retry_after_s: float | None = None, detail: str | None = None
    ) -> None:
        super().__init__(message, detail=detail)
        self.retry_after_s = retry_after_s

    def public_fields(self) -> Mapping[str, Any]:
        return {} if self.retry_after_s is None else {"retry_after_s": self.retry_after_s}


class ConfigurationError(AuthpipeError):
    """Settings, files or provider definitions are wrong.  The message names the place and the remedy."""

    code = "configuration_error"
