"""``authpipe init`` and ``authpipe migrate``: what has to be there before the first start."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from authpipe.cli.administration import administer, origin, settings_for_a_command
from authpipe.cli.development_environment import RETURN_URLS, ensure_development
from authpipe.cli.failures import complain
from authpipe.cli.options import Json
from authpipe.cli.output import print_json, print_line
from authpipe.domain.errors import AuthpipeError

if TYPE_CHECKING:
    from authpipe.server.settings import Settings
    from authpipe.server.wiring import Rooms


def add_to(app: typer.Typer) -> None:
    """Mount the commands."""
    app.command("init", rich_help_panel="Start here")(init)
    app.command("migrate", rich_help_panel="Run")(migrate)


def init(as_json: Json = False) -> None:
    """Make the data directory, the local key, the database and a development environment.

    What is there already stays as it is, so it may be run again.
    """
    from authpipe.server.first_start import prepare

    settings = settings_for_a_command()
    key_file = prepare(settings)

    async def work(rooms: Rooms) -> tuple[str, bool]:
        if settings.is_production:
            return "", False
        environment, made = await ensure_development(rooms.environments, RETURN_URLS, origin=origin())
        return environment.name, made

    name, made = administer(work, migrate=True)
    if as_json:
        print_json(_document(settings, key_file is not None, name, made))
        return
    print_line(f"data directory  {settings.data_dir}")
    print_line(f"key             {_key_line(settings, made=key_file is not None)}")
    print_line(f"database        {_database(settings)}, schema up to date")
    if name:
        print_line(f"environment     {name} ({'made' if made else 'was there'})")
        print_line("Next: authpipe dev, or authpipe api-keys create and authpipe serve")
    else:
        print_line("Next: authpipe environments create NAME --kind production")
    print_line("For the dashboard: authpipe operators add EMAIL --role owner")


def migrate(as_json: Json = False) -> None:
    """Bring the database's schema up to date.  Several at once migrate once.

    The first time also begins the audit chains, which takes the KEK.
    """
    import asyncio

    settings = settings_for_a_command()
    before, after = asyncio.run(_migrate(settings))
    if as_json:
        print_json({"object": "migration", "from": before, "to": after, "changed": before != after})
    elif before == after:
        print_line(f"the schema is up to date ({after})")
    else:
        print_line(f"migrated from {before or 'an empty database'} to {after}")


async def _migrate(settings: Settings) -> tuple[str | None, str | None]:
    from authpipe.store.embedded import EmbeddedPostgres
    from authpipe.store.migrate import BEFORE_CHAINS
    from authpipe.store.migrate import migrate as migrate_database

    if settings.database_url is not None:
        before, after = await migrate_database(settings.database_url.reveal())
    else:
        postgres = EmbeddedPostgres(settings.data_dir)
        try:
            before, after = await migrate_database(await postgres.start())
        finally:
            await postgres.stop()
    if before in BEFORE_CHAINS:
        await _begin_chains(settings)
    return before, after


async def _begin_chains(settings: Settings) -> None:
    from authpipe.server.wiring import open_rooms

    try:
        async with open_rooms(settings) as rooms:
            await rooms.chain_beginnings.begin_late(origin())
    except AuthpipeError as error:
        # The schema is up to date, and migrating where no KEK is is nothing wrong.
        complain(f"the audit chains are not begun ({error}): run authpipe audit begin where the KEK is")


def _document(settings: Settings, key_made: bool, environment: str, environment_made: bool) -> dict[str, Any]:
    from authpipe.vault.keks.uri import shown_uri

    return {
        "object": "init",
        "data_dir": str(settings.data_dir),
        "kek": shown_uri(settings.keks[0]),
        "kek_made": key_made,
        "database": "embedded" if settings.database_url is None else "configured",
        "environment": environment or None,
        "environment_made": environment_made,
    }


def _key_line(settings: Settings, *, made: bool) -> str:
    from authpipe.vault.keks.uri import shown_uri

    kek = shown_uri(settings.keks[0])
    return f"{kek} (made; keep a copy apart from the database's backups)" if made else f"{kek} (was there)"


def _database(settings: Settings) -> str:
    if settings.database_url is None:
        return f"embedded PostgreSQL in {settings.data_dir / 'postgres'}"
    return "the PostgreSQL of AUTHPIPE_DATABASE_URL"
