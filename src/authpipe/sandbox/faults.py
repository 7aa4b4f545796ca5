"""Faults ordered through the control API: which requests they catch, and those they are holding."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from typing import Literal, get_args

FaultKind = Literal[
    "latency",
    "status",
    "drop_before",
    "drop_after",
    "malformed_json",
    "rate_limit",
    "hang",
    "slow_body",
    "large_body",
    "hold",
]

KINDS: tuple[str, ...] = get_args(FaultKind)

#: Kinds whose request is carried out unless ``acts`` says otherwise.
_ACTING = frozenset({"latency", "drop_after", "malformed_json", "slow_body", "large_body", "hold"})


@dataclass(frozen=True)
class FaultOrder:
    """What to do to which requests.  ``None`` in a filter matches everything; durations are seconds."""

    kind: FaultKind
    provider: str | None = None
    path_contains: str | None = None
    method: str | None = None
    grant_type: str | None = None
    times: int | None = None
    probability: float = 1.0
    seconds: float | None = None
    status: int | None = None
    body: object = None
    headers: dict[str, str] = field(default_factory=dict)
    retry_after: float = 1.0
    global_limit: bool = False
    scope: str = "user"
    bytes: int = 10_000_000
    point: Literal["before", "after"] = "after"
    acts: bool | None = None

    @property
    def acting(self) -> bool:
        """Whether the provider carries the request out before or despite the fault."""
        return self.kind in _ACTING if self.acts is None else self.acts


class Fault:
    """An order in force."""

    def __init__(self, fault_id: str, order: FaultOrder) -> None:
        self.id = fault_id
        self.order = order
        self.taken = 0
        self.caught = 0
        self.holding = 0
        self.drop_on_release = False
        self._released = asyncio.Event()
        self._caught_more = asyncio.Condition()

    @property
    def released(self) -> bool:
        """Whether its held requests were let go; it then catches nothing more."""
        return self._released.is_set()

    def matches(self, provider: str, method: str, path: str, grant_type: str | None) -> bool:
        """Whether this request is one to catch.  A probability below 1 decides anew each time."""
        order = self.order
        if self.released or (order.times is not None and self.taken >= order.times):
            return False
        if order.provider not in {None, provider} or order.method not in {None, method}:
            return False
        if order.path_contains is not None and order.path_contains not in path:
            return False
        if order.grant_type is not None and order.grant_type != grant_type:
            return False
        return order.probability >= 1.0 or random.random() < order.probability  # noqa: S311 - not a secret

    async def count(self) -> None:
        """Tell those who wait that one more request was caught."""
        async with self._caught_more:
            self.caught += 1
            self._caught_more.notify_all()

    async def wait_for(self, count: int, timeout_s: float) -> bool:
        """Wait until ``count`` requests were caught; ``False`` when the time is over first."""
        try:
            async with asyncio.timeout(timeout_s), self._caught_more:
                await self._caught_more.wait_for(lambda: self.caught >= count)
        except TimeoutError:
            return False
        return True

    async def hold(self, seconds: float | None = None) -> None:
        """Stand still until the release, or for at most so many seconds."""
        self.holding += 1
        try:
            async with asyncio.timeout(seconds):
                await self._released.wait()
        except TimeoutError:
            pass
        finally:
            self.holding -= 1

    def release(self, *, drop: bool = False) -> None:
        """Let every held request go, with its answer or (``drop``) with a cut connection."""
        self.drop_on_release = drop
        self._released.set()

    def shown(self) -> dict[str, object]:
        """The fault as the control API shows it."""
        order = self.order
        return {
            "id": self.id,
            "kind": order.kind,
            "provider": order.provider,
            "path_contains": order.path_contains,
            "method": order.method,
            "grant_type": order.grant_type,
            "times": order.times,
            "probability": order.probability,
            "seconds": order.seconds,
            "status": order.status,
            "body": order.body,
            "headers": order.headers,
            "retry_after": order.retry_after,
            "global": order.global_limit,
            "scope": order.scope,
            "bytes": order.bytes,
            "point": order.point,
            "acts": order.acting,
            "caught": self.caught,
            "holding": self.holding,
            "released": self.released,
        }


class FaultBoard:
    """The faults in force, oldest first."""

    def __init__(self) -> None:
        self._faults: dict[str, Fault] = {}
        self._sequence = 0

    def __len__(self) -> int:
        return len(self._faults)

    def add(self, order: FaultOrder) -> Fault:
        """Put an order in force."""
        self._sequence += 1
        fault = Fault(f"fault-{self._sequence}", order)
        self._faults[fault.id] = fault
        return fault

    def get(self, fault_id: str) -> Fault | None:
        """The fault of that id."""
        return self._faults.get(fault_id)

    def all(self) -> list[Fault]:
        """Every fault, exhausted and released ones included."""
        return list(self._faults.values())

    def remove(self, fault_id: str) -> bool:
        """End a fault and let its held requests go; ``False`` when there is none of that id."""
        fault = self._faults.pop(fault_id, None)
        if fault is None:
            return False
        fault.release()
        return True

    def clear(self) -> None:
        """End every fault."""
        for fault_id in list(self._faults):
            self.remove(fault_id)

    def take(self, provider: str, method: str, path: str, grant_type: str | None) -> Fault | None:
        """The oldest fault that catches this request, counted against its ``times``."""
        for fault in self._faults.values():
            if fault.matches(provider, method, path, grant_type):
                fault.taken += 1
                return fault
        return None
