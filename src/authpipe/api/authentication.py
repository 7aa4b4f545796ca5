"""Every address under /v1 needs an API key, the ones that do not exist included."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from authpipe.access.authentication import Authenticator
from authpipe.access.refusals import Refusals
from authpipe.api.caller import Caller
from authpipe.api.edge import is_api
from authpipe.domain.event import ActorKind, Origin
from authpipe.domain.secret import Secret


class Authentication:
    """Finds whose key was sent before any route is looked for; puts a :class:`Caller` into the request.

    Raises ``Unauthenticated`` to the edge, with one message for every reason, and ``RateLimited``.
    """

    def __init__(self, app: ASGIApp, *, authenticator: Authenticator, refusals: Refusals) -> None:
        self._app = app
        self._refusals = refusals
        self._authenticator = authenticator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and is_api(scope["path"]):
            scope["state"]["caller"] = await self._caller(scope)
        await self._app(scope, receive, send)

    async def _caller(self, scope: Scope) -> Caller:
        client = scope.get("client")
        source = client[0] if client else None
        found = await self._authenticator.authenticate(_bearer(scope), source=source)
        return Caller(
            api_key=found.api_key,
            environment=found.environment,
            origin=Origin(
                actor_kind=ActorKind.API_KEY,
                actor_id=str(found.api_key.api_key_id),
                request_id=scope["state"]["request_id"],
                source_address=source,
            ),
            refusals=self._refusals,
            route=lambda: f"{scope['method']} {getattr(scope.get('route'), 'path', 'unmatched')}",
        )


def _bearer(scope: Scope) -> Secret | None:
    """RFC 6750 section 2.1; the scheme's name is case-insensitive (RFC 9110 section 11.1)."""
    sent: bytes | None = None
    for name, value in scope["headers"]:
        if name == b"authorization":
            if sent is not None:
                return None
            sent = value
    if sent is not None:
        scheme, _, key = sent.partition(b" ")
        if scheme.lower() == b"bearer" and key.isascii():
            return Secret(key.strip().decode("ascii"))
    return None
