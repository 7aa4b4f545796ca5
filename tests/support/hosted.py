"""Authpipe's hosted pages, served over HTTP in this process on a clock that tests move."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from authpipe.connect.complete import Completed
from authpipe.connect.sessions import SessionWish
from authpipe.credentials.serve import CredentialRequest
from authpipe.domain.clock import ManualClock
from authpipe.domain.connect_session import ConnectSession, ReturnMode, SessionKind
from authpipe.domain.event import ActorKind, Event, Origin
from authpipe.domain.provider_config import ProviderConfig
from authpipe.domain.secret import Secret
from authpipe.sandbox import seeds
from authpipe.sandbox.server import SandboxServer
from authpipe.server.asgi import build_application
from authpipe.server.first_start import prepare
from authpipe.server.http import serve_here
from authpipe.server.settings import load_settings
from authpipe.server.wiring import Rooms, open_rooms
from support.person import Person
from support.running import free_port
from support.scene import Scene

RETURN_URL = "http://127.0.0.1:9/connected"
_BACKEND = Origin(actor_kind=ActorKind.API_KEY, actor_id="test")


@dataclass
class Hosted:
    """One environment of a running server, and what its application's backend may do there."""

    rooms: Rooms
    scene: Scene
    sandbox: SandboxServer
    clock: ManualClock
    return_url: str = RETURN_URL

    @property
    def url(self) -> str:
        """Where browsers reach the server."""
        return self.rooms.settings.public_url

    async def configure(self, provider: str = "discord", **changed: Any) -> ProviderConfig:
        """A provider config whose redirect URI is registered at the sandbox.

        Browsers meet the sandbox under another site's name, so cookies behave as they do in the world.
        """
        there = f"http://localhost:{self.sandbox.url.rpartition(':')[2]}/{provider}"
        config = await self.scene.config(provider, **{"base_url": there} | changed)
        if provider in self.sandbox.state.applications:
            application = self.sandbox.state.applications[provider].get(seeds.client_id(provider))
            if application is not None:
                application.redirect_uris.append(f"{self.url}/oauth/callback/{config.provider_config_id}")
        return config

    async def mint(
        self,
        provider: str = "discord",
        *,
        kind: str = "connection",
        tenant_id: str = "org_acme",
        user_id: str | None = "user_123",
        return_url: str | None = None,
        popup: bool = False,
        **wish: Any,
    ) -> tuple[ConnectSession, str]:
        """A connect session and its link."""
        session, token = await self.rooms.connecting.sessions.create(
            self.scene.environment_id,
            SessionWish(
                provider=provider,
                tenant_id=tenant_id,
                user_id=user_id,
                kind=SessionKind(kind),
                return_url=return_url or self.return_url,
                return_mode=ReturnMode.POPUP if popup else ReturnMode.REDIRECT,
                **wish,
            ),
            origin=_BACKEND,
        )
        return session, f"{self.url}/connect/{token.reveal()}"

    async def complete(
        self, session_id: UUID, code: str, *, tenant_id: str = "org_acme", user_id: str | None = "user_123"
    ) -> Completed:
        """The application's backend confirms, for the user who is signed in there."""
        return await self.rooms.connecting.completion.complete(
            self.scene.environment_id,
            session_id,
            completion_code=Secret(code),
            tenant_id=tenant_id,
            user_id=user_id,
            origin=_BACKEND,
        )

    async def credential(self, provider: str = "discord", **request: Any) -> str:
        """The secret an application gets."""
        usable = await self.rooms.credential_reader.get(
            self.scene.environment_id, CredentialRequest(provider=provider, **request)
        )
        return usable.secret.reveal()

    async def session(self, session_id: UUID) -> ConnectSession:
        """How the session stands."""
        async with self.rooms.database.environment(self.scene.environment_id) as transaction:
            session = await transaction.sessions.find(self.scene.environment_id, session_id)
        assert session is not None
        return session

    async def events(self, type_: str | None = None) -> list[Event]:
        """What was recorded, oldest first."""
        async with self.rooms.database.environment(self.scene.environment_id) as transaction:
            found = await transaction.events.page(self.scene.environment_id, type=type_, limit=200)
        return found[::-1]

    async def name_tenant(self, name: str, tenant_id: str = "org_acme") -> None:
        """Give the tenant a name to show."""
        async with self.rooms.database.tenant(self.scene.environment_id, tenant_id) as transaction:
            await transaction.tenants.put(
                self.scene.environment_id, tenant_id, name=name, at=self.clock.now()
            )

    def person(self) -> Person:
        """A browser without scripts that stops where it would leave for the application."""
        return Person(stop_at=self.return_url, secure_origins=[self.url])

    def tokens(self, provider: str = "discord", *, kind: str = "access") -> list[Any]:
        """What the sandbox issued."""
        return [token for token in self.sandbox.state.ledgers[provider].tokens if token.kind == kind]


@asynccontextmanager
async def host(
    dsn: str, directory: Path, clock: ManualClock, sandbox: SandboxServer, **given: Any
) -> AsyncIterator[Hosted]:
    """Serve the pages on a free port until the block ends."""
    settings = load_settings(
        **{
            "data_dir": directory / "state",
            "database_url": dsn,
            "port": free_port(),
            "allow_loopback_egress": True,
            "log_level": "WARNING",
        }
        | given
    )
    prepare(settings)
    stop, ready = asyncio.Event(), asyncio.Event()
    async with open_rooms(settings, clock=clock) as rooms:
        serving = asyncio.create_task(
            serve_here(
                build_application(rooms), settings, stop, ready=ready.set, on_stop=rooms.change_streams.stop
            )
        )
        try:
            await asyncio.wait_for(ready.wait(), 20)
            scene = await Scene.set(
                rooms.database, rooms.vault, rooms.catalog, clock, sandbox, name="Acorn CRM"
            )
            yield Hosted(rooms=rooms, scene=scene, sandbox=sandbox, clock=clock)
        finally:
            stop.set()
            await asyncio.wait_for(serving, 20)
