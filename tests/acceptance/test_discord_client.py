"""A real client of the provider works with what ``get_credential`` returned."""

from __future__ import annotations

import warnings
from pathlib import Path

from authpipe.store.embedded import EmbeddedPostgres
from support.application import Application
from support.running import Running


async def test_discord_py_logs_in_and_fetches_the_guild(tmp_path: Path) -> None:
    """With the installation's credential, over HTTP, against the sandbox."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it imports audioop
        import discord

    data_dir = tmp_path / "data"
    async with EmbeddedPostgres(data_dir), Running(data_dir, workers=0) as running:
        application = Application(running)
        await application.configure("discord")
        async with application.browser() as person:
            made = await application.connect(person, "discord", kind="installation")
        bot = await application.authpipe.get_credential(
            provider="discord", tenant_id="org_acme", credential_for="installation"
        )
        guild_id = bot.metadata["guild_id"]
        assert made.installation is not None
        assert made.installation.external_id == guild_id

        before = discord.http.Route.BASE
        discord.http.Route.BASE = f"{running.sandbox_url}/discord/api/v10"
        client = discord.Client(intents=discord.Intents.none())
        try:
            await client.login(bot.credential)
            guild = await client.fetch_guild(int(guild_id))
            assert guild.name == made.installation.external_name
        finally:
            await client.close()
            discord.http.Route.BASE = before
        await application.close()
