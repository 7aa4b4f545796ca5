"""Why a database cannot be connected to, in the operator's terms."""

from __future__ import annotations

import asyncpg

from authpipe.domain.errors import ConfigurationError

#: What connecting may raise, from the address to the first query.
CONNECTING_FAILED = (
    OSError,
    TimeoutError,
    ValueError,
    asyncpg.InterfaceError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.InsufficientResourcesError,
    asyncpg.InsufficientPrivilegeError,
)


def refusal(error: Exception) -> ConfigurationError:
    """One of :data:`CONNECTING_FAILED` as one line that names the setting, and never the password."""
    if isinstance(error, asyncpg.InvalidAuthorizationSpecificationError):
        return ConfigurationError("AUTHPIPE_DATABASE_URL: the database refused user or password")
    if isinstance(error, asyncpg.InvalidCatalogNameError | asyncpg.InsufficientPrivilegeError):
        return ConfigurationError(f"AUTHPIPE_DATABASE_URL: {error}")
    if isinstance(error, ValueError):
        # Its text may quote the URL, password and all.
        return ConfigurationError(
            "AUTHPIPE_DATABASE_URL must look like postgresql://user:password@host:5432/database"
        )
    return ConfigurationError(
        f"the database cannot be reached ({type(error).__name__}): check AUTHPIPE_DATABASE_URL"
    )
