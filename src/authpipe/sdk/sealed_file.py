"""A small file that only its owner can read and only the holder of a secret can understand.

magic (8 bytes, the last one the format) | salt (16) | nonce (12) | AES-256-GCM ciphertext and tag

The key is HKDF-SHA256 (RFC 5869) of the secret under the salt and a context, both new and bound with every
writing.  The secret must be as strong as a key: an API key has 256 random bits.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from authpipe.sdk.errors import ConfigurationError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

logger = logging.getLogger("authpipe.sdk")

MAGIC = b"authpip\x01"
SALT_BYTES, NONCE_BYTES, KEY_BYTES = 16, 12, 32
LARGEST = 32 * 1024 * 1024


class SealedFile:
    """The file at ``path`` under ``secret``; another ``context`` is another key.

    Raises ConfigurationError where the extra with the cryptography is not installed.
    """

    def __init__(self, path: Path, secret: str, context: str) -> None:
        try:
            import cryptography.hazmat.primitives.ciphers.aead as _  # noqa: F401
        except ImportError:
            raise ConfigurationError(
                "a snapshot is encrypted, which needs an extra: pip install 'authpipe[snapshot]'"
            ) from None
        self._path = path
        self._secret = secret.encode()
        self._context = context.encode()

    def read(self) -> bytes | None:
        """What was written, or None: nothing there, or nothing to be trusted (logged).  Never raises."""
        try:
            return self._opened(self._content())
        except FileNotFoundError:
            return None
        except _Unusable as unusable:
            reason = str(unusable)
        except OSError as error:
            reason = error.strerror or type(error).__name__
        logger.warning("the snapshot %s is ignored: %s", self._path, reason)
        return None

    def write(self, plain: bytes) -> None:
        """Replace the file as a whole, mode 0600.  Raises OSError and leaves the old one."""
        salt, nonce = secrets.token_bytes(SALT_BYTES), secrets.token_bytes(NONCE_BYTES)
        sealed = self._cipher(salt).encrypt(nonce, plain, MAGIC)
        new = self._path.with_name(f".{self._path.name}.{secrets.token_hex(8)}")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)
        try:
            with open(new, "wb", opener=lambda name, _: os.open(name, flags, 0o600)) as file:
                file.write(MAGIC + salt + nonce + sealed)
                file.flush()
                os.fsync(file.fileno())
            new.replace(self._path)
        except BaseException:
            with contextlib.suppress(OSError):
                new.unlink()
            raise

    def remove(self) -> None:
        """Have no file.  Raises OSError."""
        self._path.unlink(missing_ok=True)

    def _content(self) -> bytes:
        # No link, no pipe to hang on, and what is looked at is what is read.
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        with open(self._path, "rb", opener=lambda name, _: os.open(name, flags)) as file:
            about = os.fstat(file.fileno())
            if not stat.S_ISREG(about.st_mode):
                raise _Unusable("it is not a file")
            if hasattr(os, "geteuid"):
                if about.st_uid != os.geteuid():
                    raise _Unusable("it belongs to another user")
                if stat.S_IMODE(about.st_mode) & 0o077:
                    raise _Unusable("others than its owner may use it (chmod 600, or delete it)")
            if about.st_size > LARGEST:
                raise _Unusable("it is too large")
            return file.read(LARGEST + 1)

    def _opened(self, content: bytes) -> bytes:
        from cryptography.exceptions import InvalidTag

        head = len(MAGIC) + SALT_BYTES
        if not content.startswith(MAGIC):
            raise _Unusable("it is no snapshot of this version")
        salt, nonce = content[len(MAGIC) : head], content[head : head + NONCE_BYTES]
        try:
            return self._cipher(salt).decrypt(nonce, content[head + NONCE_BYTES :], MAGIC)
        except (InvalidTag, ValueError):
            raise _Unusable("it is damaged, or of another API key or server") from None

    def _cipher(self, salt: bytes) -> AESGCM:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        kdf = HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=salt, info=self._context)
        return AESGCM(kdf.derive(self._secret))


class _Unusable(Exception):
    pass
