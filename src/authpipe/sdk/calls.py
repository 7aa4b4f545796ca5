"""Every call of the HTTP API that the SDK makes: its request, and how its answer is read.

The functions perform nothing.  ``resources`` turns each into a method of both clients, with the signature and
docstring it has here.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeAlias, TypeVar
from urllib.parse import quote

from authpipe.sdk.document import Document
from authpipe.sdk.exchange import Request
from authpipe.sdk.objects import Connection, ConnectSession, Installation, Page, StoredCredential, page_of

T = TypeVar("T")

ConnectKind: TypeAlias = Literal["connection", "installation"]
ReturnMode: TypeAlias = Literal["redirect", "popup"]


def _nothing(_: Any) -> tuple[str | None, ...]:
    return ()


def _of_itself(made: Connection | Installation) -> tuple[str | None, ...]:
    return (made.id,)


def _of_session(session: ConnectSession) -> tuple[str | None, ...]:
    return tuple(made.id for made in (session.connection, session.installation) if made is not None)


def _of_stored(stored: StoredCredential) -> tuple[str | None, ...]:
    return (stored.connection_id, stored.installation_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[T]):
    """A request, the reader of its answer, and which connections or installations it changed."""

    request: Request
    read: Callable[[Document], T]
    changed: Callable[[T], tuple[str | None, ...]] = _nothing
    about_connecting: bool = False


def _get(path: str, **query: str | int | None) -> Request:
    told = tuple((name, str(value)) for name, value in query.items() if value is not None)
    return Request(method="GET", path=path, query=told)


def _post(path: str, **body: Any) -> Request:
    told = {name: value for name, value in body.items() if value is not None}
    return Request(method="POST", path=path, body=told, idempotency_key=str(uuid.uuid4()))


def _one(collection: str, identifier: str, action: str = "") -> str:
    return f"/v1/{collection}/{quote(identifier, safe='')}{action}"


def _listed(scopes: Sequence[str] | None) -> list[str] | None:
    return None if scopes is None else list(scopes)


def create_connect_session(
    *,
    provider: str,
    tenant_id: str,
    kind: ConnectKind,
    return_url: str,
    user_id: str | None = None,
    return_mode: ReturnMode = "redirect",
    scopes: Sequence[str] | None = None,
    label: str | None = None,
    installation_id: str | None = None,
    connection_id: str | None = None,
) -> Call[ConnectSession]:
    """Allow one browser to make one connection or installation; send it to the session's ``url``.

    ``return_url`` must be on the environment's allow-list.  ``connection_id`` (or ``installation_id`` with
    ``kind="installation"``) repairs an existing one and keeps its id.
    """
    return Call(
        request=_post(
            "/v1/connect-sessions",
            provider=provider,
            tenant_id=tenant_id,
            user_id=user_id,
            kind=kind,
            return_url=return_url,
            return_mode=return_mode,
            scopes=_listed(scopes),
            label=label,
            installation_id=installation_id,
            connection_id=connection_id,
        ),
        read=ConnectSession.read,
        about_connecting=True,
    )


def get_connect_session(connect_session_id: str) -> Call[ConnectSession]:
    """The session as it stands.  Raises NotFound or ConnectError."""
    return Call(
        request=_get(_one("connect-sessions", connect_session_id)),
        read=ConnectSession.read,
        about_connecting=True,
    )


def complete_connect_session(
    connect_session_id: str,
    *,
    completion_code: str,
    tenant_id: str,
    user_id: str | None = None,
) -> Call[ConnectSession]:
    """Confirm, from inside the user's own session, that this user finished; activates what was made.

    ``tenant_id`` and ``user_id`` must come from the application's session, never from the browser's request.
    Raises ConnectError (``completion_mismatch`` when they are not who began).
    """
    return Call(
        request=_post(
            _one("connect-sessions", connect_session_id, "/complete"),
            completion_code=completion_code,
            tenant_id=tenant_id,
            user_id=user_id,
        ),
        read=ConnectSession.read,
        changed=_of_session,
        about_connecting=True,
    )


def list_connections(
    *,
    tenant_id: str | None = None,
    user_id: str | None = None,
    provider: str | None = None,
    status: str | None = None,
    cursor: str | None = None,
    limit: int | None = None,
) -> Call[Page[Connection]]:
    """One page of the connections that match every argument given."""
    return Call(
        request=_get(
            "/v1/connections",
            tenant_id=tenant_id,
            user_id=user_id,
            provider=provider,
            status=status,
            cursor=cursor,
            limit=limit,
        ),
        read=page_of(Connection.read),
    )


def get_connection(connection_id: str) -> Call[Connection]:
    """The connection as it stands.  Raises NotFound."""
    return Call(request=_get(_one("connections", connection_id)), read=Connection.read)


def refresh_connection(connection_id: str) -> Call[Connection]:
    """Refresh its credential now.  Raises ReauthorizationRequired, ProviderUnavailable or NotFound."""
    return Call(
        request=_post(_one("connections", connection_id, "/refresh")),
        read=Connection.read,
        changed=_of_itself,
    )


def reconnect_connection(
    connection_id: str,
    *,
    return_url: str,
    return_mode: ReturnMode = "redirect",
    scopes: Sequence[str] | None = None,
) -> Call[ConnectSession]:
    """A connect session that repairs this connection and keeps its id."""
    return Call(
        request=_post(
            _one("connections", connection_id, "/reconnect"),
            return_url=return_url,
            return_mode=return_mode,
            scopes=_listed(scopes),
        ),
        read=ConnectSession.read,
        about_connecting=True,
    )


def disconnect_connection(connection_id: str) -> Call[Connection]:
    """End it: revoked at the provider, credential destroyed, audit record kept."""
    return Call(
        request=_post(_one("connections", connection_id, "/disconnect")),
        read=Connection.read,
        changed=_of_itself,
    )


def list_installations(
    *,
    tenant_id: str | None = None,
    provider: str | None = None,
    status: str | None = None,
    cursor: str | None = None,
    limit: int | None = None,
) -> Call[Page[Installation]]:
    """One page of the installations that match every argument given."""
    return Call(
        request=_get(
            "/v1/installations",
            tenant_id=tenant_id,
            provider=provider,
            status=status,
            cursor=cursor,
            limit=limit,
        ),
        read=page_of(Installation.read),
    )


def get_installation(installation_id: str) -> Call[Installation]:
    """The installation as it stands.  Raises NotFound."""
    return Call(request=_get(_one("installations", installation_id)), read=Installation.read)


def refresh_installation(installation_id: str) -> Call[Installation]:
    """Refresh its credential now.  Raises ReauthorizationRequired, ProviderUnavailable or NotFound."""
    return Call(
        request=_post(_one("installations", installation_id, "/refresh")),
        read=Installation.read,
        changed=_of_itself,
    )


def reconnect_installation(
    installation_id: str,
    *,
    return_url: str,
    user_id: str | None = None,
    return_mode: ReturnMode = "redirect",
    scopes: Sequence[str] | None = None,
) -> Call[ConnectSession]:
    """A connect session that repairs this installation and keeps its id.

    With ``user_id``, only that user can complete it.
    """
    return Call(
        request=_post(
            _one("installations", installation_id, "/reconnect"),
            return_url=return_url,
            user_id=user_id,
            return_mode=return_mode,
            scopes=_listed(scopes),
        ),
        read=ConnectSession.read,
        about_connecting=True,
    )


def disconnect_installation(installation_id: str) -> Call[Installation]:
    """End it: revoked at the provider, credential destroyed, audit record kept."""
    return Call(
        request=_post(_one("installations", installation_id, "/disconnect")),
        read=Installation.read,
        changed=_of_itself,
    )


def store_credential(
    *,
    provider: str,
    tenant_id: str,
    fields: Mapping[str, str],
    user_id: str | None = None,
    label: str | None = None,
) -> Call[StoredCredential]:
    """Store a key the application already holds, for providers without OAuth.

    ``fields`` has the names of the provider's definition, such as ``username`` and ``api_key``.  The server
    probes them first.  Raises InvalidRequest naming the field when they are refused.
    """
    return Call(
        request=_post(
            "/v1/credentials",
            provider=provider,
            tenant_id=tenant_id,
            user_id=user_id,
            fields=dict(fields),
            label=label,
        ),
        read=StoredCredential.read,
        changed=_of_stored,
    )
