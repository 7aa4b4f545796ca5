"""Small files that hold a secret, read once and with suspicion."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from authpipe.domain.errors import ConfigurationError
from authpipe.domain.secret import Secret

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_LARGEST_FILE_BYTES = 16_384


def read_private(path: Path, what: str, *, remedy: str, refuse_exposed: bool) -> Secret:
    """The text of a regular file.  ``what`` names it in messages, ``remedy`` is told when it is missing.

    Raises ``ConfigurationError`` when it is missing, unreadable, too large or no text, or when
    ``refuse_exposed`` is set and another account may read, write or execute it: by its mode or as its owner.
    Root is no other account.  The directory is not examined: whoever can replace the file there makes one
    that is theirs, which is refused.
    """
    try:
        # Non-blocking, so that a FIFO in the file's place is an error below and not a hang here.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        raise ConfigurationError(f"{what} {path} does not exist; {remedy}") from None
    except OSError as error:
        raise ConfigurationError(f"{what} {path} cannot be read: {error.strerror}") from None
    try:
        # The open file is examined, not the name, which could lead elsewhere a moment later.
        _check(path, what, os.fstat(descriptor), refuse_exposed=refuse_exposed)
        return Secret.from_bytes(os.read(descriptor, _LARGEST_FILE_BYTES))
    except ValueError:
        raise ConfigurationError(f"{what} {path} is not text; restore it from a copy") from None
    except OSError as error:
        raise ConfigurationError(f"{what} {path} cannot be read: {error.strerror}") from None
    finally:
        os.close(descriptor)


def _check(path: Path, what: str, status: os.stat_result, *, refuse_exposed: bool) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise ConfigurationError(f"{what} {path} is not a regular file")
    if refuse_exposed and status.st_mode & _OTHERS:
        raise ConfigurationError(
            f"{what} {path} is open to other accounts (mode {stat.S_IMODE(status.st_mode):04o}); "
            f"run: chmod 600 {path}"
        )
    if refuse_exposed and status.st_uid not in (0, os.geteuid()):
        raise ConfigurationError(
            f"{what} {path} belongs to another account (uid {status.st_uid}); "
            f"run: chown {os.geteuid()} {path}"
        )
    if status.st_size > _LARGEST_FILE_BYTES:
        raise ConfigurationError(f"{what} {path} is too large to be one")
