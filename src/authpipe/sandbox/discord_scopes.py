"""Discord's scopes and permission flags, in the words of its documentation."""

from __future__ import annotations

SCOPES = {
    "applications.commands": "Create commands in this server",
    "bot": "Add a bot to a server",
    "connections": "Access your linked third-party accounts",
    "email": "Access your email address",
    "gdm.join": "Add you to a group DM",
    "guilds": "Know what servers you're in",
    "guilds.join": "Join servers for you",
    "guilds.members.read": "Read your member info (nickname, roles) in servers",
    "identify": "Access your username, avatar and banner",
    "messages.read": "Read messages through the local client",
    "role_connections.write": "Update your linked-role metadata",
    "webhook.incoming": "Create a webhook in a channel",
}

#: Only obtainable by the client-credentials grant.
CLIENT_CREDENTIALS_ONLY = "applications.commands.update"

#: Permission flags as bit positions.
PERMISSIONS = {
    0: "Create Invite",
    1: "Kick Members",
    2: "Ban Members",
    3: "Administrator",
    4: "Manage Channels",
    5: "Manage Server",
    6: "Add Reactions",
    7: "View Audit Log",
    10: "View Channels",
    11: "Send Messages",
    13: "Manage Messages",
    14: "Embed Links",
    15: "Attach Files",
    16: "Read Message History",
    17: "Mention Everyone",
    26: "Change Nickname",
    27: "Manage Nicknames",
    28: "Manage Roles",
    29: "Manage Webhooks",
    31: "Use Application Commands",
    34: "Manage Threads",
    35: "Create Public Threads",
    38: "Send Messages in Threads",
    40: "Time Out Members",
}

MANAGE_GUILD = 1 << 5


def flags(permissions: int) -> list[tuple[int, str]]:
    """The single flags of a bitfield with their names, lowest first."""
    return [
        (1 << bit, PERMISSIONS.get(bit, f"Permission {bit}"))
        for bit in range(permissions.bit_length())
        if permissions >> bit & 1
    ]
