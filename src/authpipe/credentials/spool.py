"""A write-ahead spool on local disk: an answer that was received survives the process and the database.

Each refresh writes its encrypted answer here, fsynced, before the database is told.  A record is worth
something until its commit: afterwards the version in the database has moved on, and replaying it does
nothing.  Several refreshes share one fsync.
"""

from __future__ import annotations

import asyncio
import base64
import fcntl
import json
import os
import secrets
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any
from uuid import UUID

from authpipe.store.credentials import RefreshedSecrets

#: A segment that grew beyond this many bytes is closed; it goes when the last of its records is committed.
_SEGMENT_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolRecord:
    """One refreshed credential: its place, the version it was claimed at, and ciphertext."""

    environment_id: UUID
    tenant_id: str
    credential_id: UUID
    version: int
    secrets: RefreshedSecrets


def _encode(record: SpoolRecord) -> bytes:
    new = record.secrets

    def time(value: datetime | None) -> str | None:
        return None if value is None else value.isoformat()

    def text(value: bytes) -> str:
        return base64.b64encode(value).decode()

    document = {
        "environment_id": str(record.environment_id),
        "tenant_id": record.tenant_id,
        "credential_id": str(record.credential_id),
        "version": record.version,
        "secret": text(new.secret_ciphertext),
        "refresh": None if new.refresh_ciphertext is None else text(new.refresh_ciphertext),
        "scopes": list(new.scopes),
        "expires_at": time(new.expires_at),
        "refresh_due_at": time(new.refresh_due_at),
        "refresh_expires_at": time(new.refresh_expires_at),
        "issued_at": time(new.issued_at),
        "previous_until": time(new.previous_until),
    }
    body = json.dumps(document, separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(body), body)


def _body(line: bytes) -> bytes | None:
    """What one line holds, or None for a line the crash left torn."""
    checksum, _, body = line.rstrip(b"\n").partition(b" ")
    try:
        whole = line.endswith(b"\n") and int(checksum, 16) == zlib.crc32(body)
    except ValueError:
        return None
    return body if whole else None


def _decode(body: bytes) -> SpoolRecord | None:
    """The record, or None for what another release wrote and this one cannot read."""
    try:
        document: dict[str, Any] = json.loads(body)

        def time(name: str) -> datetime:
            return datetime.fromisoformat(document[name])

        def time_or_none(name: str) -> datetime | None:
            return None if document[name] is None else time(name)

        refresh = document["refresh"]
        return SpoolRecord(
            environment_id=UUID(document["environment_id"]),
            tenant_id=document["tenant_id"],
            credential_id=UUID(document["credential_id"]),
            version=document["version"],
            secrets=RefreshedSecrets(
                secret_ciphertext=base64.b64decode(document["secret"]),
                refresh_ciphertext=None if refresh is None else base64.b64decode(refresh),
                scopes=tuple(document["scopes"]),
                expires_at=time_or_none("expires_at"),
                refresh_due_at=time_or_none("refresh_due_at"),
                refresh_expires_at=time_or_none("refresh_expires_at"),
                issued_at=time("issued_at"),
                previous_until=time("previous_until"),
            ),
        )
    except (KeyError, TypeError, ValueError):
        return None


def _sync_directory(directory: Path) -> None:
    """Make a new name survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class _Segment:
    """One file, locked while its process lives, so that others can tell it from an orphan."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / f"{os.getpid()}-{secrets.token_hex(8)}.spool"
        # Locked before it has the name others look for, or one of them could take it for an orphan.
        unseen = self.path.with_suffix(".new")
        descriptor = os.open(unseen, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        self.file: IO[bytes] = os.fdopen(descriptor, "ab", buffering=0)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        unseen.rename(self.path)
        _sync_directory(directory)
        self.outstanding = 0
        self.size = 0
        #: Set when the disk refused a write: what it left half written must not be appended to.
        self.spoiled = False

    def append(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self.file.fileno(), view) :]
            os.fsync(self.file.fileno())
        except OSError:
            self.spoiled = True
            raise
        self.size += len(data)

    def clear(self) -> None:
        os.ftruncate(self.file.fileno(), 0)
        self.size = 0

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self.file.close()


class Receipt:
    """Proof that a record is on disk; :meth:`Spool.settle` takes it back once the database has it."""

    __slots__ = ("_segment",)

    def __init__(self, segment: _Segment) -> None:
        self._segment = segment


class Spool:
    """The spool of one process in a directory that all processes of the machine share.

    The directory must lie on a disk that keeps what was fsynced.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._directory = directory
        self._current = _Segment(directory)
        self._closed: list[_Segment] = []
        self._waiting: list[tuple[bytes, asyncio.Future[_Segment]]] = []
        self._writer: asyncio.Task[None] | None = None

    @property
    def outstanding(self) -> int:
        """How many records of this process the database does not have yet."""
        return self._current.outstanding + sum(segment.outstanding for segment in self._closed)

    async def append(self, record: SpoolRecord) -> Receipt:
        """Return once the record is on disk.  Raises ``OSError`` when the disk refuses it.

        The record of a caller that is cancelled meanwhile stays on disk, for the next process to commit.
        """
        done: asyncio.Future[_Segment] = asyncio.get_running_loop().create_future()
        self._waiting.append((_encode(record), done))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write())
        return Receipt(await done)

    def settle(self, receipt: Receipt) -> None:
        """The record is not needed any longer: it was committed, or found to be superseded."""
        segment = receipt._segment  # noqa: SLF001  # a receipt means something to its spool only
        segment.outstanding -= 1
        if segment.outstanding:
            return
        if segment is not self._current:
            self._closed.remove(segment)
            segment.remove()
        elif not self._waiting and (self._writer is None or self._writer.done()):
            segment.clear()

    async def _write(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                segment = self._with_room()
                # Counted before it is written, so that nobody empties the file meanwhile.
                segment.outstanding += len(batch)
                try:
                    await asyncio.to_thread(segment.append, b"".join(data for data, _ in batch))
                except OSError:
                    segment.outstanding -= len(batch)
                    raise
            except OSError as error:
                for _, done in batch:
                    if not done.done():
                        done.set_exception(error)
                continue
            for _, done in batch:
                if not done.done():
                    done.set_result(segment)

    def _with_room(self) -> _Segment:
        """The segment to write to: a new one after it grew too large, or the disk refused it something."""
        if self._current.size > _SEGMENT_BYTES or self._current.spoiled:
            full, self._current = self._current, _Segment(self._directory)
            if full.outstanding:
                self._closed.append(full)
            else:
                full.remove()
        return self._current

    def orphans(self) -> Iterator[Orphan]:
        """Segments whose process is gone, each locked for this process until it is let go."""
        own = {self._current.path, *(segment.path for segment in self._closed)}
        for path in sorted(self._directory.glob("*.spool")):
            if path in own:
                continue
            try:
                file = path.open("r+b")
            except OSError:
                continue  # adopted by another, another user's, or not a file that can be read
            try:
                fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.close()
                continue
            yield Orphan(path, file)

    def close(self) -> None:
        """Let go of the files.  A segment with outstanding records stays for the next process."""
        for segment in [self._current, *self._closed]:
            if segment.outstanding:
                segment.file.close()
            else:
                segment.remove()


class Orphan:
    """What a process that died left behind."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self.path = path
        self._file = file
        self._unread = 0

    def records(self) -> list[SpoolRecord]:
        """Every whole record, in the order written; a torn last line was never acknowledged."""
        self._file.seek(0)
        bodies = [body for line in self._file if (body := _body(line)) is not None]
        records = [record for body in bodies if (record := _decode(body)) is not None]
        self._unread = len(bodies) - len(records)
        return records

    def finish(self) -> bool:
        """Every record was replayed: delete the file.  False when it holds some that could not be read.

        Those were written by another release, which may come back for them.
        """
        if not self._unread:
            self.path.unlink(missing_ok=True)
        self._file.close()
        return not self._unread

    def release(self) -> None:
        """Leave it for a later try."""
        self._file.close()
