"""Authpipe's Python SDK: ask for a credential, get one that works.

>>> from authpipe import Authpipe
>>> authpipe = Authpipe()  # AUTHPIPE_URL and AUTHPIPE_API_KEY from the environment
>>> bot = authpipe.get_credential(provider="discord", tenant_id="org_acme", credential_for="installation")

Every name below is public and loaded when it is first used, so ``import authpipe`` costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from authpipe._version import __version__

if TYPE_CHECKING:
    from authpipe.sdk.async_client import AsyncAuthpipe
    from authpipe.sdk.client import Authpipe
    from authpipe.sdk.credential import Credential
    from authpipe.sdk.errors import (
        AmbiguousConnection,
        AuthenticationFailed,
        AuthpipeError,
        AuthpipeUnavailable,
        ConfigurationError,
        Conflict,
        ConnectError,
        InvalidRequest,
        NotConnected,
        NotFound,
        PermissionDenied,
        ProviderUnavailable,
        RateLimited,
        ReauthorizationRequired,
    )
    from authpipe.sdk.objects import (
        Candidate,
        Connection,
        ConnectSession,
        Installation,
        Page,
        StoredCredential,
    )
    from authpipe.sdk.warming import Warmed

__all__ = [
    "AmbiguousConnection",
    "AsyncAuthpipe",
    "AuthenticationFailed",
    "Authpipe",
    "AuthpipeError",
    "AuthpipeUnavailable",
    "Candidate",
    "ConfigurationError",
    "Conflict",
    "ConnectError",
    "ConnectSession",
    "Connection",
    "Credential",
    "Installation",
    "InvalidRequest",
    "NotConnected",
    "NotFound",
    "Page",
    "PermissionDenied",
    "ProviderUnavailable",
    "RateLimited",
    "ReauthorizationRequired",
    "StoredCredential",
    "Warmed",
    "__version__",
]

_HOMES = {
    "Authpipe": "authpipe.sdk.client",
    "AsyncAuthpipe": "authpipe.sdk.async_client",
    "Credential": "authpipe.sdk.credential",
    "Candidate": "authpipe.sdk.objects",
    "Connection": "authpipe.sdk.objects",
    "ConnectSession": "authpipe.sdk.objects",
    "Installation": "authpipe.sdk.objects",
    "Page": "authpipe.sdk.objects",
    "StoredCredential": "authpipe.sdk.objects",
    "Warmed": "authpipe.sdk.warming",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'authpipe' has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(_HOMES.get(name, "authpipe.sdk.errors")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
