"""Consent pages that were shown and not yet answered."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from dataclasses import dataclass

#: Pages nobody answers are forgotten, oldest first.
_KEPT = 10_000


@dataclass(frozen=True)
class AuthorizeRequest:
    """A checked authorization request.  ``redirect_uri`` of ``None`` means that no callback will be made."""

    provider: str
    client_id: str
    redirect_uri: str | None
    scopes: tuple[str, ...] = ()
    state: str | None = None
    challenge: str | None = None
    challenge_method: str | None = None
    prompt_none: bool = False
    permissions: int = 0
    guild_id: str | None = None
    guild_fixed: bool = False


class Transactions:
    """Single-use handles for authorization requests between the page and its answer."""

    def __init__(self) -> None:
        self._open: OrderedDict[str, AuthorizeRequest] = OrderedDict()

    def begin(self, request: AuthorizeRequest) -> str:
        """A handle to put into the page."""
        handle = secrets.token_urlsafe(24)
        self._open[handle] = request
        if len(self._open) > _KEPT:
            self._open.popitem(last=False)
        return handle

    def peek(self, handle: str) -> AuthorizeRequest | None:
        """The request, leaving the handle good for the answer that follows a correctable mistake."""
        return self._open.get(handle)

    def finish(self, handle: str) -> None:
        """Use the handle up."""
        self._open.pop(handle, None)
