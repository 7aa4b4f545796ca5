"""Opening and closing all rooms."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import pytest

from authpipe.domain.access import ApiKeyRole
from authpipe.domain.environment import EnvironmentKind
from authpipe.domain.errors import ConfigurationError
from authpipe.domain.event import ActorKind, Origin
from authpipe.server.first_start import prepare
from authpipe.server.services import api_services, page_services
from authpipe.server.settings import load_settings
from authpipe.server.wiring import open_rooms

if TYPE_CHECKING:
    from conftest import Dsns

ORIGIN = Origin(actor_kind=ActorKind.COMMAND_LINE)


async def test_the_rooms_work_together_and_leave_nothing_behind(configure, dsns: Dsns) -> None:  # type: ignore[no-untyped-def]
    """A key of one room opens its environment in another; no task, file or connection stays behind."""
    settings = configure()
    before = asyncio.all_tasks()
    async with open_rooms(settings) as rooms:
        environment = await rooms.environments.create(
            "development", kind=EnvironmentKind.DEVELOPMENT, origin=ORIGIN
        )
        _, text = await rooms.api_keys.create(
            environment.environment_id, name="a", role=ApiKeyRole.ADMIN, origin=ORIGIN
        )
        assert (await rooms.authenticator.authenticate(text)).environment == environment
        assert await rooms.refresh_worker.round() == 0
        assert await rooms.connecting.reaper.round() == 0
        assert api_services(rooms).public_url == settings.public_url
        assert page_services(rooms).browser_sessions is rooms.connecting.browser_sessions
    assert asyncio.all_tasks() == before
    assert list((settings.data_dir / "spool").iterdir()) == []
    owner = await asyncpg.connect(dsns.owner)
    others = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    async with asyncio.timeout(10):
        while await owner.fetchval(others):
            await asyncio.sleep(0.02)
    await owner.close()


async def test_without_a_database_of_yours_one_is_started(tmp_path: Path) -> None:
    """On an empty directory; the schema is made when asked for, and the server is gone afterwards."""
    settings = load_settings(data_dir=tmp_path / "state")
    prepare(settings)
    with pytest.raises(ConfigurationError, match="run `authpipe migrate`"):
        async with open_rooms(settings):
            pass
    async with open_rooms(settings, migrate=True) as rooms:
        assert await rooms.environments.list() == []
    async with open_rooms(settings) as rooms:
        assert await rooms.environments.list() == []
    assert not (tmp_path / "state" / "postgres" / "data" / "postmaster.pid").exists()


async def test_a_missing_key_stops_the_start_before_anything_runs(tmp_path: Path) -> None:
    """It is never made on the quiet: what an old one encrypted would be lost."""
    with pytest.raises(ConfigurationError, match="authpipe init"):
        async with open_rooms(load_settings(data_dir=tmp_path / "state")):
            pass
    assert not (tmp_path / "state").exists()


async def test_production_refuses_a_key_that_others_can_read(configure) -> None:  # type: ignore[no-untyped-def]
    """Development does not mind."""
    settings = configure()
    (settings.data_dir / "kek.key").chmod(0o644)
    async with open_rooms(settings):
        pass
    with pytest.raises(ConfigurationError, match="chmod 600"):
        async with open_rooms(configure(profile="production")):
            pass


async def test_a_data_directory_that_cannot_be_written_is_an_error_with_the_remedy(
    configure,  # type: ignore[no-untyped-def]
    tmp_path: Path,
) -> None:
    """Everything that was open until then is closed again."""
    key = f"local:{configure().data_dir / 'kek.key'}"
    (tmp_path / "file").write_text("")
    before = asyncio.all_tasks()
    with pytest.raises(ConfigurationError, match="set AUTHPIPE_DATA_DIR"):
        async with open_rooms(configure(keks=[key], data_dir=tmp_path / "state" / "kek.key")):
            pass
    assert asyncio.all_tasks() == before
