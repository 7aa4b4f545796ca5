"""Applications as their developers registered them at each provider, and what the control API may change."""

from __future__ import annotations

from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from authpipe.sandbox import seeds

#: Drift's scopes are ticked in the application's console, not asked for at authorization.
DRIFT_DEFAULT_SCOPES = ("contact_read", "conversation_read", "user_read")


@dataclass
class Application:
    """An OAuth client.  ``token_lifetime_s`` is ``None`` for the provider's documented lifetime, and
    ``token_marker`` stands inside every secret the application is issued, so that a search can find it."""

    provider: str
    client_id: str
    name: str
    client_secret: str = field(repr=False)
    redirect_uris: list[str] = field(default_factory=list)
    token_lifetime_s: int | None = None
    token_marker: str | None = None

    def shown(self) -> dict[str, object]:
        """What the developer sees in the provider's console."""
        return {
            "provider": self.provider,
            "client_id": self.client_id,
            "name": self.name,
            "client_secret": self.client_secret,
            "redirect_uris": list(self.redirect_uris),
            "token_lifetime_s": self.token_lifetime_s,
            "token_marker": self.token_marker,
        }


@dataclass
class DiscordApplication(Application):
    """A Discord application with its bot.  ``kicked_guild_code`` chooses how a guild without the bot reads:
    50001 (403, missing access) or 10004 (404, unknown guild); the vendor does not say which."""

    bot_token: str = field(default=seeds.DISCORD_BOT_TOKEN, repr=False)
    bot_require_code_grant: bool = False
    kicked_guild_code: int = 50001
    default_install_scopes: list[str] = field(default_factory=lambda: ["applications.commands", "bot"])
    signing_key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate, repr=False)

    @property
    def verify_key(self) -> str:
        """The public key in hex, as Discord shows it."""
        return self.signing_key.public_key().public_bytes_raw().hex()

    def shown(self) -> dict[str, object]:
        return super().shown() | {
            "bot_token": self.bot_token,
            "bot_require_code_grant": self.bot_require_code_grant,
            "kicked_guild_code": self.kicked_guild_code,
            "default_install_scopes": list(self.default_install_scopes),
            "verify_key": self.verify_key,
        }


@dataclass
class AircallApplication(Application):
    """An Aircall partner application, next to the API id and token of company 1's own account."""

    api_id: str = seeds.AIRCALL_API_ID
    api_token: str = field(default=seeds.AIRCALL_API_TOKEN, repr=False)

    def shown(self) -> dict[str, object]:
        return super().shown() | {"api_id": self.api_id, "api_token": self.api_token}


@dataclass
class DriftApplication(Application):
    """A Drift application; its scopes live in the console."""

    scopes: list[str] = field(default_factory=lambda: list(DRIFT_DEFAULT_SCOPES))
    callback_joined_with_question_mark: bool = False

    def shown(self) -> dict[str, object]:
        return super().shown() | {
            "scopes": list(self.scopes),
            "callback_joined_with_question_mark": self.callback_joined_with_question_mark,
        }


_TYPES: dict[str, type[Application]] = {
    "discord": DiscordApplication,
    "aircall": AircallApplication,
    "dialpad": Application,
    "drift": DriftApplication,
}


def seeded_applications(provider: str) -> dict[str, Application]:
    """The applications of a fresh simulator by client id; none where the provider has no OAuth."""
    kind = _TYPES.get(provider)
    if kind is None:
        return {}
    application = kind(
        provider=provider,
        client_id=seeds.client_id(provider),
        name="Sandbox App",
        client_secret=seeds.client_secret(provider),
    )
    return {application.client_id: application}
