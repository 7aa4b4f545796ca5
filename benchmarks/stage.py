"""A PostgreSQL server, a vault and a provider config in a directory that goes away afterwards."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from authpipe.domain.access import ApiKeyRole
from authpipe.domain.clock import SystemClock
from authpipe.domain.environment import EnvironmentKind
from authpipe.domain.event import ActorKind, Origin
from authpipe.domain.secret import Secret
from authpipe.server.first_start import prepare
from authpipe.server.settings import Settings, load_settings
from authpipe.server.wiring import Rooms, open_rooms
from authpipe.store.embedded import EmbeddedPostgres

PROVIDER = "discord"
ORIGIN = Origin(actor_kind=ActorKind.COMMAND_LINE, actor_id="benchmark")


@dataclass(frozen=True)
class Stage:
    """``dsn`` is the owner's; ``key`` an API key that may read credentials."""

    directory: Path
    settings: Settings
    rooms: Rooms
    dsn: str
    key: str


@asynccontextmanager
async def set_up(*, base_url: str, port: int = 8799) -> AsyncIterator[Stage]:
    """Everything that a server or worker process needs; ``base_url`` is where the provider is."""
    with tempfile.TemporaryDirectory(prefix="authpipe-benchmark-") as name:
        directory = Path(name)
        postgres = EmbeddedPostgres(directory)
        dsn = await postgres.start()
        try:
            settings = load_settings(
                data_dir=directory,
                database_url=dsn,
                port=port,
                allow_loopback_egress=True,
                log_level="WARNING",
            )
            prepare(settings)
            # For the processes that are started later.
            os.environ.update(settings.as_environment())
            async with open_rooms(settings, migrate=True, clock=SystemClock()) as rooms:
                environment = await rooms.environments.create(
                    "benchmark", kind=EnvironmentKind.DEVELOPMENT, return_urls=[], origins=[], origin=ORIGIN
                )
                await rooms.connecting.provider_configs.create(
                    environment.environment_id,
                    PROVIDER,
                    {
                        "client_id": "1000000000000000001",
                        "client_secret": Secret("s" * 32),
                        "base_url": base_url,
                    },
                    origin=ORIGIN,
                )
                _, key = await rooms.api_keys.create(
                    environment.environment_id, name="benchmark", role=ApiKeyRole.SERVER, origin=ORIGIN
                )
                yield Stage(directory, settings, rooms, dsn, key.reveal())
        finally:
            await postgres.stop()
