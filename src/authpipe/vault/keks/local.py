"""A key-encryption key in a file of its own."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import NoReturn, final

from authpipe.domain.errors import ConfigurationError
from authpipe.domain.secret import Secret
from authpipe.vault.aes_key import AesKey
from authpipe.vault.failure import unusable
from authpipe.vault.keks.key_file import find_problem, format_key_file, key_in
from authpipe.vault.keks.private_file import read_private

SCHEME = "local"

_FORMAT = b"\x01"


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
        is set and an account other than ours and root's owns it or may read, write or execute it.
        """
        text = read_private(
            path,
            "key file",
            remedy="restore it from a copy, or make one with 'authpipe init'",
            refuse_exposed=refuse_exposed,
        )
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

    def close(self) -> None:
        """Nothing is open: the file was read and closed."""

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
