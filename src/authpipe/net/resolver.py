"""DNS behind the egress policy: what was checked is what is connected to, so rebinding gains nothing."""

from __future__ import annotations

import socket

from aiohttp.abc import AbstractResolver, ResolveResult

from authpipe.net.egress import EgressPolicy


class CheckingResolver(AbstractResolver):
    """Resolves through another resolver and refuses the name when any of its addresses is refused.

    The connector connects to the very addresses returned here and does not resolve again.
    """

    def __init__(self, policy: EgressPolicy, inner: AbstractResolver) -> None:
        self._policy = policy
        self._inner = inner

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Raises ``EgressRefused`` for a forbidden address, ``OSError`` when the name does not resolve."""
        results = await self._inner.resolve(host, port, family)
        for result in results:
            self._policy.check_address(result["host"])
        return results

    async def close(self) -> None:
        """Let go of the resolver within."""
        await self._inner.close()
