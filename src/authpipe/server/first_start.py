"""What has to exist before the first start: the data directory and a local key."""

from __future__ import annotations

from pathlib import Path

from authpipe.domain.errors import ConfigurationError
from authpipe.server.settings import Settings
from authpipe.vault.keks.local import SCHEME, LocalKek


def prepare(settings: Settings) -> Path | None:
    """Make the data directory, and the primary KEK's key file when it is a local one that does not exist.

    Returns the path of the key file when this call made it.  Never touches an existing file.  A new key
    cannot read what an old one encrypted, so this is for a first start and never done on the quiet.
    Raises ``ConfigurationError``.
    """
    try:
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"the data directory {settings.data_dir} cannot be made ({error.strerror}): set "
            "AUTHPIPE_DATA_DIR to a directory this user can write"
        ) from None
    scheme, _, rest = settings.keks[0].partition(":")
    path = Path(rest)
    if scheme != SCHEME or not rest or path.exists():
        return None
    LocalKek.create(path)
    return path
