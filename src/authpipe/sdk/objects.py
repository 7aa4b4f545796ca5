"""The server's objects as the SDK returns them: frozen, typed, tolerant of fields it does not know."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, Self, TypeVar

from authpipe.sdk.document import Document

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One of several connections or installations that match; exactly one of the two ids is set."""

    connection_id: str | None
    installation_id: str | None
    label: str | None
    account_name: str | None
    is_primary: bool
    status: str | None

    @classmethod
    def read(cls, document: Document) -> Self:
        """From the server's JSON.  Raises Malformed."""
        return cls(
            connection_id=document.optional_text("connection_id"),
            installation_id=document.optional_text("installation_id"),
            label=document.optional_text("label"),
            account_name=document.optional_text("account_name"),
            is_primary=document.flag("is_primary"),
            status=document.optional_text("status"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """The durable link of a tenant, or one user of it, to an account at a provider.

    ``status`` is ``active``, ``needs_reauth``, ``failed`` or ``revoked``.
    """

    id: str
    provider: str
    provider_config_id: str | None
    tenant_id: str
    user_id: str | None
    installation_id: str | None
    status: str
    status_reason: str | None
    label: str | None
    is_primary: bool
    account_id: str | None
    account_name: str | None
    scopes: tuple[str, ...]
    metadata: Mapping[str, Any]
    created_at: datetime | None
    updated_at: datetime | None

    @classmethod
    def read(cls, document: Document) -> Self:
        """From the server's JSON.  Raises Malformed."""
        return cls(
            id=document.text("id"),
            provider=document.text("provider"),
            provider_config_id=document.optional_text("provider_config_id"),
            tenant_id=document.text("tenant_id"),
            user_id=document.optional_text("user_id"),
            installation_id=document.optional_text("installation_id"),
            status=document.text("status"),
            status_reason=document.optional_text("status_reason"),
            label=document.optional_text("label"),
            is_primary=document.flag("is_primary"),
            account_id=document.optional_text("account_id"),
            account_name=document.optional_text("account_name"),
            scopes=document.texts("scopes"),
            metadata=document.frozen_mapping("metadata"),
            created_at=document.optional_time("created_at"),
            updated_at=document.optional_time("updated_at"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """The provider's record that the app was installed in a tenant's workspace there.

    ``status`` is ``active``, ``needs_reauth``, ``suspended`` or ``deleted``.
    """

    id: str
    provider: str
    provider_config_id: str | None
    tenant_id: str
    external_id: str | None
    external_name: str | None
    status: str
    status_reason: str | None
    label: str | None
    is_primary: bool
    installed_by: str | None
    scopes: tuple[str, ...]
    metadata: Mapping[str, Any]
    created_at: datetime | None
    updated_at: datetime | None

    @classmethod
    def read(cls, document: Document) -> Self:
        """From the server's JSON.  Raises Malformed."""
        return cls(
            id=document.text("id"),
            provider=document.text("provider"),
            provider_config_id=document.optional_text("provider_config_id"),
            tenant_id=document.text("tenant_id"),
            external_id=document.optional_text("external_id"),
            external_name=document.optional_text("external_name"),
            status=document.text("status"),
            status_reason=document.optional_text("status_reason"),
            label=document.optional_text("label"),
            is_primary=document.flag("is_primary"),
            installed_by=document.optional_text("installed_by"),
            scopes=document.texts("scopes"),
            metadata=document.frozen_mapping("metadata"),
            created_at=document.optional_time("created_at"),
            updated_at=document.optional_time("updated_at"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectSession:
    """Short-lived, single-use permission for one browser to make or repair one connection or installation.

    ``url`` is where to send that browser; it is a permission in itself, so ``repr`` leaves it out.  A
    completed session carries the ``connection`` or ``installation`` it made.
    """

    id: str
    status: str
    url: str | None = field(repr=False)
    provider: str | None
    tenant_id: str | None
    user_id: str | None
    kind: str | None
    expires_at: datetime | None
    connection: Connection | None
    installation: Installation | None

    @classmethod
    def read(cls, document: Document) -> Self:
        """From the server's JSON.  Raises Malformed."""
        connection = document.optional_document("connection")
        installation = document.optional_document("installation")
        return cls(
            id=document.text("id"),
            status=document.text("status"),
            url=document.optional_text("url"),
            provider=document.optional_text("provider"),
            tenant_id=document.optional_text("tenant_id"),
            user_id=document.optional_text("user_id"),
            kind=document.optional_text("kind"),
            expires_at=document.optional_time("expires_at"),
            connection=None if connection is None else Connection.read(connection),
            installation=None if installation is None else Installation.read(installation),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCredential:
    """Where a directly stored key went: the ids to ask for it by.  The secret does not come back."""

    credential_id: str | None
    connection_id: str | None
    installation_id: str | None
    provider: str | None
    tenant_id: str | None
    user_id: str | None
    kind: str | None
    label: str | None
    status: str | None

    @classmethod
    def read(cls, document: Document) -> Self:
        """From the server's JSON.  Raises Malformed."""
        kind_of_object = document.optional_text("object")
        own_id = document.optional_text("id")
        connection = document.optional_document("connection")
        installation = document.optional_document("installation")
        owner = connection or installation or document
        return cls(
            credential_id=document.optional_text("credential_id")
            or (own_id if kind_of_object == "credential" else None),
            connection_id=connection.text("id")
            if connection
            else document.optional_text("connection_id")
            or (own_id if kind_of_object == "connection" else None),
            installation_id=installation.text("id")
            if installation
            else document.optional_text("installation_id")
            or (own_id if kind_of_object == "installation" else None),
            provider=owner.optional_text("provider"),
            tenant_id=owner.optional_text("tenant_id"),
            user_id=owner.optional_text("user_id"),
            kind=document.optional_text("kind"),
            label=owner.optional_text("label"),
            status=owner.optional_text("status"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[T]):
    """One page of a list.  ``next_cursor`` is the ``cursor=`` of the next one, None on the last."""

    data: tuple[T, ...]
    next_cursor: str | None

    def __iter__(self) -> Iterator[T]:
        return iter(self.data)

    def __len__(self) -> int:
        return len(self.data)


def page_of(read: Callable[[Document], T]) -> Callable[[Document], Page[T]]:
    """A reader for one page of what ``read`` reads."""

    def read_page(document: Document) -> Page[T]:
        return Page(
            data=tuple(read(item) for item in document.documents("data")),
            next_cursor=document.optional_text("next_cursor"),
        )

    return read_page
