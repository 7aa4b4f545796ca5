"""Discord's REST API v10, as far as credentials and installations are concerned."""

from __future__ import annotations

import hmac
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from authpipe.sandbox import discord_objects
from authpipe.sandbox.applications import DiscordApplication
from authpipe.sandbox.discord_oauth import discord_applications
from authpipe.sandbox.discord_world import Guild, Webhook
from authpipe.sandbox.ledger import Token
from authpipe.sandbox.seeds import DISCORD_PEOPLE, Person
from authpipe.sandbox.state import SandboxState
from authpipe.sandbox.wire import authorization, json_answer

_V10 = "/discord/api/v10"


class ApiError(Exception):
    """An error answer: HTTP status, Discord's code and message."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message

    def answer(self) -> web.Response:
        """The answer as sent."""
        return json_answer({"message": self.message, "code": self.code}, status=self.status)


@dataclass(frozen=True)
class BotCaller:
    """A request made with ``Authorization: Bot``."""

    application: DiscordApplication


@dataclass(frozen=True)
class UserCaller:
    """A request made with ``Authorization: Bearer``."""

    application: DiscordApplication
    person: Person
    token: Token

    def need(self, scope: str) -> None:
        """Raises 403 50026 without the scope."""
        if scope not in self.token.scopes:
            raise ApiError(403, 50026, "Missing required OAuth2 scope")


def user_agent_middleware() -> Middleware:
    """Requests to the API without a User-Agent never reach it: Cloudflare turns them away."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith("/discord/api/") and not request.headers.get("User-Agent", "").strip():
            return ApiError(403, 40333, "Internal network error").answer()
        return await handler(request)

    return middleware


class DiscordApi:
    """The resources under ``/api/v10``, and webhooks also under the unversioned path of their URL."""

    def __init__(self, state: SandboxState) -> None:
        self._state = state

    def routes(self) -> list[web.RouteDef]:
        """The routes to mount; any other API path answers 404 in Discord's shape."""
        hook = "/webhooks/{webhook_id}/{webhook_token}"
        routes = [
            web.get(f"{_V10}/oauth2/@me", _answering(self._authorization)),
            web.get(f"{_V10}/oauth2/applications/@me", _answering(self._application)),
            web.get(f"{_V10}/applications/@me", _answering(self._application)),
            web.get(f"{_V10}/users/@me", _answering(self._user)),
            web.get(f"{_V10}/users/@me/guilds", _answering(self._user_guilds)),
            web.get(f"{_V10}/users/@me/guilds/{{guild_id}}/member", _answering(self._member)),
            web.delete(f"{_V10}/users/@me/guilds/{{guild_id}}", _answering(self._leave)),
            web.get(f"{_V10}/guilds/{{guild_id}}", _answering(self._guild)),
            web.get(f"{_V10}/guilds/{{guild_id}}/channels", _answering(self._channels)),
            web.get(f"{_V10}/guilds/{{guild_id}}/roles", _answering(self._roles)),
            web.get(f"{_V10}/gateway/bot", _answering(self._gateway)),
        ]
        for base in (_V10, "/discord/api"):
            routes += [
                web.get(base + hook, _answering(self._webhook)),
                web.delete(base + hook, _answering(self._delete_webhook)),
                web.post(base + hook, _answering(self._execute_webhook)),
            ]
        return [*routes, web.route("*", "/discord/api/{rest:.*}", _answering(_not_found))]

    def _caller(self, request: web.Request) -> BotCaller | UserCaller:
        scheme, value = authorization(request)
        if scheme == "bot":
            for application in discord_applications(self._state).values():
                if hmac.compare_digest(value.encode(), application.bot_token.encode()):
                    return BotCaller(application)
            raise ApiError(401, 50014, "Invalid authentication token provided")
        if scheme == "bearer":
            token = self._state.ledgers["discord"].alive("access", value)
            if token is None:
                raise ApiError(401, 50025, "Invalid OAuth2 access token provided")
            person = next(one for one in DISCORD_PEOPLE if one.username == token.authorization.user)
            return UserCaller(discord_applications(self._state)[token.authorization.client_id], person, token)
        raise ApiError(401, 40001, "Unauthorized. Provide a valid token and try again")

    def _bot(self, request: web.Request) -> DiscordApplication:
        caller = self._caller(request)
        if not isinstance(caller, BotCaller):
            raise ApiError(401, 40001, "Unauthorized. Provide a valid token and try again")
        return caller.application

    def _user_caller(self, request: web.Request) -> UserCaller:
        caller = self._caller(request)
        if not isinstance(caller, UserCaller):
            raise ApiError(401, 50025, "Invalid OAuth2 access token provided")
        return caller

    def _guild_of_bot(self, request: web.Request) -> Guild:
        """A server the bot is in; a server that exists without it reads as the application chose."""
        application = self._bot(request)
        guild = self._state.discord.guilds.get(request.match_info["guild_id"])
        if guild is not None and application.client_id in guild.bots:
            return guild
        if guild is not None and application.kicked_guild_code == 50001:
            raise ApiError(403, 50001, "Missing access")
        raise ApiError(404, 10004, "Unknown guild")

    async def _authorization(self, request: web.Request) -> web.Response:
        caller = self._user_caller(request)
        expires_at = caller.token.expires_at
        body: dict[str, object] = {
            "application": discord_objects.partial_application(caller.application),
            "scopes": list(caller.token.scopes),
            "expires": None if expires_at is None else expires_at.isoformat(),
        }
        if "identify" in caller.token.scopes:
            body["user"] = discord_objects.user(caller.person)
        return json_answer(body)

    async def _application(self, request: web.Request) -> web.Response:
        application = self._bot(request)
        joined = sum(application.client_id in guild.bots for guild in self._state.discord.guilds.values())
        return json_answer(discord_objects.full_application(application, joined))

    async def _user(self, request: web.Request) -> web.Response:
        caller = self._caller(request)
        if isinstance(caller, BotCaller):
            return json_answer(discord_objects.bot_user(caller.application))
        caller.need("identify")
        return json_answer(discord_objects.user(caller.person, with_email="email" in caller.token.scopes))

    async def _user_guilds(self, request: web.Request) -> web.Response:
        caller = self._caller(request)
        if isinstance(caller, BotCaller):
            application_id = caller.application.client_id
            return json_answer(
                [
                    discord_objects.partial_guild(guild, owner=False, permissions=guild.bots[application_id])
                    for guild in self._state.discord.guilds.values()
                    if application_id in guild.bots
                ]
            )
        caller.need("guilds")
        username = caller.person.username
        return json_answer(
            [
                discord_objects.partial_guild(
                    guild,
                    owner=guild.seed.owner == username,
                    permissions=discord_objects.member_permissions(guild, username),
                )
                for guild in self._state.discord.of_member(username)
            ]
        )

    async def _member(self, request: web.Request) -> web.Response:
        caller = self._user_caller(request)
        caller.need("guilds.members.read")
        guild = self._state.discord.guilds.get(request.match_info["guild_id"])
        if guild is None or caller.person.username not in guild.seed.members:
            raise ApiError(404, 10004, "Unknown guild")
        return json_answer(discord_objects.member(caller.person))

    async def _leave(self, request: web.Request) -> web.Response:
        application = self._bot(request)
        if not self._state.discord.leave(application.client_id, request.match_info["guild_id"]):
            raise ApiError(404, 10004, "Unknown guild")
        return web.Response(status=204)

    async def _guild(self, request: web.Request) -> web.Response:
        guild = self._guild_of_bot(request)
        return json_answer(discord_objects.full_guild(guild, discord_applications(self._state)))

    async def _channels(self, request: web.Request) -> web.Response:
        return json_answer(discord_objects.channels(self._guild_of_bot(request)))

    async def _roles(self, request: web.Request) -> web.Response:
        return json_answer(
            discord_objects.roles(self._guild_of_bot(request), discord_applications(self._state))
        )

    async def _gateway(self, request: web.Request) -> web.Response:
        self._bot(request)
        limit = {"total": 1000, "remaining": 1000, "reset_after": 0, "max_concurrency": 1}
        url = str(request.url.origin().with_scheme("ws") / "discord" / "gateway")
        return json_answer({"url": url, "shards": 1, "session_start_limit": limit})

    def _find_webhook(self, request: web.Request) -> Webhook:
        webhook = self._state.discord.webhooks.get(request.match_info["webhook_id"])
        presented = request.match_info["webhook_token"]
        if webhook is None or not hmac.compare_digest(presented.encode(), webhook.token.encode()):
            raise ApiError(404, 10015, "Unknown Webhook")
        return webhook

    async def _webhook(self, request: web.Request) -> web.Response:
        return json_answer(discord_objects.webhook(self._find_webhook(request), str(request.url.origin())))

    async def _delete_webhook(self, request: web.Request) -> web.Response:
        del self._state.discord.webhooks[self._find_webhook(request).id]
        return web.Response(status=204)

    async def _execute_webhook(self, request: web.Request) -> web.Response:
        webhook = self._find_webhook(request)
        try:
            document = json.loads(await request.read())
        except ValueError:
            raise ApiError(400, 50109, "The request body contains invalid JSON.") from None
        if not isinstance(document, dict) or not (document.get("content") or document.get("embeds")):
            raise ApiError(400, 50006, "Cannot send an empty message")
        webhook.messages += 1
        return web.Response(status=204)


def _answering(
    handler: Callable[[web.Request], Awaitable[web.Response]],
) -> Callable[[web.Request], Awaitable[web.Response]]:
    """Turn :class:`ApiError` into its answer."""

    async def wrapped(request: web.Request) -> web.Response:
        try:
            return await handler(request)
        except ApiError as error:
            return error.answer()

    return wrapped


async def _not_found(request: web.Request) -> web.Response:
    raise ApiError(404, 0, "404: Not Found")
