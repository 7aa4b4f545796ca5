"""The Discord servers of the simulator: which bots are in them and which webhooks they have."""

from __future__ import annotations

from dataclasses import dataclass, field

from authpipe.domain.clock import Clock
from authpipe.sandbox.ledger import digest
from authpipe.sandbox.seeds import DISCORD_GUILDS, SeededGuild

#: Discord's epoch, the first millisecond of 2015.
_EPOCH_MS = 1_420_070_400_000


@dataclass
class Guild:
    """A server; ``bots`` holds the permissions of each application whose bot is inside."""

    seed: SeededGuild
    bots: dict[str, int] = field(default_factory=dict)

    def channel_name(self, channel_id: str) -> str | None:
        """The name of one of its channels."""
        return dict(self.seed.channels).get(channel_id)


@dataclass
class Webhook:
    """An incoming webhook; ``messages`` counts what was posted to it."""

    id: str
    token: str = field(repr=False)
    name: str
    application_id: str
    guild_id: str
    channel_id: str
    messages: int = 0


class DiscordWorld:
    """Guilds by id and webhooks by id."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._sequence = 0
        self.guilds = {seed.id: Guild(seed) for seed in DISCORD_GUILDS}
        self.webhooks: dict[str, Webhook] = {}

    def snowflake(self) -> str:
        """A new id carrying the simulator's time, unique and increasing within it."""
        self._sequence += 1
        milliseconds = int(self._clock.now().timestamp() * 1000) - _EPOCH_MS
        return str(milliseconds << 22 | self._sequence & 0x3FFFFF)

    def manageable_by(self, username: str) -> list[Guild]:
        """The servers a person may add an application to."""
        return [guild for guild in self.guilds.values() if username in guild.seed.may_manage]

    def of_member(self, username: str) -> list[Guild]:
        """The servers a person is in."""
        return [guild for guild in self.guilds.values() if username in guild.seed.members]

    def join(self, application_id: str, guild_id: str, permissions: int) -> Guild:
        """Put the bot into the server, or give it these permissions where it is already."""
        guild = self.guilds[guild_id]
        guild.bots[application_id] = permissions
        return guild

    def leave(self, application_id: str, guild_id: str) -> bool:
        """Take the bot out; ``False`` when it was not inside."""
        guild = self.guilds.get(guild_id)
        return guild is not None and guild.bots.pop(application_id, None) is not None

    def create_webhook(
        self, application_id: str, name: str, guild_id: str, channel_id: str, token: str
    ) -> Webhook:
        """Every authorization makes a new one."""
        webhook = Webhook(self.snowflake(), token, name, application_id, guild_id, channel_id)
        self.webhooks[webhook.id] = webhook
        return webhook

    def shown(self) -> dict[str, object]:
        """The guilds and webhooks without webhook tokens."""
        return {
            "guilds": [
                {
                    "id": guild.seed.id,
                    "name": guild.seed.name,
                    "owner": guild.seed.owner,
                    "may_manage": list(guild.seed.may_manage),
                    "members": list(guild.seed.members),
                    "channels": [{"id": id_, "name": name} for id_, name in guild.seed.channels],
                    "bots": {
                        application: str(permissions) for application, permissions in guild.bots.items()
                    },
                }
                for guild in self.guilds.values()
            ],
            "webhooks": [
                {
                    "id": webhook.id,
                    "token_sha256": digest(webhook.token),
                    "application_id": webhook.application_id,
                    "guild_id": webhook.guild_id,
                    "channel_id": webhook.channel_id,
                    "messages": webhook.messages,
                }
                for webhook in self.webhooks.values()
            ],
        }
