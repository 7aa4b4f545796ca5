"""The credential as the application gets it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NoReturn, final

CredentialFor = Literal["any", "installation", "user"]


def masked(secret: str) -> str:
    """At most the first four characters, and never more than a quarter of the secret."""
    return secret[: min(4, len(secret) // 4)] + "\N{BULLET}" * 4


@final
class SecretHeaders(Mapping[str, str]):
    """Request headers that carry a secret: a read-only mapping whose ``repr`` shows only a masked prefix.

    Give it to an HTTP library as ``headers=``; use ``dict(headers)`` where a dict is insisted on.
    """

    __slots__ = ("_headers",)

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = dict(headers)

    def __getitem__(self, name: str) -> str:
        return self._headers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._headers)

    def __len__(self) -> int:
        return len(self._headers)

    def __repr__(self) -> str:
        return "{" + ", ".join(f"{name!r}: '***'" for name in self._headers) + "}"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("headers that carry a secret cannot be pickled or copied; dict(headers) is explicit")


@final
@dataclass(frozen=True, slots=True, repr=False, eq=False, kw_only=True)
class Credential:
    """A credential that worked when the server handed it out.

    ``credential`` is the secret text and ``headers`` the request headers to send it in.  ``expires_at`` is
    aware, UTC, and None for a credential that does not expire.  ``version`` grows with every refresh.
    ``metadata`` is what the provider told (a guild id, a team id), read-only at every level.

    ``repr``, ``str`` and formatting show a masked prefix of at most four characters; pickling and copying
    are refused.  Two credentials are equal only if they are the same object: compare ``credential_id`` and
    ``version``.
    """

    credential: str
    headers: Mapping[str, str]
    kind: str
    provider: str
    tenant_id: str
    user_id: str | None
    connection_id: str | None
    installation_id: str | None
    credential_id: str
    label: str | None
    expires_at: datetime | None
    scopes: tuple[str, ...]
    metadata: Mapping[str, Any]
    version: int

    def __repr__(self) -> str:
        owner = f", user_id={self.user_id!r}" if self.user_id is not None else ""
        return (
            f"Credential(provider={self.provider!r}, kind={self.kind!r}, "
            f"tenant_id={self.tenant_id!r}{owner}, "
            f"credential='{masked(self.credential)}', version={self.version})"
        )

    def __str__(self) -> str:
        return self.__repr__()

    def __format__(self, format_spec: str) -> str:
        return self.__repr__()

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a Credential cannot be pickled or copied: ask the client again where it is needed")
