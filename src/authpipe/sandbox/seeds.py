"""What exists in a fresh simulator.  Every value here is documented, so scripts may rely on it."""

from __future__ import annotations

from dataclasses import dataclass

DISCORD_CLIENT_ID = "1100000000000000001"
DISCORD_BOT_TOKEN = "MTEwMDAwMDAwMDAwMDAwMDAwMQ.sandbox.bot-token-000000000000000000"
AIRCALL_API_ID = "sandbox-aircall-api-id"
AIRCALL_API_TOKEN = "sandbox-aircall-api-token-0000000000000000"


def client_id(provider: str) -> str:
    """The client id of the seeded application.  Discord's is the application's snowflake."""
    return DISCORD_CLIENT_ID if provider == "discord" else f"sandbox-{provider}-client"


def client_secret(provider: str) -> str:
    """The client secret of the seeded application."""
    return f"sandbox-{provider}-secret-0000000000000000"


@dataclass(frozen=True)
class Person:
    """Somebody with an account at a provider; ``admin`` and ``organization`` mean what they mean there."""

    username: str
    id: str
    display_name: str
    email: str
    organization: int = 0
    admin: bool = True


@dataclass(frozen=True)
class Organization:
    """A company (Aircall, Dialpad) or org (Drift)."""

    id: int
    name: str


@dataclass(frozen=True)
class SeededGuild:
    """A Discord server: who owns it, who else may manage it, who is a plain member."""

    id: str
    name: str
    owner: str
    may_manage: tuple[str, ...]
    members: tuple[str, ...]
    channels: tuple[tuple[str, str], ...]


DISCORD_PEOPLE = (
    Person("ada", "210000000000000001", "Ada Lovelace", "ada@example.com"),
    Person("grace", "210000000000000002", "Grace Hopper", "grace@example.com"),
)

DISCORD_GUILDS = (
    SeededGuild(
        "310000000000000001",
        "Analytical Engine Club",
        owner="ada",
        may_manage=("ada",),
        members=("ada", "grace"),
        channels=(("410000000000000011", "general"), ("410000000000000012", "announcements")),
    ),
    SeededGuild(
        "310000000000000002",
        "Compiler Crew",
        owner="grace",
        may_manage=("ada", "grace"),
        members=("ada", "grace"),
        channels=(("410000000000000021", "general"), ("410000000000000022", "announcements")),
    ),
    SeededGuild(
        "310000000000000003",
        "Quiet Library",
        owner="grace",
        may_manage=("grace",),
        members=("ada", "grace"),
        channels=(("410000000000000031", "general"), ("410000000000000032", "announcements")),
    ),
)

AIRCALL_PEOPLE = (
    Person("ada", "9101", "Ada Lovelace", "ada@example.com", organization=1),
    Person("grace", "9102", "Grace Hopper", "grace@example.com", organization=2),
    Person("alan", "9103", "Alan Turing", "alan@example.com", organization=1, admin=False),
)
AIRCALL_COMPANIES = (Organization(1, "Analytical Engines Ltd"), Organization(2, "Compiler Crew Inc"))

DIALPAD_PEOPLE = (
    Person("ada", "5000000000000001", "Ada Lovelace", "ada@example.com", organization=6000000000000001),
    Person(
        "grace",
        "5000000000000002",
        "Grace Hopper",
        "grace@example.com",
        organization=6000000000000001,
        admin=False,
    ),
)
DIALPAD_COMPANY = Organization(6000000000000001, "Analytical Engines Ltd")

DRIFT_PEOPLE = (
    Person("ada", "8101", "Ada Lovelace", "ada@example.com", organization=7101),
    Person("grace", "8102", "Grace Hopper", "grace@example.com", organization=7102),
)
DRIFT_ORGANIZATIONS = (Organization(7101, "Analytical Engines Ltd"), Organization(7102, "Compiler Crew Inc"))

CLICKSEND_PEOPLE = (
    Person("ada@example.com", "51001", "Ada Lovelace", "ada@example.com"),
    Person("grace@example.com", "51002", "Grace Hopper", "grace@example.com"),
)
CLICKSEND_API_KEYS = {
    "ada@example.com": "sandbox-clicksend-key-000000000000000",
    "grace@example.com": "sandbox-clicksend-key-111111111111111",
}

#: Every simulated provider and the people who have an account there.
PEOPLE: dict[str, tuple[Person, ...]] = {
    "discord": DISCORD_PEOPLE,
    "aircall": AIRCALL_PEOPLE,
    "clicksend": CLICKSEND_PEOPLE,
    "dialpad": DIALPAD_PEOPLE,
    "drift": DRIFT_PEOPLE,
}

#: Names as the consent pages show them.
LABELS = {
    "discord": "Discord",
    "aircall": "Aircall",
    "clicksend": "ClickSend",
    "dialpad": "Dialpad",
    "drift": "Drift",
}
