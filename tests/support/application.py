"""An application's backend, as our users write it: it mints sessions and completes them through the SDK."""

from __future__ import annotations

from typing import Any

import aiohttp

from authpipe import AsyncAuthpipe
from authpipe.sandbox import seeds
from support.person import Page, Person
from support.running import RETURN_URL, Running

CLIENT_IDS = {
    "discord": "1100000000000000001",
    "aircall": "sandbox-aircall-client",
    "dialpad": "sandbox-dialpad-client",
    "drift": "sandbox-drift-client",
}


class Application:
    """Speaks to one running Authpipe over HTTP and knows nothing else of it."""

    def __init__(self, running: Running, *, server: int = 0) -> None:
        self.running = running
        self.url = running.urls[server]
        self.authpipe = AsyncAuthpipe(url=self.url, api_key=running.api_key, max_staleness_s=1)
        self.answers: list[bytes] = []

    async def close(self) -> None:
        """Close the SDK client."""
        await self.authpipe.aclose()

    async def call(self, method: str, path: str, **arguments: Any) -> tuple[int, Any]:
        """A bare API call: status and JSON; the answer's bytes are kept."""
        headers = {"Authorization": f"Bearer {self.running.api_key}"}
        if "json" not in arguments:
            # What else the library would write here is refused before anything is done.
            headers["Content-Type"] = "application/json"
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, self.url + path, headers=headers, **arguments) as response,
        ):
            body = await response.read()
            self.answers.append(repr(sorted(response.headers.items())).encode() + b"\n" + body)
            is_json = response.content_type.endswith("json")
            return response.status, await response.json(content_type=None) if body and is_json else None

    async def control(self, method: str, path: str, **arguments: Any) -> Any:
        """The sandbox's control API."""
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, f"{self.running.sandbox_url}/_control{path}", **arguments) as response,
        ):
            assert response.status < 400, await response.text()
            return await response.json() if response.status != 204 else None

    async def configure(self, provider: str, **fields: Any) -> dict[str, Any]:
        """A provider config that points at the sandbox, its redirect URI registered there."""
        body: dict[str, Any] = {"provider": provider, "base_url": f"{self.running.sandbox_url}/{provider}"}
        client_id = CLIENT_IDS.get(provider)
        if client_id is not None:
            body |= {"client_id": client_id, "client_secret": seeds.client_secret(provider)}
        if provider == "discord":
            body |= {"app_credential": seeds.DISCORD_BOT_TOKEN}
        status, config = await self.call("POST", "/v1/provider-configs", json=body | fields)
        assert status == 201, config
        if client_id is not None:
            await self.control(
                "POST",
                f"/{provider}/apps/{client_id}/redirect-uris",
                json={"uri": config["redirect_uri"]},
            )
        return dict(config)

    def browser(self, *, stop_at: str = RETURN_URL) -> Person:
        """A new browser, for a person; it stops where it would leave for ``stop_at``."""
        sandbox = self.running.sandbox_url
        return Person(stop_at=stop_at, secure_origins=[*self.running.urls, sandbox], unseen=(sandbox,))

    async def connect(
        self,
        person: Person,
        provider: str,
        *,
        kind: str = "connection",
        tenant_id: str = "org_acme",
        user_id: str = "user_123",
        fields: dict[str, str] | None = None,
        **session: Any,
    ) -> Any:
        """The whole way: mint, open, click, consent, come back, complete."""
        made = await self.authpipe.connect_sessions.create(
            provider=provider,
            tenant_id=tenant_id,
            user_id=user_id,
            kind=kind,
            return_url=RETURN_URL,
            return_mode="redirect",
            **session,
        )
        page = await self.consent(person, await person.open(made.url), fields=fields)
        return await self.authpipe.connect_sessions.complete(
            made.id,
            completion_code=page.query["completion_code"],
            tenant_id=tenant_id,
            user_id=user_id,
        )

    async def consent(self, person: Person, page: Page, *, fields: dict[str, str] | None = None) -> Page:
        """From the hosted page through the provider's consent to the application."""
        assert page.status == 200, page.text
        page = await person.submit(page, **(fields or {}))
        if page.status == 200 and page.url.startswith(self.running.sandbox_url):
            page = await person.submit(page, decision="authorize")
        return page
