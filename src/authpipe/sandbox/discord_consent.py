"""Discord's consent screen: scopes, and for bots and webhooks the server, channel and permissions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from authpipe.sandbox import pages
from authpipe.sandbox.applications import Application, DiscordApplication
from authpipe.sandbox.authorize_request import (
    AuthorizeRefused,
    AuthorizeRules,
    callback_url,
    check_redirect_uri,
    check_response_type,
    find_application,
    read_challenge,
    read_scopes,
)
from authpipe.sandbox.consent import Decision
from authpipe.sandbox.discord_scopes import SCOPES, flags
from authpipe.sandbox.discord_world import Guild
from authpipe.sandbox.ledger import CodeBinding
from authpipe.sandbox.seeds import Person
from authpipe.sandbox.state import SandboxState
from authpipe.sandbox.transactions import AuthorizeRequest

RULES = AuthorizeRules(
    provider="discord",
    known_scopes=frozenset(SCOPES),
    required_scopes=True,
    # An absent method means "plain" (RFC 7636), which Discord refuses like every other than S256.
    pkce_methods=frozenset({"S256"}),
)

#: These always show the page and always need a server.
_NEEDS_GUILD = frozenset({"bot", "webhook.incoming"})


class DiscordConsent:
    """Implements the questions and answers of Discord's authorization page."""

    provider = "discord"
    code_length = 30

    def __init__(self, state: SandboxState) -> None:
        self._state = state

    def read(self, query: Mapping[str, str]) -> AuthorizeRequest:
        """Check the request.  Without response_type only a bot can be added, and nothing calls back."""
        application = find_application(self._state.applications["discord"], query)
        scopes = self._scopes(application, query)
        redirect_uri = self._redirect_uri(application, scopes, query)
        challenge, method = read_challenge(RULES, query)
        if query.get("integration_type", "0") != "0":
            raise AuthorizeRefused(
                "Invalid integration_type", "The application allows installs to servers only."
            )
        if query.get("prompt", "consent") not in {"consent", "none"}:
            raise AuthorizeRefused("Invalid prompt", "prompt must be consent or none.")
        return AuthorizeRequest(
            provider="discord",
            client_id=application.client_id,
            redirect_uri=redirect_uri,
            scopes=scopes,
            state=query.get("state"),
            challenge=challenge,
            challenge_method=method,
            prompt_none=query.get("prompt") == "none",
            permissions=_read_permissions(query),
            guild_id=query.get("guild_id"),
            guild_fixed=query.get("disable_guild_select") == "true",
        )

    def ask(self, request: AuthorizeRequest, person: Person) -> pages.Question:
        """Scopes; for a bot or webhook the servers this person may manage; the permissions of a bot."""
        question = pages.Question(scopes=[(scope, SCOPES[scope]) for scope in request.scopes])
        if not _NEEDS_GUILD.intersection(request.scopes):
            return question
        guilds = self._guilds(request, person)
        if "webhook.incoming" in request.scopes:
            question = replace(
                question,
                channels=[
                    pages.Choice(channel_id, f"#{name}", group=guild.seed.name)
                    for guild in guilds
                    for channel_id, name in guild.seed.channels
                ],
            )
        adds_bot = "bot" in request.scopes
        return replace(
            question,
            guilds=[pages.Choice(guild.seed.id, guild.seed.name) for guild in guilds],
            selected_guild=request.guild_id,
            guild_fixed=request.guild_fixed and request.guild_id is not None,
            permissions=[pages.Choice(str(bit), name) for bit, name in flags(request.permissions)] * adds_bot,
            adds_bot=adds_bot,
        )

    def is_silent(self, request: AuthorizeRequest, person: Person) -> bool:
        """Only when everything was granted before and no server is to be chosen."""
        if _NEEDS_GUILD.intersection(request.scopes):
            return False
        standing = self._state.ledgers["discord"].standing(request.client_id, person.username)
        return standing is not None and standing.scopes.issuperset(request.scopes)

    def decide(
        self, request: AuthorizeRequest, person: Person, form: Mapping[str, str], permissions: list[str]
    ) -> Decision:
        """Read the choice and, unless the application requires the code grant, let the bot in at once."""
        binding = CodeBinding(request.redirect_uri or "", request.challenge, request.challenge_method)
        if not _NEEDS_GUILD.intersection(request.scopes):
            return Decision(request.scopes, binding, {})
        guild = self._chosen_guild(request, person, form)
        binding = replace(binding, guild_id=guild.seed.id)
        if "webhook.incoming" in request.scopes:
            binding = replace(binding, channel_id=_chosen_channel(guild, form))
        callback = {"guild_id": guild.seed.id}
        if "bot" in request.scopes:
            granted = sum(bit for bit, _ in flags(request.permissions) if str(bit) in permissions)
            binding = replace(binding, permissions=granted)
            callback["permissions"] = str(granted)
            if not self._requires_code_grant(request.client_id):
                self._state.discord.join(request.client_id, guild.seed.id, granted)
        return Decision(request.scopes, binding, callback)

    def callback(self, application: Application, redirect_uri: str, parameters: Mapping[str, str]) -> str:
        """The redirect URI with the parameters added."""
        return callback_url(redirect_uri, parameters)

    def _requires_code_grant(self, client_id: str) -> bool:
        application = self._state.applications["discord"][client_id]
        return isinstance(application, DiscordApplication) and application.bot_require_code_grant

    def _scopes(self, application: Application, query: Mapping[str, str]) -> tuple[str, ...]:
        """client_id alone uses the default install settings of the application."""
        if isinstance(application, DiscordApplication) and not {"scope", "redirect_uri"} & set(query):
            return tuple(application.default_install_scopes)
        return read_scopes(RULES, query)

    def _redirect_uri(
        self, application: Application, scopes: tuple[str, ...], query: Mapping[str, str]
    ) -> str | None:
        if "response_type" not in query and "bot" in scopes:
            if self._requires_code_grant(application.client_id):
                raise AuthorizeRefused("Requires code grant", "This bot is added by the code grant only.")
            return None
        redirect_uri = check_redirect_uri(application, query)
        check_response_type(query)
        return redirect_uri

    def _guilds(self, request: AuthorizeRequest, person: Person) -> list[Guild]:
        """The servers to choose from; a fixed one leaves no other."""
        guilds = self._state.discord.manageable_by(person.username)
        if request.guild_fixed and request.guild_id is not None:
            guilds = [guild for guild in guilds if guild.seed.id == request.guild_id]
            if not guilds:
                raise AuthorizeRefused(
                    "Not your server",
                    f"{person.username} may not manage server {request.guild_id}.",
                    status=403,
                )
        return guilds

    def _chosen_guild(self, request: AuthorizeRequest, person: Person, form: Mapping[str, str]) -> Guild:
        chosen = form.get("guild_id", "")
        for guild in self._guilds(request, person):
            if guild.seed.id == chosen:
                return guild
        raise AuthorizeRefused(
            "Choose a server", f"guild_id must be a server that {person.username} may manage."
        )


def _chosen_channel(guild: Guild, form: Mapping[str, str]) -> str:
    channel_id = form.get("channel_id") or guild.seed.channels[0][0]
    if guild.channel_name(channel_id) is None:
        raise AuthorizeRefused("Choose a channel", f"channel_id must be a channel of {guild.seed.name}.")
    return channel_id


def _read_permissions(query: Mapping[str, str]) -> int:
    text = query.get("permissions", "0")
    if not text.isascii() or not text.isdigit() or len(text) > 20:
        raise AuthorizeRefused("Invalid permissions", "permissions must be a decimal bitfield.")
    return int(text)
