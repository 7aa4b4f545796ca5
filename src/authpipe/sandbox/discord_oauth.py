"""Discord's token and revocation endpoints."""

from __future__ import annotations

from aiohttp import web

from authpipe.sandbox import discord_objects
from authpipe.sandbox.applications import Application, DiscordApplication
from authpipe.sandbox.discord_scopes import CLIENT_CREDENTIALS_ONLY, SCOPES
from authpipe.sandbox.ledger import CodeBinding, Ledger, Token, new_secret
from authpipe.sandbox.seeds import DISCORD_PEOPLE
from authpipe.sandbox.state import SandboxState
from authpipe.sandbox.token_endpoint import (
    Issued,
    OAuthRefused,
    answering_refusals,
    authenticate_client,
    issue_tokens,
    read_token_form,
    redeem_code,
    redeem_refresh_token,
)
from authpipe.sandbox.wire import json_answer

#: Seven days, the documented lifetime of access tokens.
ACCESS_TOKEN_LIFETIME_S = 604_800
_TOKEN_LENGTH = 30
_WEBHOOK_TOKEN_LENGTH = 68
_INVALID_REFRESH_TOKEN = 'Invalid "refresh_token" in request'


class DiscordOAuth:
    """The code, refresh and client-credentials grants, and revocation."""

    def __init__(self, state: SandboxState) -> None:
        self._state = state

    def routes(self) -> list[web.RouteDef]:
        """The documented paths and their versioned twins, which the vendor's own samples use."""
        token, revoke = answering_refusals(self._token), answering_refusals(self._revoke)
        return [
            route
            for base in ("/discord/api/oauth2", "/discord/api/v10/oauth2")
            for route in (web.post(f"{base}/token", token), web.post(f"{base}/token/revoke", revoke))
        ]

    @property
    def _ledger(self) -> Ledger:
        return self._state.ledgers["discord"]

    def _authenticate(self, request: web.Request, form: dict[str, str]) -> DiscordApplication:
        application = authenticate_client(request, form, self._state.applications["discord"], basic=True)
        if not isinstance(application, DiscordApplication):
            raise TypeError("the discord shelf holds Discord applications only")
        return application

    async def _token(self, request: web.Request) -> web.Response:
        form = await read_token_form(request, json_too=False)
        application = self._authenticate(request, form)
        match form.get("grant_type"):
            case "authorization_code":
                code = redeem_code(self._ledger, application, form)
                answer = self._grant(application, code) | self._extras(request, application, code)
            case "refresh_token":
                used = redeem_refresh_token(
                    self._ledger, application, form, description=_INVALID_REFRESH_TOKEN
                )
                answer = self._grant(application, used)
            case "client_credentials":
                answer = self._client_credentials(application, form)
            case _:
                raise OAuthRefused(400, "unsupported_grant_type", "Unsupported grant_type")
        return json_answer(answer)

    def _grant(self, application: Application, source: Token) -> dict[str, object]:
        issued = issue_tokens(
            self._ledger,
            application,
            source.authorization,
            source.scopes,
            length=_TOKEN_LENGTH,
            lifetime_s=ACCESS_TOKEN_LIFETIME_S,
            with_refresh_token=True,
        )
        return _token_body(issued, source.scopes)

    def _client_credentials(self, application: Application, form: dict[str, str]) -> dict[str, object]:
        """A token for the application's owner, without a refresh token."""
        scopes = tuple(dict.fromkeys(form.get("scope", "").split()))
        if not scopes or not set(scopes) <= {*SCOPES, CLIENT_CREDENTIALS_ONLY} - {"bot", "webhook.incoming"}:
            raise OAuthRefused(400, "invalid_scope", "The requested scope is invalid, unknown, or malformed.")
        owner = DISCORD_PEOPLE[0].username
        authorization = self._ledger.authorize(application.client_id, owner, scopes)
        issued = issue_tokens(
            self._ledger,
            application,
            authorization,
            scopes,
            length=_TOKEN_LENGTH,
            lifetime_s=ACCESS_TOKEN_LIFETIME_S,
            with_refresh_token=False,
        )
        return _token_body(issued, scopes)

    def _extras(
        self, request: web.Request, application: DiscordApplication, code: Token
    ) -> dict[str, object]:
        """The ``guild`` of a bot install and the ``webhook`` of webhook.incoming."""
        binding = code.binding
        if binding is None or binding.guild_id is None:
            return {}
        extras: dict[str, object] = {}
        if "bot" in code.scopes:
            extras["guild"] = self._join(application, binding, binding.guild_id)
        if "webhook.incoming" in code.scopes and binding.channel_id is not None:
            token = new_secret(_WEBHOOK_TOKEN_LENGTH, application.token_marker)
            webhook = self._state.discord.create_webhook(
                application.client_id, application.name, binding.guild_id, binding.channel_id, token
            )
            extras["webhook"] = discord_objects.webhook(webhook, str(request.url.origin()))
        return extras

    def _join(
        self, application: DiscordApplication, binding: CodeBinding, guild_id: str
    ) -> dict[str, object]:
        """With ``bot_require_code_grant`` this is the moment the bot joins; otherwise it already did."""
        if application.bot_require_code_grant:
            self._state.discord.join(application.client_id, guild_id, binding.permissions)
        return discord_objects.full_guild(
            self._state.discord.guilds[guild_id], discord_applications(self._state)
        )

    async def _revoke(self, request: web.Request) -> web.Response:
        """Revoking one token ends the whole authorization; unknown tokens are fine (RFC 7009)."""
        form = await read_token_form(request, json_too=False)
        application = self._authenticate(request, form)
        if not form.get("token"):
            raise OAuthRefused(400, "invalid_request", "token is missing")
        token = self._ledger.find("access", form["token"]) or self._ledger.find("refresh", form["token"])
        if token is not None and token.authorization.client_id == application.client_id:
            token.authorization.revoked = True
        return json_answer({})


def discord_applications(state: SandboxState) -> dict[str, DiscordApplication]:
    """The Discord applications by client id."""
    return {
        client_id: application
        for client_id, application in state.applications["discord"].items()
        if isinstance(application, DiscordApplication)
    }


def _token_body(issued: Issued, scopes: tuple[str, ...]) -> dict[str, object]:
    body: dict[str, object] = {
        "access_token": issued.access_token,
        "token_type": "Bearer",
        "expires_in": issued.expires_in,
        "scope": " ".join(scopes),
    }
    if issued.refresh_token is not None:
        body["refresh_token"] = issued.refresh_token
    return body
