"""What keeps one provider's trouble from becoming everybody's: a limit of calls and a circuit breaker."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from authpipe.credentials.slots import Slots
from authpipe.domain.clock import Clock
from authpipe.domain.errors import ProviderUnavailable

#: Provider-wide failures in a row that open the circuit.
_OPENS_AFTER = 8
#: Failures in a row that halve the calls at a time: one among many that work says nothing.
_COMPLAINS_AFTER = 3
_FIRST_PAUSE = timedelta(seconds=15)
_LONGEST_PAUSE = timedelta(minutes=5)
#: Besides those that are called there are those that wait for a slot, for the disk and for the database.
_CLAIMED_PER_SLOT = 4


class NotAsked(ProviderUnavailable):
    """We chose not to call the provider now, which says nothing about it.  ``sent`` is False."""

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message, retry_after_s=retry_after_s, sent=False)


@dataclass(slots=True)
class _Circuit:
    slots: Slots
    failures: int = 0
    opened: int = 0
    open_until: datetime | None = None
    trial: bool = field(default=False)


class ProviderLimits:
    """One circuit per provider config, and a number of calls at a time that follows what the provider bears.

    After eight failures in a row, or at once for an app-wide one, no call goes out until a pause is over;
    then a single trial decides.  The pause doubles from 15 s to 5 min.  When the trial was good, calls come
    back slowly: see :class:`Slots`.  ``concurrency`` is where a config begins, ``most`` where it ends.
    """

    def __init__(self, clock: Clock, *, concurrency: int = 32, most: int = 128) -> None:
        self._clock = clock
        self._concurrency = concurrency
        self._most = most
        self._circuits: dict[UUID, _Circuit] = {}

    def paused(self) -> list[UUID]:
        """Provider configs no call goes out for now."""
        return [config for config, room in self.rooms().items() if room == 0]

    def rooms(self) -> dict[UUID, int]:
        """How much it makes sense to have claimed of each provider config that was called before.

        None while calls are paused, one when a trial is due, else some for each call that may be under way:
        more would wait until their leases run out.
        """
        now = self._clock.now()
        return {config: self._room(circuit, now) for config, circuit in self._circuits.items()}

    def _room(self, circuit: _Circuit, now: datetime) -> int:
        if circuit.open_until is None:
            return circuit.slots.limit * _CLAIMED_PER_SLOT
        return 0 if circuit.open_until > now or circuit.trial else 1

    @asynccontextmanager
    async def slot(self, provider_config_id: UUID) -> AsyncIterator[None]:
        """Wait for a free slot.  Raises ``NotAsked`` while the circuit is open."""
        circuit = self._circuit(provider_config_id)
        await circuit.slots.acquire()
        try:
            is_trial = self._admit(circuit)
            try:
                yield
            finally:
                if is_trial:
                    circuit.trial = False
        finally:
            circuit.slots.release()

    def succeeded(self, provider_config_id: UUID) -> None:
        """The provider answered sensibly: the circuit closes."""
        circuit = self._circuit(provider_config_id)
        circuit.slots.answered()
        if circuit.open_until is not None:
            circuit.slots.begin_again()
        circuit.failures = circuit.opened = 0
        circuit.open_until = None

    def failed(
        self, provider_config_id: UUID, *, app_wide: bool = False, retry_after_s: float | None = None
    ) -> None:
        """The provider is away, wants to be left alone, or refuses the app itself."""
        circuit = self._circuit(provider_config_id)
        circuit.failures += 1
        if not app_wide and circuit.failures % _COMPLAINS_AFTER == 0:
            circuit.slots.complained()
        if not app_wide and circuit.failures < _OPENS_AFTER and circuit.open_until is None:
            return
        now = self._clock.now()
        wish = timedelta(seconds=min(retry_after_s or 0.0, 3600.0))
        if circuit.open_until is not None and circuit.open_until > now:
            # A call that was under way when the circuit opened: no trial, so the pause does not double.
            circuit.open_until = max(circuit.open_until, now + wish)
            return
        pause = min(_FIRST_PAUSE * 2 ** min(circuit.opened, 10), _LONGEST_PAUSE)
        circuit.opened += 1
        circuit.open_until = now + max(pause, wish)

    def _circuit(self, provider_config_id: UUID) -> _Circuit:
        circuit = self._circuits.get(provider_config_id)
        if circuit is None:
            circuit = _Circuit(Slots(self._clock, first=self._concurrency, most=self._most))
            self._circuits[provider_config_id] = circuit
        return circuit

    def _admit(self, circuit: _Circuit) -> bool:
        """Whether this call is the trial of a half-open circuit; raises when it may not go out at all."""
        if circuit.open_until is None:
            return False
        left = (circuit.open_until - self._clock.now()).total_seconds()
        if left > 0 or circuit.trial:
            raise NotAsked(
                "calls to the provider are paused after repeated failures", retry_after_s=max(left, 1.0)
            )
        circuit.trial = True
        return True
