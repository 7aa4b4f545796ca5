"""Clients made before a fork stay usable after it (gunicorn's preload, multiprocessing)."""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class _Forked(Protocol):
    def _after_fork(self) -> None: ...


_clients: weakref.WeakSet[_Forked] = weakref.WeakSet()


def _in_child() -> None:
    for client in list(_clients):
        client._after_fork()  # noqa: SLF001  # the one caller it is there for


def survive_fork(client: _Forked) -> None:
    """Have ``client._after_fork()`` called in every child process forked from now on."""
    _clients.add(client)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
