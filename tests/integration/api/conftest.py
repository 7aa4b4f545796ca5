"""The whole API over HTTP: real rooms on a database of the test's own, real requests, simulated providers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import httpx2
import pytest

from authpipe.api.application import build
from authpipe.connect.browser import cookie_name
from authpipe.domain.access import ApiKeyRole
from authpipe.domain.clock import ManualClock
from authpipe.domain.environment import EnvironmentKind
from authpipe.domain.event import ActorKind, Origin
from authpipe.domain.secret import Secret
from authpipe.sandbox import seeds
from authpipe.sandbox.server import SandboxServer
from authpipe.server.asgi import observed
from authpipe.server.http import serve_here
from authpipe.server.services import api_services
from authpipe.server.settings import Settings, load_settings
from authpipe.server.wiring import Rooms, open_rooms
from authpipe.vault.keks.local import LocalKek
from support.running import free_port
from support.scene import Scene

if TYPE_CHECKING:
    from conftest import Dsns

RETURN_URL = "https://app.example.com/connected"
ORIGIN = Origin(actor_kind=ActorKind.COMMAND_LINE)


@dataclass
class Api:
    """A caller with one key; keeps every answer for those who look for secrets."""

    http: httpx2.AsyncClient
    rooms: Rooms
    scene: Scene
    sandbox: SandboxServer
    clock: ManualClock
    key: str
    environment_id: UUID
    answers: list[httpx2.Response] = field(default_factory=list)

    async def call(
        self, method: str, path: str, *, key: str | None = "", **arguments: Any
    ) -> httpx2.Response:
        """A request with this caller's key, another one, or (None) no key at all."""
        headers = dict(arguments.pop("headers", {}))
        if key is not None:
            headers["Authorization"] = f"Bearer {key or self.key}"
        answer = await self.http.request(method, path, headers=headers, **arguments)
        self.answers.append(answer)
        return answer

    async def begun(self, path: str, *, key: str | None = "") -> httpx2.Response:
        """GET of an answer without an end: its first event, or the whole of a refusal."""
        headers = {} if key is None else {"Authorization": f"Bearer {key or self.key}"}
        async with self.http.stream("GET", path, headers=headers) as answer:
            text = b""
            async for chunk in answer.aiter_bytes():
                text += chunk
                if answer.is_success and b"\n\n" in text:
                    break
        begun = httpx2.Response(answer.status_code, headers=answer.headers, content=text)
        self.answers.append(begun)
        return begun

    async def get(self, path: str, **arguments: Any) -> httpx2.Response:
        return await self.call("GET", path, **arguments)

    async def post(self, path: str, json: Any = None, **arguments: Any) -> httpx2.Response:
        return await self.call("POST", path, json=json, **arguments)

    async def made(self, path: str, json: Any, **arguments: Any) -> dict[str, Any]:
        """POST that must succeed with 201."""
        answer = await self.post(path, json, **arguments)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def config_body(self, provider: str, **fields: Any) -> dict[str, Any]:
        """A provider config that points at the simulator."""
        body: dict[str, Any] = {"provider": provider, "base_url": f"{self.sandbox.url}/{provider}"}
        if provider != "clicksend":
            body |= {"client_id": seeds.client_id(provider), "client_secret": seeds.client_secret(provider)}
        if provider == "discord":
            body |= {"app_credential": seeds.DISCORD_BOT_TOKEN}
        return body | fields

    async def events(self, type: str | None = None) -> list[dict[str, Any]]:  # noqa: A002
        """The environment's events, newest first."""
        answer = await self.get("/v1/events", params={"limit": 200} | ({"type": type} if type else {}))
        return list(answer.json()["data"])

    async def by_key_form(self, url: str, session_id: str, fields: dict[str, str]) -> str:
        """What a browser does with a link to a key-type provider; returns the completion code."""
        connecting = self.rooms.connecting
        session, cookie = await connecting.browser_sessions.open(
            Secret(url.rsplit("/", 1)[1]), {}, origin=ORIGIN
        )
        bound = await connecting.browser_sessions.bound(
            UUID(session_id), {cookie_name(session.session_id): cookie.reveal()}, origin=ORIGIN
        )
        _, code = await connecting.key_form.submit(
            bound, {name: Secret(value) for name, value in fields.items()}, origin=ORIGIN
        )
        return code.reveal()

    async def new_key(
        self,
        environment_id: UUID,
        *,
        role: ApiKeyRole = ApiKeyRole.ADMIN,
        tenant_id: str | None = None,
        expires_in: timedelta | None = None,
    ) -> str:
        """Another key's text."""
        _, text = await self.rooms.api_keys.create(
            environment_id,
            name="another",
            role=role,
            tenant_id=tenant_id,
            expires_in=expires_in,
            origin=ORIGIN,
        )
        return text.reveal()


@pytest.fixture
def settings(tmp_path: Path, dsns: Dsns, kek: LocalKek) -> Settings:
    return load_settings(
        data_dir=tmp_path / "state",
        database_url=dsns.owner,
        port=free_port(),
        public_url="https://auth.example.com",
        keks=(f"local:{tmp_path / 'kek'}",),
        allow_loopback_egress=True,
    )


@pytest.fixture
async def rooms(settings: Settings, clock: ManualClock) -> AsyncIterator[Rooms]:
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    async with open_rooms(settings, clock=clock) as rooms:
        yield rooms


@pytest.fixture
async def http(settings: Settings, rooms: Rooms) -> AsyncIterator[httpx2.AsyncClient]:
    """The application behind a real server, and a client for it."""
    application = observed(build(api_services(rooms)), rooms)
    stop, ready = asyncio.Event(), asyncio.Event()
    serving = asyncio.create_task(
        serve_here(application, settings, stop, ready=ready.set, on_stop=rooms.change_streams.stop)
    )
    await asyncio.wait_for(ready.wait(), 20)
    async with httpx2.AsyncClient(base_url=settings.local_url, timeout=30) as client:
        yield client
    stop.set()
    await serving


@pytest.fixture
async def api(
    http: httpx2.AsyncClient, rooms: Rooms, scene: Scene, sandbox: SandboxServer, clock: ManualClock
) -> Api:
    """A caller in an environment of its own; ``scene`` adds to the same environment."""
    environment = await rooms.environments.create(
        "main",
        kind=EnvironmentKind.DEVELOPMENT,
        return_urls=[RETURN_URL],
        origins=["https://app.example.com"],
        origin=ORIGIN,
    )
    scene.environment_id = environment.environment_id
    await scene.tenant(scene.tenant_id)
    _, text = await rooms.api_keys.create(
        environment.environment_id, name="test", role=ApiKeyRole.ADMIN, origin=ORIGIN
    )
    return Api(http, rooms, scene, sandbox, clock, text.reveal(), environment.environment_id)


@pytest.fixture
async def other(api: Api) -> Api:
    """A caller of another environment of the same server."""
    environment = await api.rooms.environments.create(
        "other", kind=EnvironmentKind.DEVELOPMENT, return_urls=[RETURN_URL], origins=[], origin=ORIGIN
    )
    return Api(
        api.http,
        api.rooms,
        api.scene,
        api.sandbox,
        api.clock,
        await api.new_key(environment.environment_id),
        environment.environment_id,
    )
