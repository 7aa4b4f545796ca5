"""The sandbox as those who set it up see it: its applications, and the knobs of its simulated providers."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import aiohttp

from authpipe.domain.errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxApplication:
    """What a simulated provider's console shows its developer; ``fields`` holds secrets, of the sandbox."""

    provider: str
    client_id: str | None
    fields: dict[str, Any]


class SandboxControl:
    """The control API of a running sandbox.  Use it as a context."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def applications(self) -> list[SandboxApplication]:
        """One for each simulated provider; those without OAuth have no client id."""
        found = []
        for provider in (await self.call("GET", ""))["providers"]:
            apps = (await self.call("GET", f"/{provider}/apps"))["apps"]
            fields = apps[0] if apps else {}
            found.append(
                SandboxApplication(provider=provider, client_id=fields.get("client_id"), fields=fields)
            )
        return found

    async def register(self, provider: str, client_id: str, redirect_uri: str) -> None:
        """Let the provider's application send browsers back to ``redirect_uri``."""
        await self.call("POST", f"/{provider}/apps/{client_id}/redirect-uris", {"uri": redirect_uri})

    async def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Any other call.  Raises ``ConfigurationError`` when the sandbox refuses it or is not there."""
        if self._session is None:
            raise RuntimeError("use the sandbox's control as a context")
        try:
            async with self._session.request(method, f"{self._url}/_control{path}", json=body) as answer:
                if answer.status >= 400:
                    raise ConfigurationError(
                        f"the sandbox refuses {method} /_control{path} with {answer.status}"
                    )
                return await answer.json() if answer.status != 204 else None
        except (aiohttp.ClientError, TimeoutError):
            raise ConfigurationError(f"there is no sandbox at {self._url}") from None
