"""The environment to develop in: where its browsers may return to, and the key that opens it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from authpipe.cli.options import DEVELOPMENT
from authpipe.domain.access import ApiKeyRole
from authpipe.domain.environment import Environment, EnvironmentKind
from authpipe.domain.errors import Conflict, NotFound, Unauthenticated
from authpipe.domain.event import Origin
from authpipe.domain.secret import Secret

if TYPE_CHECKING:
    from authpipe.access.environments import Environments
    from authpipe.server.wiring import Rooms

#: Where ``authpipe connect`` waits for the browser.
CONNECT_PORT = 8710
#: Ports that development servers of common frameworks take.
_PORTS = (3000, 5173, 8000, 8080, CONNECT_PORT)

ORIGINS = tuple(f"http://{host}:{port}" for host in ("127.0.0.1", "localhost") for port in _PORTS)
RETURN_URLS = tuple(f"{origin}/*" for origin in ORIGINS)


async def ensure_development(
    environments: Environments, return_urls: Sequence[str], *, origin: Origin
) -> tuple[Environment, bool]:
    """The environment ``development`` and whether this call made it.

    One that is there keeps its lists and gets those of ``return_urls`` that it lacks.
    """
    try:
        found = await environments.by_name(DEVELOPMENT)
    except NotFound:
        try:
            made = await environments.create(
                DEVELOPMENT,
                kind=EnvironmentKind.DEVELOPMENT,
                return_urls=return_urls,
                origins=ORIGINS,
                origin=origin,
            )
        except Conflict:  # somebody else made it in this moment
            found = await environments.by_name(DEVELOPMENT)
        else:
            return made, True
    missing = [url for url in return_urls if url not in found.return_urls]
    if missing and found.kind is EnvironmentKind.DEVELOPMENT:
        found = await environments.update(
            found.environment_id, return_urls=[*found.return_urls, *missing], origin=origin
        )
    return found, False


async def development_key(rooms: Rooms, environment: Environment, *, origin: Origin) -> Secret:
    """The API key in ``data_dir/dev-api-key``, the same at every start, or a new one when it is not valid."""
    path = rooms.settings.data_dir / "dev-api-key"
    kept = _read(path)
    if kept:
        try:
            known = await rooms.authenticator.authenticate(kept)
        except Unauthenticated:
            pass
        else:
            here = known.environment.environment_id == environment.environment_id
            if here and known.api_key.role is ApiKeyRole.ADMIN and known.api_key.tenant_id is None:
                return kept
    _, key = await rooms.api_keys.create(
        environment.environment_id, name="authpipe dev", role=ApiKeyRole.ADMIN, origin=origin
    )
    _write(path, key)
    return key


def _read(path: Path) -> Secret | None:
    try:
        return Secret.from_bytes(path.read_bytes().strip())
    except (OSError, ValueError):
        return None


def _write(path: Path, key: Secret) -> None:
    """Never readable by another account, not for a moment, and never half written."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(key.reveal_bytes() + b"\n")
    draft.replace(path)
