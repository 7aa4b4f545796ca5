"""Everything the simulator remembers, in memory, and how it is put back to the beginning."""

from __future__ import annotations

from datetime import datetime, timedelta

from authpipe.domain.clock import Clock
from authpipe.sandbox import seeds
from authpipe.sandbox.applications import Application, seeded_applications
from authpipe.sandbox.clicksend_accounts import ClickSendAccount, seeded_accounts
from authpipe.sandbox.clock import ShiftedClock
from authpipe.sandbox.discord_world import DiscordWorld
from authpipe.sandbox.faults import FaultBoard
from authpipe.sandbox.journal import Journal
from authpipe.sandbox.ledger import Ledger
from authpipe.sandbox.rate_limits import RateLimiter
from authpipe.sandbox.transactions import Transactions


class SandboxState:
    """One simulated world.  Handlers hold this object and read its attributes afresh on every request."""

    def __init__(self, clock: Clock) -> None:
        self.clock = ShiftedClock(clock)
        self.faults = FaultBoard()
        self.journal = Journal(self.clock)
        self.applications: dict[str, dict[str, Application]]
        self.ledgers: dict[str, Ledger]
        self.limits: dict[str, RateLimiter]
        self.discord: DiscordWorld
        self.clicksend_accounts: dict[str, ClickSendAccount]
        self.aircall_inactive_companies: set[int]
        self.transactions: Transactions
        self._seed()

    def now(self) -> datetime:
        """The simulator's time."""
        return self.clock.now()

    def reset(self) -> None:
        """Back to the seeds: nobody authorized anything, no faults, an empty journal, true time."""
        self.faults.clear()
        self.journal.clear()
        self.clock.offset = timedelta(0)
        self._seed()

    def person(self, provider: str, username: str) -> seeds.Person | None:
        """The account of that name at a provider."""
        return next((person for person in seeds.PEOPLE[provider] if person.username == username), None)

    def _seed(self) -> None:
        self.applications = {provider: seeded_applications(provider) for provider in seeds.PEOPLE}
        self.ledgers = {provider: Ledger(self.clock) for provider in seeds.PEOPLE}
        self.limits = {provider: RateLimiter(self.clock) for provider in seeds.PEOPLE}
        self.discord = DiscordWorld(self.clock)
        self.clicksend_accounts = seeded_accounts()
        self.aircall_inactive_companies = set()
        self.transactions = Transactions()
