"""ClickSend accounts and the keys their owners handle in the dashboard."""

from __future__ import annotations

from dataclasses import dataclass, field

from authpipe.sandbox import seeds


@dataclass
class ClickSendAccount:
    """An account: ``api_key`` is ``None`` once deleted; a suspended account is understood but refused."""

    person: seeds.Person
    api_key: str | None = field(repr=False)
    suspended: bool = False


def seeded_accounts() -> dict[str, ClickSendAccount]:
    """The accounts of a fresh simulator by username."""
    return {
        person.username: ClickSendAccount(person, seeds.CLICKSEND_API_KEYS[person.username])
        for person in seeds.CLICKSEND_PEOPLE
    }
