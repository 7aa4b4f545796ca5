"""The cache on disk, so that a restart while the server is away still has what is unexpired.

What is read back is of unknown freshness (see ``cache``): it is served only while the server is known to be
away.  Between two processes only the wall clock goes on, so that is what expiry is written in; a clock that
was set back since then makes no credential live longer than it had left when it was saved.
"""

from __future__ import annotations

import json
import logging
import math
import threading
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from authpipe.sdk.cache import CredentialCache
from authpipe.sdk.changes import Key
from authpipe.sdk.clock import Clock
from authpipe.sdk.credential import Credential
from authpipe.sdk.document import Document, Malformed
from authpipe.sdk.entry import Entry, entry_from_snapshot
from authpipe.sdk.fetch import KEY_NAMES, read_credential
from authpipe.sdk.sealed_file import SealedFile
from authpipe.sdk.settings import Settings

logger = logging.getLogger("authpipe.sdk")

SAVE_EVERY_S = 3.0
# A credential that does not expire is kept no longer than this after the server last handed it out.
LONGEST_KEPT_S = 7 * 86_400.0
# How far the clock may have been set back since the snapshot was written before it is not believed at all.
SET_BACK_S = 60.0
LARGEST_CONTENT = 16 * 1024 * 1024


def snapshot_of(cache: CredentialCache, settings: Settings, clock: Clock) -> Snapshot | None:
    """The snapshot that ``settings`` ask for, already read into ``cache``.  Raises ConfigurationError."""
    if settings.snapshot is None:
        return None
    file = SealedFile(settings.snapshot, settings.api_key, context=f"authpipe sdk snapshot 1 {settings.url}")
    snapshot = Snapshot(file, cache, clock)
    snapshot.load()
    return snapshot


class Snapshot:
    """Saves the unexpired entries of one cache.  Thread-safe; no failure of the disk ever raises."""

    def __init__(self, file: SealedFile, cache: CredentialCache, clock: Clock) -> None:
        self._file = file
        self._cache = cache
        self._clock = clock
        self._saved = cache.revision
        self._failing = False
        self._closed = False
        self.after_fork()

    def after_fork(self) -> None:
        """In a forked child: nobody is saving."""
        self._lock = threading.Lock()

    @property
    def behind(self) -> bool:
        """Whether entries have come or gone since the last save."""
        return self._cache.revision != self._saved

    def load(self) -> None:
        """Take what is there into the cache.  A file that cannot be used is logged and ignored."""
        plain = self._file.read()
        if plain is None:
            return
        try:
            self._restore(Document(json.loads(plain)))
        except (Malformed, ValueError, RecursionError, OverflowError, TypeError):
            # The decoder's own error would quote a secret.
            logger.warning("the snapshot is ignored: it is of an unknown form")
        self._saved = self._cache.revision

    def save(self) -> None:
        """Write the entries as they are now; with none there is no file."""
        with self._lock:
            if self._closed or not self.behind:
                return
            revision, entries = self._cache.unexpired(self._clock.elapsed())
            try:
                if entries:
                    self._file.write(self._written(entries))
                else:
                    self._file.remove()
            except OSError as error:
                if not self._failing:
                    logger.warning("the snapshot cannot be saved: %s", error.strerror or type(error).__name__)
                self._failing = True
                return
            self._saved = revision
            self._failing = False

    def close(self) -> None:
        """Save a last time."""
        self.save()
        self._closed = True

    def _written(self, entries: list[tuple[Key, Entry]]) -> bytes:
        ahead = self._clock.wall() - self._clock.elapsed()
        pieces: list[bytes] = []
        size = 0
        # What was used last is what a successor will ask for first.
        for key, entry in reversed(entries):
            piece = json.dumps(_document(key, entry, ahead), default=_thawed).encode()
            size += len(piece) + 1
            if size > LARGEST_CONTENT:
                break
            pieces.append(piece)
        pieces.reverse()
        return b'{"saved_at":%s,"entries":[%s]}' % (
            json.dumps(self._clock.wall()).encode(),
            b",".join(pieces),
        )

    def _restore(self, document: Document) -> None:
        saved_at = _number(document, "saved_at")
        wall, elapsed = self._clock.wall(), self._clock.elapsed()
        if wall < saved_at - SET_BACK_S:
            logger.warning("the snapshot is ignored: it is from the future, so the clock was set back")
            return
        # Any smaller step back is taken for no time at all.
        now = max(wall, saved_at)
        for item in document.documents("entries"):
            asked_at = _number(item, "asked_at")
            expires = _number(item, "expires") if item.fields.get("expires") is not None else math.inf
            if now >= expires or now - asked_at > LONGEST_KEPT_S:
                continue
            credential = item.optional_document("credential")
            if credential is None:
                raise Malformed("credential")
            entry = entry_from_snapshot(
                read_credential(credential).credential,
                elapsed,
                asked_at=elapsed - max(0.0, now - asked_at),
                expires=elapsed + (expires - now),
            )
            if elapsed < entry.wait_from:
                self._cache.restore(_key(item), entry)


def _document(key: Key, entry: Entry, ahead: float) -> dict[str, Any]:
    return {
        "key": dict(zip(KEY_NAMES, key, strict=True)),
        "credential": _credential(entry.credential),
        "asked_at": entry.asked_at + ahead,
        "expires": None if entry.expires == math.inf else entry.expires + ahead,
    }


def _credential(credential: Credential) -> dict[str, Any]:
    # The form in which the server writes it, so that one function reads both.
    return {
        "credential": credential.credential,
        "headers": dict(credential.headers),
        "kind": credential.kind,
        "provider": credential.provider,
        "tenant_id": credential.tenant_id,
        "user_id": credential.user_id,
        "connection_id": credential.connection_id,
        "installation_id": credential.installation_id,
        "credential_id": credential.credential_id,
        "label": credential.label,
        "expires_at": None if credential.expires_at is None else credential.expires_at.isoformat(),
        "scopes": list(credential.scopes),
        "metadata": credential.metadata,
        "version": credential.version,
    }


def _thawed(value: object) -> dict[str, Any]:
    if isinstance(value, MappingProxyType):
        frozen: Mapping[str, Any] = value
        return dict(frozen)
    raise TypeError(type(value).__name__)


def _key(item: Document) -> Key:
    key = item.optional_document("key")
    if key is None:
        raise Malformed("key")
    return (
        key.text("provider"),
        key.text("tenant_id"),
        key.optional_text("user_id"),
        key.text("credential_for"),
        key.optional_text("installation_id"),
        key.optional_text("label"),
        key.optional_text("kind"),
    )


def _number(document: Document, name: str) -> float:
    value = document.fields.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise Malformed(name)
    return float(value)
