"""A server to be attacked, with objects in it that are renewed as they are destroyed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

import structlog
from aiohttp import web

from authpipe.connect.browser import cookie_name
from authpipe.connect.sessions import SessionWish
from authpipe.credentials.grants import Grant
from authpipe.domain.access import ApiKeyRole
from authpipe.domain.clock import SystemClock
from authpipe.domain.connect_session import ReturnMode, SessionKind
from authpipe.domain.credential import CredentialKind
from authpipe.domain.environment import EnvironmentKind
from authpipe.domain.errors import Conflict
from authpipe.domain.event import ActorKind, Origin
from authpipe.domain.identifiers import new_id
from authpipe.domain.provider_config import Attachment, ProviderConfig
from authpipe.domain.secret import Secret
from authpipe.sandbox import seeds
from authpipe.sandbox.server import SandboxServer
from authpipe.server.asgi import build_application
from authpipe.server.http import serve_here
from authpipe.server.settings import Settings
from authpipe.server.wiring import Rooms, open_rooms
from support.scene import Scene

RETURN_URL = "https://app.example.com/connected"
ORIGIN = Origin(actor_kind=ActorKind.COMMAND_LINE)
USERNAME = seeds.CLICKSEND_PEOPLE[0].username


@dataclass
class Arena:
    """The whole application behind its real server, an environment in it, and the simulated providers.

    Everything is in this process and on this machine: a name that is no local one resolves to nothing, and is
    kept in ``asked_outside``.
    """

    rooms: Rooms
    scene: Scene
    sandbox: SandboxServer
    url: str
    environment_id: UUID
    key: str
    key_id: UUID
    control: str = ""
    asked_outside: list[str] = field(default_factory=list)
    acts: int = 0
    _configs: dict[str, ProviderConfig] = field(default_factory=dict)

    async def act(self) -> dict[str, Any]:
        """Another set of objects, for the requests to come; what they did to the shared ones is undone."""
        self.acts += 1
        scene, tenant_id, user_id = self.scene, f"org_{self.acts}", f"user_{self.acts}"
        scene.tenant_id = tenant_id
        await scene.tenant(tenant_id)
        await self.rooms.environments.update(
            self.environment_id, return_urls=[RETURN_URL], origins=["https://app.example.com"], origin=ORIGIN
        )
        discord, clicksend, drift = [await self._config(each) for each in ("discord", "clicksend", "drift")]
        installation = await scene.installation(
            discord, external_id=f"90000000000{self.acts}", installed_by=user_id
        )
        await scene.bot(discord, installation)
        refreshed = await scene.installation(drift, external_id=f"71{self.acts}", installed_by=user_id)
        own = [await scene.token(drift, refreshed)]
        whole = await scene.connection(discord, user_id=user_id, installation_id=installation.installation_id)
        own.append(await scene.token(discord, whole))
        expired = await scene.connection(discord, user_id=f"{user_id}_b", label="second")
        await scene.token(discord, expired, lifetime=timedelta(seconds=-60))
        empty = await scene.connection(discord, user_id=f"{user_id}_c")
        keyed = await scene.connection(clicksend, user_id=None)
        await scene.secret(
            clicksend,
            keyed,
            Grant(
                kind=CredentialKind.BASIC,
                secret=Secret(seeds.CLICKSEND_API_KEYS[USERNAME]),
                facts={"username": USERNAME},
            ),
        )
        spare_config = await self._spare_config()
        key_fields = {"username": USERNAME, "api_key": seeds.CLICKSEND_API_KEYS[USERNAME]}
        ready_id, code = await self._ready_session(tenant_id, f"{user_id}_d")
        open_id, _ = await self._session("discord", tenant_id, user_id)
        spare = [await self._key(ApiKeyRole.SERVER, None) for _ in range(2)]
        keys = [await self._key(role, None) for role in (ApiKeyRole.VIEWER, ApiKeyRole.SERVER)]
        keys += [await self._key(role, tenant_id) for role in (ApiKeyRole.VIEWER, ApiKeyRole.SERVER)]
        events = (await scene.events())[-3:]
        connections = [str(each.connection_id) for each in (whole, expired, empty, keyed)]
        return {
            "sandbox": self.sandbox.url,
            "used": [str(self.key_id)],
            "keys": [text for _, text in keys],
            "wholes": {
                "get_credential": [
                    {"query": {"provider": "discord", "tenant_id": tenant_id, "user_id": user}}
                    for user in (user_id, f"{user_id}_b", f"{user_id}_c", "nobody")
                ]
                + [{"query": {"provider": "clicksend", "tenant_id": tenant_id}}],
                "store_credential": [
                    {"body": {"provider": "clicksend", "tenant_id": tenant_id, "fields": key_fields}},
                    {
                        "body": {
                            "installation_id": str(installation.installation_id),
                            "kind": "webhook_secret",
                            "secret": "whsec-fuzz",
                        }
                    },
                ],
                "complete_connect_session": [
                    {
                        "path": {"session_id": ready_id},
                        "body": {"completion_code": code, "tenant_id": tenant_id, "user_id": f"{user_id}_d"},
                    }
                ],
                "create_provider_config": [
                    {
                        "body": {
                            "provider": "aircall",
                            "base_url": f"{self.sandbox.url}/aircall",
                            "client_id": seeds.client_id("aircall"),
                            "client_secret": seeds.client_secret("aircall"),
                        }
                    }
                ],
                "create_connect_session": [
                    {
                        "body": {
                            "provider": "discord",
                            "tenant_id": tenant_id,
                            "user_id": user_id,
                            "kind": "connection",
                            "return_url": RETURN_URL,
                            **further,
                        }
                    }
                    for further in (
                        {},
                        {"kind": "installation"},
                        {"connection_id": connections[0]},
                        {"kind": "installation", "installation_id": str(installation.installation_id)},
                        {"installation_id": str(installation.installation_id), "label": "third"},
                        {"return_mode": "popup", "scopes": ["identify"]},
                    )
                ],
                "check_provider_config": [{"path": {"provider_config_id": str(discord.provider_config_id)}}],
                "delete_provider_config": [{"path": {"provider_config_id": str(spare_config)}}],
                "refresh_installation": [{"path": {"installation_id": str(refreshed.installation_id)}}],
            },
            "path": {
                "connection_id": connections,
                "installation_id": [str(installation.installation_id), str(refreshed.installation_id)],
                "session_id": [ready_id, open_id],
                "event_id": [str(event.event_id) for event in events],
                "api_key_id": [str(key_id) for key_id, _ in spare],
                "environment_id": [str(self.environment_id)],
                "provider_config_id": [
                    str(discord.provider_config_id),
                    str(clicksend.provider_config_id),
                    str(spare_config),
                ],
                "tenant_id": [tenant_id, f"org_{max(self.acts - 1, 1)}"],
                "provider": ["discord", "clicksend", "aircall"],
                "credential_id": [str(stored.credential.credential_id) for stored in own],
            },
            "fields": {
                "provider": ["discord", "clicksend", "aircall", "drift"],
                "tenant_id": [tenant_id],
                "user_id": [user_id, f"{user_id}_b", f"{user_id}_c", f"{user_id}_d"],
                "return_url": [RETURN_URL],
                "installation_id": [str(installation.installation_id)],
                "connection_id": connections,
                "completion_code": [code],
                "scopes": [[], ["identify"]],
                "installation_scopes": [[], ["bot"]],
                "client_id": [seeds.client_id("discord")],
                "client_secret": [seeds.client_secret("discord")],
                "app_credential": [seeds.DISCORD_BOT_TOKEN],
                "parameters": [{}],
                "return_urls": [[RETURN_URL]],
                "origins": [["https://app.example.com"]],
                "fields": [key_fields],
                "credentials": [
                    [
                        {"provider": "discord", "tenant_id": tenant_id, "user_id": user_id},
                        {"provider": "clicksend", "tenant_id": tenant_id},
                        {"provider": "drift", "tenant_id": tenant_id},
                    ]
                ],
            },
        }

    async def _config(self, provider: str) -> ProviderConfig:
        """The provider's config as it was in the beginning."""
        now: dict[str, Any] = {"enabled": True, "problem": None, "parameters": {}, "scopes": ()}
        now |= {"installation_scopes": (), "base_url": f"{self.sandbox.url}/{provider}"}
        now |= {"attachment": Attachment.USER if provider == "discord" else Attachment.TENANT}
        if provider == "clicksend":
            now |= {"client_id": None, "client_secret_ciphertext": None}
        else:
            now["client_id"] = seeds.client_id(provider)
        config = self._configs.get(provider)
        if config is None:
            self._configs[provider] = await self.scene.config(provider, **now)
            return self._configs[provider]
        now["app_credential_ciphertext"] = config.app_credential_ciphertext
        changed = await self.scene.change_config(config, **now)
        if provider != "clicksend":
            await self.scene.client_secret(config, seeds.client_secret(provider))
        return changed

    async def _spare_config(self) -> UUID:
        """One that nothing stands on, and none beside it, as there can be only one for each provider."""
        known = {config.provider_config_id for config in self._configs.values()}
        configs = self.rooms.connecting.provider_configs
        for config in await configs.list(self.environment_id):
            if config.provider_config_id not in known:
                with contextlib.suppress(Conflict):
                    await configs.delete(self.environment_id, config.provider_config_id, origin=ORIGIN)
        with contextlib.suppress(Conflict):
            made = await configs.create(
                self.environment_id, "dialpad", {"base_url": f"{self.sandbox.url}/dialpad"}, origin=ORIGIN
            )
            return made.provider_config_id
        return new_id()

    async def _key(self, role: ApiKeyRole, tenant_id: str | None) -> tuple[UUID, str]:
        key, text = await self.rooms.api_keys.create(
            self.environment_id, name="fuzz", role=role, tenant_id=tenant_id, expires_in=None, origin=ORIGIN
        )
        return key.api_key_id, text.reveal()

    async def _session(self, provider: str, tenant_id: str, user_id: str) -> tuple[str, Secret]:
        wish = SessionWish(
            provider=provider,
            tenant_id=tenant_id,
            user_id=user_id,
            kind=SessionKind.CONNECTION,
            return_url=RETURN_URL,
            return_mode=ReturnMode.REDIRECT,
        )
        session, token = await self.rooms.connecting.sessions.create(self.environment_id, wish, origin=ORIGIN)
        return str(session.session_id), token

    async def _ready_session(self, tenant_id: str, user_id: str) -> tuple[str, str]:
        """A session whose browser has come back, and its completion code."""
        session_id, token = await self._session("clicksend", tenant_id, user_id)
        connecting = self.rooms.connecting
        session, cookie = await connecting.browser_sessions.open(token, {}, origin=ORIGIN)
        bound = await connecting.browser_sessions.bound(
            UUID(session_id), {cookie_name(session.session_id): cookie.reveal()}, origin=ORIGIN
        )
        fields = {"username": Secret(USERNAME), "api_key": Secret(seeds.CLICKSEND_API_KEYS[USERNAME])}
        _, code = await connecting.key_form.submit(bound, fields, origin=ORIGIN)
        return session_id, code.reveal()


@asynccontextmanager
async def arena(settings: Settings) -> AsyncIterator[Arena]:
    """Serve until the end of the block.  ``settings`` must name a database that has its schema."""
    clock = SystemClock()
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    asked_outside = _keep_names_in()
    async with SandboxServer(clock=clock) as sandbox, open_rooms(settings) as rooms:
        environment = await rooms.environments.create(
            "fuzz", kind=EnvironmentKind.DEVELOPMENT, return_urls=[], origins=[], origin=ORIGIN
        )
        key, text = await rooms.api_keys.create(
            environment.environment_id, name="fuzz", role=ApiKeyRole.ADMIN, origin=ORIGIN
        )
        scene = Scene(rooms.database, rooms.vault, rooms.catalog, clock, sandbox)
        scene.environment_id = environment.environment_id
        scene.person = "ada"
        stop, ready = asyncio.Event(), asyncio.Event()
        serving = asyncio.create_task(
            serve_here(
                build_application(rooms), settings, stop, ready=ready.set, on_stop=rooms.change_streams.stop
            )
        )
        await asyncio.wait_for(ready.wait(), 20)
        found = Arena(
            rooms=rooms,
            scene=scene,
            sandbox=sandbox,
            url=settings.local_url,
            environment_id=environment.environment_id,
            key=text.reveal(),
            key_id=key.api_key_id,
            asked_outside=asked_outside,
        )
        async with _control(found) as found.control:
            with _only_errors_logged():
                yield found
        stop.set()
        await serving


def _keep_names_in() -> list[str]:
    """Have this event loop resolve local names alone; the list grows by every other one that is asked for."""
    asked: list[str] = []
    loop = asyncio.get_running_loop()
    resolve = loop.getaddrinfo

    async def confined(host: Any, port: Any, **options: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else str(host)
        if name not in ("127.0.0.1", "::1", "localhost"):
            asked.append(name)
            raise socket.gaierror(socket.EAI_NONAME, "not on this machine")
        return await resolve(host, port, **options)

    loop.getaddrinfo = confined  # type: ignore[method-assign]  # the loop is the test's own
    return asked


@contextmanager
def _only_errors_logged() -> Iterator[None]:
    """Thousands of requests are not worth a line each."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    yield
    structlog.configure(**before)


@asynccontextmanager
async def _control(arena: Arena) -> AsyncIterator[str]:
    """Where the hooks ask for another act, one at a time."""
    one_at_a_time = asyncio.Lock()

    async def act(_request: web.Request) -> web.Response:
        async with one_at_a_time:
            return web.json_response(await arena.act())

    application = web.Application()
    application.add_routes([web.get("/act", act)])
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    yield f"http://{host}:{port}"
    await runner.cleanup()
