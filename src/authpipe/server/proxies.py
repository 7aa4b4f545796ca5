"""Who is calling, when proxies stand in between."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from starlette.types import ASGIApp, Receive, Scope, Send

_Address = IPv4Address | IPv6Address


class ProxyAddresses:
    """Puts the caller's address in ``scope["client"]``, as far as trusted proxies tell it.

    ``X-Forwarded-For`` is read from its end, where the nearest proxy wrote: each address that is a trusted
    proxy vouches for the one before it, and the first that is not is the caller.  What stands before that
    anyone could have written.
    """

    def __init__(self, app: ASGIApp, trusted: Sequence[IPv4Network | IPv6Network]) -> None:
        self._app = app
        self._trusted = tuple(trusted)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket") and scope.get("client") and self._trusted:
            peer = scope["client"][0]
            caller = self._caller(peer, scope["headers"])
            if caller != peer:
                # The port belongs to the proxy's own connection.
                scope = {**scope, "client": (caller, 0)}
        await self._app(scope, receive, send)

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
