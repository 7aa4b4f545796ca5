"""What the cache is told has changed, which entries that concerns, and what was told lately.

A change that comes while an answer is on its way may or may not be in that answer.  So every fetch notes how
many changes had been told when it began, and what it brings is not kept when one told since concerns it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, Self, TypeAlias

from authpipe.sdk.credential import Credential
from authpipe.sdk.document import Document

# provider, tenant_id, user_id, credential_for, installation_id, label, kind
Key: TypeAlias = tuple[str, str, str | None, str, str | None, str | None, str | None]

REFRESHED = "credential.refreshed"

# At 300 changes a second, what is told during the ten seconds of a very slow fetch.
REMEMBERED = 4096


class Told(Protocol):
    """Something that makes entries wrong."""

    def concerns(self, key: Key, credential: Credential) -> bool:
        """Whether ``credential``, cached under ``key``, may be no longer what the server would answer."""
        ...

    def concerns_refusal(self, key: Key) -> bool:
        """Whether a refusal cached under ``key`` may be no longer what the server would answer."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A change as the server's stream tells it.  What is None was not told, and limits nothing.

    A refresh concerns the credential it names.  Everything else may also change which connection a key
    resolves to (a user's own comes before the tenant's, a primary one before the others), so it concerns
    every key of that tenant and provider, or, where it is about one user's connection, that user's keys and
    those that name no user.
    """

    type: str
    tenant_id: str | None
    provider: str | None
    user_id: str | None
    connection_id: str | None
    installation_id: str | None
    credential_id: str | None

    @classmethod
    def read(cls, document: Document) -> Self:
        """From the stream's JSON.  Raises Malformed."""
        return cls(
            type=document.text("type"),
            tenant_id=document.optional_text("tenant_id"),
            provider=document.optional_text("provider"),
            user_id=document.optional_text("user_id"),
            connection_id=document.optional_text("connection_id"),
            installation_id=document.optional_text("installation_id"),
            credential_id=document.optional_text("credential_id"),
        )

    @property
    def only_refreshed(self) -> bool:
        """The grant stands; only the secret is a new one."""
        return self.type == REFRESHED

    def concerns(self, key: Key, credential: Credential) -> bool:
        """See the class."""
        if not self.concerns_refusal(key):
            return False
        if self._same(credential.credential_id, self.credential_id):
            return True
        if self.only_refreshed and self.credential_id is not None:
            return False
        if self._same(credential.connection_id, self.connection_id):
            return True
        if self.connection_id is None and self._same(credential.installation_id, self.installation_id):
            return True
        named = self.connection_id or self.installation_id
        if self.only_refreshed and named is not None:
            return False
        whole_tenant = self.user_id is None or self.connection_id is None
        return whole_tenant or key[2] is None or key[2] == self.user_id

    def concerns_refusal(self, key: Key) -> bool:
        """Any change of the tenant and the provider: a refusal is cheap to ask for again."""
        return self.provider in (None, key[0]) and self.tenant_id in (None, key[1])

    @staticmethod
    def _same(one: str | None, other: str | None) -> bool:
        return one is not None and one == other


@dataclass(frozen=True, slots=True)
class Owners:
    """Connections or installations that this client itself changed."""

    identifiers: frozenset[str]

    def concerns(self, key: Key, credential: Credential) -> bool:
        """What belongs to one of them."""
        return credential.connection_id in self.identifiers or credential.installation_id in self.identifiers

    def concerns_refusal(self, key: Key) -> bool:
        """All: what was just connected need not be what the refusal was about, and it is cheap."""
        return True


@dataclass(frozen=True, slots=True)
class Dead(Owners):
    """Connections or installations that the server refused to give a credential of."""

    def concerns_refusal(self, key: Key) -> bool:
        """None: nothing became available."""
        return False


@dataclass(frozen=True, slots=True)
class Rejected:
    """A credential, up to a version, that its provider no longer takes."""

    credential_id: str
    version: int

    def concerns(self, key: Key, credential: Credential) -> bool:
        """That version and older ones."""
        return credential.credential_id == self.credential_id and credential.version <= self.version

    def concerns_refusal(self, key: Key) -> bool:
        """None: nothing became available."""
        return False


@dataclass(frozen=True, slots=True)
class KeyRefused:
    """The API key is not valid any more."""

    def concerns(self, key: Key, credential: Credential) -> bool:
        """Everything that was read with it."""
        return True

    def concerns_refusal(self, key: Key) -> bool:
        """Everything that was read with it."""
        return True


@dataclass(frozen=True, slots=True)
class Unknown:
    """Changes may have been missed: entries keep their bounded time, refusals go."""

    def concerns(self, key: Key, credential: Credential) -> bool:
        """None at once."""
        return False

    def concerns_refusal(self, key: Key) -> bool:
        """All."""
        return True


class RecentChanges:
    """The changes told lately, and how many there were altogether."""

    def __init__(self) -> None:
        self.told = 0
        self._recent: deque[Told] = deque(maxlen=REMEMBERED)

    def add(self, told: Told) -> None:
        """One more."""
        self._recent.append(told)
        self.told += 1

    def since(self, told: int) -> Iterable[Told] | None:
        """Those that came after the first ``told``; None when that is longer ago than is remembered."""
        missing = self.told - told
        if missing > len(self._recent):
            return None
        return [self._recent[index] for index in range(len(self._recent) - missing, len(self._recent))]
