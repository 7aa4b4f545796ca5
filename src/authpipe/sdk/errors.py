"""What the SDK raises: one root, one class per thing a caller can do about it.

AuthpipeError
├── ReauthorizationRequired  a human must connect again: show the connect button (reason, connection_id)
├── NotConnected             nothing that matches is connected: show the connect button
├── AmbiguousConnection      several match and none is primary: choose one of ``candidates``
├── ProviderUnavailable      the provider's fault, passing: try again after ``retry_after_s``
├── AuthpipeUnavailable      the Authpipe server cannot be reached or does not answer properly
├── RateLimited              too many requests of a kind: try again after ``retry_after_s``
├── InvalidRequest           the request is wrong: ``field`` names the argument
├── NotFound                 no object with that id for this API key
├── Conflict                 the request contradicts what is stored
├── ConnectError             a connect session cannot go on: ``code`` says which rule refused it
├── AuthenticationFailed     the API key is missing, unknown, revoked or expired
├── PermissionDenied         the API key is valid and may not do this
└── ConfigurationError       the client is set up wrongly: the message names the setting

No message, ``repr`` or attribute here ever holds a credential or an API key.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, ClassVar, Self

if TYPE_CHECKING:
    from authpipe.sdk.objects import Candidate


class AuthpipeError(Exception):
    """Base of everything the SDK raises on purpose.

    ``code`` is the stable word of the server's problem document, ``request_id`` what to quote to whoever runs
    the server, ``status`` the HTTP status, when there was an answer.
    """

    default_code: ClassVar[str] = "error"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        request_id: str | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.request_id = request_id
        self.status = status

    def __str__(self) -> str:
        return f"{self.message} [request {self.request_id}]" if self.request_id else self.message

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.message!r}, code={self.code!r})"

    def for_another_waiter(self) -> Self:
        """The same error without its traceback: one exception object must not be raised in two threads."""
        return copy.copy(self)


class ReauthorizationRequired(AuthpipeError):
    """The credential cannot be made to work without a human.

    ``reason`` is a stable word such as ``revoked``; ``connection_id`` or ``installation_id`` is what to
    reconnect (``connections.reconnect`` keeps the id).
    """

    default_code = "reauthorization_required"

    def __init__(
        self,
        message: str,
        *,
        reason: str = "unknown",
        connection_id: str | None = None,
        installation_id: str | None = None,
        code: str | None = None,
        request_id: str | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(message, code=code, request_id=request_id, status=status)
        self.reason = reason
        self.connection_id = connection_id
        self.installation_id = installation_id


class NotConnected(AuthpipeError):
    """Nothing that matches the arguments is connected."""

    default_code = "not_connected"


class AmbiguousConnection(AuthpipeError):
    """Several match and none is primary; pass ``installation_id`` or ``label`` of one of ``candidates``."""

    default_code = "ambiguous_connection"

    def __init__(
        self,
        message: str,
        *,
        candidates: tuple[Candidate, ...] = (),
        code: str | None = None,
        request_id: str | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(message, code=code, request_id=request_id, status=status)
        self.candidates = candidates


class _Passing(AuthpipeError):
    def __init__(
        self,
        message: str,
        *,
        retry_after_s: float | None = None,
        code: str | None = None,
        request_id: str | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(message, code=code, request_id=request_id, status=status)
        self.retry_after_s = retry_after_s


class ProviderUnavailable(_Passing):
    """The provider does not answer.  ``retry_after_s`` (seconds) is its own wish, when it told one."""

    default_code = "provider_unavailable"


class AuthpipeUnavailable(_Passing):
    """No usable answer from the Authpipe server, and nothing unexpired in the cache to serve instead."""

    default_code = "authpipe_unavailable"


class RateLimited(_Passing):
    """Too many requests of a kind, such as unknown API keys from one address.

    ``retry_after_s`` (seconds) says when to come back.
    """

    default_code = "rate_limited"


class InvalidRequest(AuthpipeError):
    """The request is wrong.  ``field`` names the argument, when it is one."""

    default_code = "invalid_input"

    def __init__(
        self,
        message: str,
        *,
        field: str | None = None,
        code: str | None = None,
        request_id: str | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(message, code=code, request_id=request_id, status=status)
        self.field = field


class NotFound(AuthpipeError):
    """No object with that id in this environment."""

    default_code = "not_found"


class Conflict(AuthpipeError):
    """The request contradicts what is stored; ``code`` says how."""

    default_code = "conflict"


class ConnectError(AuthpipeError):
    """A connect session or its completion cannot go on; ``code`` is the rule, such as ``session_expired``."""

    default_code = "connect_failed"


class AuthenticationFailed(AuthpipeError):
    """The API key is missing, unknown, revoked or expired; deliberately not told apart."""

    default_code = "unauthenticated"


class PermissionDenied(AuthpipeError):
    """The API key is valid, and its role or its tenant does not allow this.

    The message names the role that is needed.
    """

    default_code = "forbidden"


class ConfigurationError(AuthpipeError):
    """The client is set up wrongly.  The message names the setting and the remedy."""

    default_code = "configuration_error"
