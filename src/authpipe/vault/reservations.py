"""Encryptions that are already counted in the database and not yet used."""

from __future__ import annotations

from collections import OrderedDict
from uuid import UUID


class Reservations:
    """How many more encryptions this process may make under each key before it must count again.

    What is forgotten here (a restart, the bound ``limit`` on the number of keys) was counted and is never
    used: the stored counter is at least the number of encryptions made.
    """

    def __init__(self, *, limit: int) -> None:
        self._limit = limit
        self._left: OrderedDict[UUID, int] = OrderedDict()

    def take(self, key_id: UUID) -> bool:
        """Use up one reserved encryption.  False when none is left."""
        left = self._left.get(key_id, 0)
        if left <= 0:
            return False
        self._left[key_id] = left - 1
        self._left.move_to_end(key_id)
        return True

    def add(self, key_id: UUID, count: int) -> None:
        """Allow ``count`` more, which the store has counted."""
        self._left[key_id] = self._left.get(key_id, 0) + count
        self._left.move_to_end(key_id)
        if len(self._left) > self._limit:
            self._left.popitem(last=False)
