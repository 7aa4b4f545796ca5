"""Who is calling, when proxies stand in between."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from starlette.types import ASGIApp, Receive, Scope, Send

from authpipe.telemetry.logs import get_logger

_log = get_logger(__name__)

_Address = IPv4Address | IPv6Address


class ProxyAddresses:
    """Puts the caller's address in ``scope["client"]``, as far as trusted proxies tell it.

    ``X-Forwarded-For`` is read from its end, where the nearest proxy wrote: each address that is a trusted
    proxy vouches for the one before it, and the first that is not is the caller.  What stands before that
    anyone could have written.  The first request with the header while no proxy is trusted is a warning in
    the log.
    """

    def __init__(self, app: ASGIApp, trusted: Sequence[IPv4Network | IPv6Network]) -> None:
        self._app = app
        self._trusted = tuple(trusted)
        self._warned = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        if not self._trusted:
            self._warn_once(scope)
        elif scope.get("client"):
            peer = scope["client"][0]
            caller = self._caller(peer, scope["headers"])
            if caller != peer:
                # The port belongs to the proxy's own connection.
                scope = {**scope, "client": (caller, 0)}
        await self._app(scope, receive, send)

    def _warn_once(self, scope: Scope) -> None:
        if self._warned or not any(name == b"x-forwarded-for" for name, _ in scope["headers"]):
            return
        self._warned = True
        _log.warning(
            "X-Forwarded-For was sent and no proxy is trusted: if one stands in front, all its callers count "
            "as one address; name it in AUTHPIPE_TRUSTED_PROXIES",
            peer=scope["client"][0] if scope.get("client") else None,
        )

    def _caller(self, peer: str, headers: Sequence[tuple[bytes, bytes]]) -> str:
        caller = peer
        lines = [value.decode("latin-1") for name, value in headers if name == b"x-forwarded-for"]
        for hop in reversed([hop.strip() for line in lines for hop in line.split(",")]):
            if not self._is_trusted(caller):
                break
            address = _read(hop)
            if address is None:
                break
            caller = str(address)
        return caller

    def _is_trusted(self, address: str) -> bool:
        parsed = _read(address)
        return parsed is not None and any(parsed in network for network in self._trusted)


def _read(text: str) -> _Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
