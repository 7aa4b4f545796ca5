"""Discord's objects as JSON, complete enough for discord.py to read them."""

from __future__ import annotations

from authpipe.sandbox.applications import DiscordApplication
from authpipe.sandbox.discord_scopes import MANAGE_GUILD
from authpipe.sandbox.discord_world import Guild, Webhook
from authpipe.sandbox.seeds import DISCORD_PEOPLE, Person

#: What every member may do: view channels, send messages, read history.
_EVERYONE = 1 << 10 | 1 << 11 | 1 << 16
_ADMINISTRATOR = 1 << 3

#: A role id that belongs to the bot: the guild's id with this added.
_BOT_ROLE_OFFSET = 500

Json = dict[str, object]


def user(person: Person, *, with_email: bool = False) -> Json:
    """A person; the email stands in it only under the ``email`` scope."""
    shown: Json = {
        "id": person.id,
        "username": person.username,
        "global_name": person.display_name,
        "discriminator": "0",
        "avatar": None,
        "banner": None,
        "accent_color": None,
        "avatar_decoration_data": None,
        "public_flags": 0,
        "flags": 0,
        "locale": "en-US",
        "mfa_enabled": True,
        "premium_type": 0,
    }
    if with_email:
        shown |= {"email": person.email, "verified": True}
    return shown


def bot_user(application: DiscordApplication) -> Json:
    """The application's bot; its id is the application's."""
    return {
        "id": application.client_id,
        "username": application.name,
        "global_name": None,
        "discriminator": "0001",
        "avatar": None,
        "banner": None,
        "bot": True,
        "public_flags": 0,
        "flags": 0,
        "mfa_enabled": True,
        "verified": True,
        "email": None,
    }


def partial_application(application: DiscordApplication) -> Json:
    """The application as strangers see it."""
    return {
        "id": application.client_id,
        "name": application.name,
        "icon": None,
        "description": "An application of the Authpipe sandbox",
        "summary": "",
        "type": None,
        "bot_public": True,
        "bot_require_code_grant": application.bot_require_code_grant,
        "verify_key": application.verify_key,
        "hook": True,
        "flags": 0,
    }


def full_application(application: DiscordApplication, guild_count: int) -> Json:
    """The application as its own bot sees it."""
    return partial_application(application) | {
        "owner": user(DISCORD_PEOPLE[0]),
        "team": None,
        "rpc_origins": [],
        "redirect_uris": list(application.redirect_uris),
        "interactions_endpoint_url": None,
        "role_connections_verification_url": None,
        "approximate_guild_count": guild_count,
        "tags": [],
        "install_params": {"scopes": list(application.default_install_scopes), "permissions": "0"},
        "integration_types_config": {"0": {}},
        "event_webhooks_url": None,
        "event_webhooks_status": 1,
        "event_webhooks_types": [],
    }


def roles(guild: Guild, applications: dict[str, DiscordApplication]) -> list[Json]:
    """``@everyone`` and one managed role for each bot, which carries the permissions it was granted."""
    shown = [_role(guild.seed.id, "@everyone", _EVERYONE, 0)]
    for position, (application_id, permissions) in enumerate(guild.bots.items(), start=1):
        role_id = str(int(guild.seed.id) + _BOT_ROLE_OFFSET + position)
        role = _role(role_id, applications[application_id].name, permissions, position)
        shown.append(role | {"managed": True, "tags": {"bot_id": application_id}})
    return shown


def full_guild(guild: Guild, applications: dict[str, DiscordApplication]) -> Json:
    """A server as the bot inside sees it and as a token response carries it."""
    return {
        "id": guild.seed.id,
        "name": guild.seed.name,
        "icon": None,
        "description": None,
        "home_header": None,
        "splash": None,
        "discovery_splash": None,
        "features": [],
        "banner": None,
        "owner_id": _id_of(guild.seed.owner),
        "application_id": None,
        "region": "us-east",
        "afk_channel_id": None,
        "afk_timeout": 300,
        "system_channel_id": guild.seed.channels[0][0],
        "system_channel_flags": 0,
        "widget_enabled": False,
        "widget_channel_id": None,
        "verification_level": 0,
        "roles": roles(guild, applications),
        "default_message_notifications": 0,
        "mfa_level": 0,
        "explicit_content_filter": 0,
        "max_presences": None,
        "max_members": 500_000,
        "max_video_channel_users": 25,
        "max_stage_video_channel_users": 50,
        "vanity_url_code": None,
        "premium_tier": 0,
        "premium_subscription_count": 0,
        "preferred_locale": "en-US",
        "rules_channel_id": None,
        "safety_alerts_channel_id": None,
        "public_updates_channel_id": None,
        "premium_progress_bar_enabled": False,
        "nsfw": False,
        "nsfw_level": 0,
        "emojis": [],
        "stickers": [],
        "incidents_data": None,
        "approximate_member_count": len(guild.seed.members) + len(guild.bots),
        "approximate_presence_count": 1,
    }


def partial_guild(guild: Guild, *, owner: bool, permissions: int) -> Json:
    """A server in the list of a user's or bot's servers."""
    return {
        "id": guild.seed.id,
        "name": guild.seed.name,
        "icon": None,
        "banner": None,
        "owner": owner,
        "permissions": str(permissions),
        "features": [],
    }


def member_permissions(guild: Guild, username: str) -> int:
    """What a person may do in a server."""
    if username == guild.seed.owner:
        return _EVERYONE | MANAGE_GUILD | _ADMINISTRATOR
    return _EVERYONE | (MANAGE_GUILD if username in guild.seed.may_manage else 0)


def member(person: Person) -> Json:
    """A person's own member record."""
    return {
        "user": user(person),
        "nick": None,
        "avatar": None,
        "banner": None,
        "roles": [],
        "joined_at": "2026-01-05T09:00:00.000000+00:00",
        "premium_since": None,
        "deaf": False,
        "mute": False,
        "flags": 0,
        "pending": False,
        "communication_disabled_until": None,
    }


def channels(guild: Guild) -> list[Json]:
    """The text channels of a server."""
    return [
        {
            "id": channel_id,
            "type": 0,
            "guild_id": guild.seed.id,
            "name": name,
            "position": position,
            "permission_overwrites": [],
            "parent_id": None,
            "topic": None,
            "nsfw": False,
            "last_message_id": None,
            "rate_limit_per_user": 0,
            "flags": 0,
        }
        for position, (channel_id, name) in enumerate(guild.seed.channels)
    ]


def webhook(hook: Webhook, origin: str) -> Json:
    """A webhook with its token; ``origin`` is the simulator's own address for the URL."""
    return {
        "application_id": hook.application_id,
        "id": hook.id,
        "token": hook.token,
        "url": f"{origin}/discord/api/webhooks/{hook.id}/{hook.token}",
        "name": hook.name,
        "channel_id": hook.channel_id,
        "guild_id": hook.guild_id,
        "type": 1,
        "avatar": None,
    }


def _role(role_id: str, name: str, permissions: int, position: int) -> Json:
    return {
        "id": role_id,
        "name": name,
        "description": None,
        "permissions": str(permissions),
        "position": position,
        "color": 0,
        "colors": {"primary_color": 0, "secondary_color": None, "tertiary_color": None},
        "hoist": False,
        "managed": False,
        "mentionable": False,
        "icon": None,
        "unicode_emoji": None,
        "flags": 0,
    }


def _id_of(username: str) -> str:
    return next(person.id for person in DISCORD_PEOPLE if person.username == username)
