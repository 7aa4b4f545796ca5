"""The control API of one provider: its applications, its tokens, and what its users and operators do."""

from __future__ import annotations

import secrets

from aiohttp import web

from authpipe.sandbox import seeds
from authpipe.sandbox.applications import Application, DiscordApplication
from authpipe.sandbox.clicksend_accounts import ClickSendAccount
from authpipe.sandbox.control_fields import (
    Check,
    ControlError,
    flag,
    marker,
    number,
    one_of,
    or_null,
    read_object,
    required,
    text,
    texts,
    uri,
    uris,
    whole,
)
from authpipe.sandbox.ledger import new_secret
from authpipe.sandbox.state import SandboxState
from authpipe.sandbox.wire import json_answer

_COMMON_FIELDS: dict[str, Check] = {
    "name": text,
    "client_secret": text,
    "redirect_uris": uris,
    "token_lifetime_s": or_null(whole(1, 10 * 365 * 86_400)),
    "token_marker": or_null(marker),
}

#: What the control API may change on an application, by provider.
_WRITABLE: dict[str, dict[str, Check]] = {
    "discord": _COMMON_FIELDS
    | {
        "bot_token": text,
        "bot_require_code_grant": flag,
        "kicked_guild_code": one_of(50001, 10004),
        "default_install_scopes": texts,
    },
    "aircall": _COMMON_FIELDS | {"api_token": text},
    "dialpad": _COMMON_FIELDS,
    "drift": _COMMON_FIELDS | {"scopes": texts, "callback_joined_with_question_mark": flag},
}

_CLICKSEND_KEY_LENGTH = 36


class ProviderControl:
    """The developer's console and the users' settings pages of every provider."""

    def __init__(self, state: SandboxState) -> None:
        self._state = state

    def routes(self) -> list[web.RouteDef]:
        """The routes to mount."""
        provider = "/_control/{provider}"
        app = provider + "/apps/{client_id}"
        return [
            web.post("/_control/discord/kick", self._kick),
            web.post("/_control/discord/apps/{client_id}/reset-bot-token", self._reset_bot_token),
            web.post("/_control/discord/apps/{client_id}/sign", self._sign),
            web.post("/_control/clicksend/keys", self._clicksend_keys),
            web.get(provider, self._show),
            web.get(provider + "/apps", self._apps),
            web.get(app, self._app),
            web.patch(app, self._change_app),
            web.post(app + "/redirect-uris", self._add_redirect_uri),
            web.get(provider + "/tokens", self._tokens),
            web.post(provider + "/revoke", self._revoke),
            web.post(provider + "/rate-limit", self._rate_limit),
        ]

    def _provider(self, request: web.Request) -> str:
        provider = request.match_info.get("provider", "discord")
        if provider not in seeds.PEOPLE:
            raise ControlError(404, "not_found", f"there is no provider {provider}", "provider")
        return provider

    def _find_app(self, request: web.Request) -> Application:
        provider = self._provider(request)
        client_id = request.match_info["client_id"]
        application = self._state.applications[provider].get(client_id)
        if application is None:
            raise ControlError(404, "not_found", f"{provider} has no application {client_id}", "client_id")
        return application

    async def _show(self, request: web.Request) -> web.Response:
        provider = self._provider(request)
        limiter = self._state.limits[provider]
        shown: dict[str, object] = {
            "provider": provider,
            "apps": [application.shown() for application in self._state.applications[provider].values()],
            "people": [
                {
                    "username": person.username,
                    "id": person.id,
                    "display_name": person.display_name,
                    "organization": person.organization or None,
                    "admin": person.admin,
                }
                for person in seeds.PEOPLE[provider]
            ],
            "rate_limit": {"limit": limiter.limit, "window_s": limiter.window_s},
        }
        if provider == "discord":
            shown |= self._state.discord.shown()
        if provider == "aircall":
            shown["companies"] = [
                {
                    "id": company.id,
                    "name": company.name,
                    "integration_active": company.id not in self._state.aircall_inactive_companies,
                }
                for company in seeds.AIRCALL_COMPANIES
            ]
        return json_answer(shown)

    async def _apps(self, request: web.Request) -> web.Response:
        applications = self._state.applications[self._provider(request)].values()
        return json_answer({"apps": [application.shown() for application in applications]})

    async def _app(self, request: web.Request) -> web.Response:
        return json_answer(self._find_app(request).shown())

    async def _change_app(self, request: web.Request) -> web.Response:
        application = self._find_app(request)
        fields = await read_object(request, _WRITABLE[application.provider])
        for name, value in fields.items():
            setattr(application, name, value)
        return json_answer(application.shown())

    async def _add_redirect_uri(self, request: web.Request) -> web.Response:
        application = self._find_app(request)
        added = required(await read_object(request, {"uri": uri}), "uri", str)
        if added not in application.redirect_uris:
            application.redirect_uris.append(added)
        return json_answer(application.shown())

    async def _reset_bot_token(self, request: web.Request) -> web.Response:
        application = self._find_discord_app(request)
        head = application.bot_token.split(".", 1)[0]
        application.bot_token = (
            f"{head}.{secrets.token_urlsafe(4)}.{new_secret(38, application.token_marker)}"
        )
        return json_answer(application.shown())

    async def _sign(self, request: web.Request) -> web.Response:
        """Sign a webhook event as Discord does: Ed25519 over the timestamp and the raw body."""
        application = self._find_discord_app(request)
        fields = await read_object(request, {"timestamp": text, "body": text})
        signed = required(fields, "timestamp", str) + required(fields, "body", str)
        return json_answer({"signature": application.signing_key.sign(signed.encode()).hex()})

    def _find_discord_app(self, request: web.Request) -> DiscordApplication:
        application = self._find_app(request)
        if not isinstance(application, DiscordApplication):
            raise TypeError("the discord shelf holds Discord applications only")
        return application

    async def _tokens(self, request: web.Request) -> web.Response:
        ledger = self._state.ledgers[self._provider(request)]
        return json_answer(
            {
                "authorizations": [
                    {
                        "id": authorization.id,
                        "client_id": authorization.client_id,
                        "user": authorization.user,
                        "scopes": sorted(authorization.scopes),
                        "revoked": authorization.revoked,
                        "created_at": authorization.created_at.isoformat(),
                    }
                    for authorization in ledger.authorizations
                ],
                "tokens": [token.shown() for token in ledger.tokens],
            }
        )

    async def _revoke(self, request: web.Request) -> web.Response:
        """A user removes the application in the provider's own settings."""
        provider = self._provider(request)
        fields = await read_object(request, {"user": text, "all": flag, "client_id": text})
        user = fields.get("user")
        if (user is None) == (fields.get("all") is not True):
            raise ControlError(400, "invalid_field", 'give either "user" or "all": true', "user")
        if isinstance(user, str) and self._state.person(provider, user) is None:
            raise ControlError(404, "not_found", f"{provider} has no user {user}", "user")
        client_id = fields.get("client_id")
        ended = self._state.ledgers[provider].revoke(
            user=user if isinstance(user, str) else None,
            client_id=client_id if isinstance(client_id, str) else None,
        )
        return json_answer({"revoked": ended})

    async def _rate_limit(self, request: web.Request) -> web.Response:
        provider = self._provider(request)
        fields = await read_object(request, {"limit": whole(0, 10**9), "window_s": number(0.001, 86_400)})
        limiter = self._state.limits[provider]
        limiter.configure(required(fields, "limit", int), required(fields, "window_s", float))
        return json_answer({"limit": limiter.limit, "window_s": limiter.window_s})

    async def _kick(self, request: web.Request) -> web.Response:
        fields = await read_object(request, {"guild_id": text, "client_id": text})
        guild_id = required(fields, "guild_id", str)
        if guild_id not in self._state.discord.guilds:
            raise ControlError(404, "not_found", f"there is no guild {guild_id}", "guild_id")
        client_id = fields.get("client_id", seeds.DISCORD_CLIENT_ID)
        return json_answer({"kicked": self._state.discord.leave(str(client_id), guild_id)})

    async def _clicksend_keys(self, request: web.Request) -> web.Response:
        fields = await read_object(
            request,
            {
                "action": one_of("regenerate", "delete", "suspend", "resume"),
                "username": text,
                "token_marker": marker,
            },
        )
        action = required(fields, "action", str)
        username = str(fields.get("username", seeds.CLICKSEND_PEOPLE[0].username))
        account = self._state.clicksend_accounts.get(username)
        if account is None:
            raise ControlError(404, "not_found", f"there is no account {username}", "username")
        shown = _handle_key(account, action, fields.get("token_marker"))
        return json_answer({"username": username, "action": action} | shown)


def _handle_key(account: ClickSendAccount, action: str, token_marker: object) -> dict[str, str]:
    match action:
        case "regenerate":
            chosen = token_marker if isinstance(token_marker, str) else None
            account.api_key = new_secret(_CLICKSEND_KEY_LENGTH, chosen)
            return {"api_key": account.api_key}
        case "delete":
            account.api_key = None
        case _:
            account.suspended = action == "suspend"
    return {}
