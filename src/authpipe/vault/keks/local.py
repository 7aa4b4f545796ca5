"""A key-encryption key in a file of its own."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path
from typing import NoReturn, final

from authpipe.domain.errors import ConfigurationError
from authpipe.domain.secret import Secret
from authpipe.vault.aes_key import AesKey
from authpipe.vault.failure import unusable
from authpipe.vault.keks.key_file import find_problem, format_key_file, key_in

SCHEME = "local"

_FORMAT = b"\x01"
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_LARGEST_FILE_BYTES = 16_384


@final
class LocalKek:
    """Wraps data keys with AES-256-GCM under the key of a file that was read once.

    Every data key is one encryption under it, so its bound of 2**32 is out of reach of any number of tenants.
    Its id is a fingerprint of the key: a replaced file is another KEK, a moved file is the same.
    """

    __slots__ = ("_kek_id", "_key", "_uri")

    def __init__(self, path: Path, key: AesKey) -> None:
        self._key = key
        self._kek_id = f"{SCHEME}-{key.fingerprint()}"
        self._uri = f"{SCHEME}:{path}"

    @classmethod
    def create(cls, path: Path) -> LocalKek:
        """Make a new key in a new file, readable by its owner alone.

        The file appears whole or not at all, and an existing one is never touched.  Raises
        ``ConfigurationError`` when there is something at ``path`` or when it cannot be written.
        """
        key = AesKey.generate()
        partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        try:
            try:
                _write_private(partial, format_key_file(key))
                # link(2) fails when the name is taken; rename(2) would replace what is there.
                os.link(partial, path)
            finally:
                partial.unlink(missing_ok=True)
            _sync_directory(path.parent)
        except FileExistsError:
            raise ConfigurationError(
                f"{path} exists already and a key file is never overwritten; choose another path"
            ) from None
        except OSError as error:
            raise ConfigurationError(f"key file {path} cannot be written: {error.strerror}") from None
        return cls(path, key)

    @classmethod
    def open(cls, path: Path, *, refuse_exposed: bool) -> LocalKek:
        """Read the key of an existing file.

        Raises ``ConfigurationError`` when it is missing, unreadable or malformed, or when ``refuse_exposed``
        is set and anyone but its owner may read, write or execute it.
        """
        text = _read(path, refuse_exposed=refuse_exposed)
        problem = find_problem(text)
        if problem is not None:
            raise ConfigurationError(f"key file {path} {problem}; restore it from a copy")
        return cls(path, key_in(text))

    @property
    def uri(self) -> str:
        return self._uri

    @property
    def kek_id(self) -> str:
        return self._kek_id

    async def wrap(self, key: AesKey, associated_data: bytes) -> bytes:
        return _FORMAT + self._key.encrypt(key.reveal_key_bytes(), associated_data)

    async def unwrap(self, wrapped: bytes, associated_data: bytes) -> AesKey:
        if wrapped[:1] != _FORMAT:
            raise unusable("the wrapped key has an unknown format version")
        return AesKey(self._key.decrypt(wrapped[1:], associated_data))

    def __repr__(self) -> str:
        return f"LocalKek(uri={self._uri!r}, kek_id={self._kek_id!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a LocalKek cannot be pickled or copied")


def _write_private(path: Path, text: Secret) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(text.reveal_bytes())
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read(path: Path, *, refuse_exposed: bool) -> Secret:
    try:
        # Non-blocking, so that a FIFO in the file's place is an error below and not a hang here.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        raise ConfigurationError(
            f"key file {path} does not exist; restore it from a copy, or make one with 'authpipe init'"
        ) from None
    except OSError as error:
        raise ConfigurationError(f"key file {path} cannot be read: {error.strerror}") from None
    try:
        # The open file is examined, not the name, which could lead elsewhere a moment later.
        _check(path, os.fstat(descriptor), refuse_exposed=refuse_exposed)
        return Secret.from_bytes(os.read(descriptor, _LARGEST_FILE_BYTES))
    except ValueError:
        raise ConfigurationError(f"key file {path} is not text; restore it from a copy") from None
    except OSError as error:
        raise ConfigurationError(f"key file {path} cannot be read: {error.strerror}") from None
    finally:
        os.close(descriptor)


def _check(path: Path, status: os.stat_result, *, refuse_exposed: bool) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise ConfigurationError(f"key file {path} is not a regular file")
    if refuse_exposed and status.st_mode & _OTHERS:
        raise ConfigurationError(
            f"key file {path} is open to other accounts (mode {stat.S_IMODE(status.st_mode):04o}); "
            f"run: chmod 600 {path}"
        )
    if status.st_size > _LARGEST_FILE_BYTES:
        raise ConfigurationError(f"key file {path} is too large to be one")
