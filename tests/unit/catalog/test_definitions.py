"""The facts of each provider, as its documentation has them."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from authpipe.catalog.definition import (
    AuthModel,
    FactSource,
    ProviderDefinition,
    RefreshPolicy,
    RemovalEffect,
    SideName,
)
from authpipe.catalog.lint import lint
from authpipe.catalog.loader import load_catalog
from authpipe.domain.credential import CredentialKind, CredentialSource
from authpipe.domain.provider_config import Attachment
from authpipe.oauth.paths import read_path
from authpipe.oauth.server import BodyFormat, ClientAuthentication, Pkce

CATALOG = load_catalog()
DISCORD = CATALOG.get("discord")


@pytest.mark.parametrize("definition", CATALOG.all(), ids=lambda definition: definition.id)
def test_lint_has_nothing_to_say(definition: ProviderDefinition) -> None:
    """No error and no advice."""
    assert lint(definition) == []


@pytest.mark.parametrize(
    ("provider", "model", "label", "sides"),
    [
        ("discord", AuthModel.INSTALLATION_AND_USER, "Installation + User OAuth", (True, True)),
        ("aircall", AuthModel.INSTALLATION, "Installation", (False, True)),
        ("clicksend", AuthModel.BASIC, "Basic", (True, False)),
        ("dialpad", AuthModel.USER_OAUTH, "User OAuth", (True, False)),
        ("drift", AuthModel.INSTALLATION, "Installation", (False, True)),
    ],
)
def test_each_provider_has_its_auth_model(
    provider: str, model: AuthModel, label: str, sides: tuple[bool, bool]
) -> None:
    """The model, the words people read and the sides go together."""
    definition = CATALOG.get(provider)
    assert (definition.auth_model, definition.auth_model.label) == (model, label)
    assert (definition.connection is not None, definition.installation is not None) == sides


@pytest.mark.parametrize(
    ("provider", "authorize", "token", "client", "pkce"),
    [
        (
            "discord",
            "https://discord.com/oauth2/authorize",
            "https://discord.com/api/oauth2/token",
            ClientAuthentication.BASIC,
            Pkce.S256,
        ),
        (
            "aircall",
            "https://dashboard.aircall.io/oauth/authorize",
            "https://api.aircall.io/v1/oauth/token",
            ClientAuthentication.POST,
            Pkce.UNKNOWN,
        ),
        (
            "dialpad",
            "https://dialpad.com/oauth2/authorize",
            "https://dialpad.com/oauth2/token",
            ClientAuthentication.POST,
            Pkce.S256,
        ),
        (
            "drift",
            "https://dev.drift.com/authorize",
            "https://driftapi.com/oauth2/token",
            ClientAuthentication.POST,
            Pkce.UNKNOWN,
        ),
    ],
)
def test_each_authorization_server_is_spoken_to_in_its_manner(
    provider: str, authorize: str, token: str, client: ClientAuthentication, pkce: Pkce
) -> None:
    """Endpoints, client authentication and PKCE; all of them take a form."""
    server = CATALOG.get(provider).oauth
    assert server
    assert (server.authorize_url, server.token_url) == (authorize, token)
    assert (server.client_authentication, server.token_body, server.pkce) == (client, BodyFormat.FORM, pkce)


@pytest.mark.parametrize(
    ("provider", "side", "kind", "source", "refresh"),
    [
        ("discord", "connection", "oauth_token", "own", "rotating"),
        ("discord", "installation", "bot_token", "provider_config", "none"),
        ("aircall", "installation", "oauth_token", "own", "none"),
        ("clicksend", "connection", "basic", "own", "none"),
        ("dialpad", "connection", "oauth_token", "own", "rotating"),
        ("drift", "installation", "oauth_token", "own", "rotating"),
    ],
)
def test_each_side_keeps_and_refreshes_its_credential(
    provider: str, side: str, kind: str, source: str, refresh: str
) -> None:
    """Kind, place and refresh policy of the credential."""
    found = getattr(CATALOG.get(provider), side)
    assert found.credential is CredentialKind(kind)
    assert found.source is CredentialSource(source)
    assert found.refresh is RefreshPolicy(refresh)


@pytest.mark.parametrize(
    ("provider", "side", "document", "account"),
    [
        ("discord", "connection", {"user": {"id": "80", "username": "ada"}}, ("80", "ada")),
        ("discord", "installation", {"guild": {"id": "81", "name": "Engines"}}, ("81", "Engines")),
        ("aircall", "installation", {"integration": {"company_id": 7}}, (7, None)),
        ("clicksend", "connection", {"data": {"user_id": 1, "username": "ada"}}, (1, "ada")),
        ("dialpad", "connection", {"id": 5, "display_name": "Ada"}, (5, "Ada")),
        ("drift", "installation", {"orgId": 123}, (123, None)),
    ],
)
def test_the_account_is_found_where_the_provider_tells_it(
    provider: str, side: str, document: object, account: tuple[object, object]
) -> None:
    """Paths lead into the documented answers."""
    facts = getattr(CATALOG.get(provider), side).account
    assert read_path(document, facts.id) == account[0]
    assert (read_path(document, facts.name) if facts.name else None) == account[1]


def test_discord_has_its_thirteen_scopes_in_order() -> None:
    """Every scope the catalog promises."""
    assert [scope.name for scope in DISCORD.scopes] == [
        "bot",
        "applications.commands",
        "applications.commands.update",
        "webhook.incoming",
        "identify",
        "email",
        "guilds",
        "guilds.join",
        "guilds.members.read",
        "connections",
        "messages.read",
        "gdm.join",
        "role_connections.write",
    ]


def test_discord_asks_for_what_tells_it_the_account() -> None:
    """A connection always identifies; an installation always brings the bot."""
    asked = {
        side: [
            (scope.name, scope.required)
            for scope in DISCORD.scopes_for(side)
            if scope.default or scope.required
        ]
        for side in SideName
    }
    assert asked == {
        SideName.CONNECTION: [("identify", True)],
        SideName.INSTALLATION: [("bot", True), ("applications.commands", False)],
    }


def test_a_scope_no_person_can_grant_stands_in_no_authorization_request() -> None:
    """Only the client-credentials grant gives it, and the note says so."""
    update = next(scope for scope in DISCORD.scopes if scope.name == "applications.commands.update")
    assert update.sides == frozenset()
    assert update.note is not None
    assert "client-credentials" in update.note


def test_a_discord_installation_is_told_by_the_token_response() -> None:
    """Never by the callback's query."""
    assert DISCORD.installation
    account = DISCORD.installation.account
    assert account.source is FactSource.TOKEN_RESPONSE
    assert account.metadata == {"guild_id": "guild.id"}
    assert DISCORD.installation.authorize_parameters == {"integration_type": "0"}


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("permissions", ["0", "2048", "18446744073709551615"], ["", "-1", "08", "1 ", "2048&x=1", "all"]),
        ("disable_guild_select", ["true", "false"], ["", "1", "True", "true&x=1"]),
    ],
)
def test_discord_install_parameters_take_only_what_discord_takes(
    name: str, good: list[str], bad: list[str]
) -> None:
    """The pattern matches the whole value."""
    assert DISCORD.installation
    parameter = next(each for each in DISCORD.installation.parameters if each.name == name)
    assert all(re.fullmatch(parameter.pattern, value) for value in good)
    assert not any(re.fullmatch(parameter.pattern, value) for value in bad)


def test_a_discord_webhook_is_a_second_credential_and_wrapped_on_arrival() -> None:
    """Its URL and token are secrets of the token response; ids and name are not."""
    assert DISCORD.installation
    assert DISCORD.oauth
    (webhook,) = DISCORD.installation.extra_credentials
    assert (webhook.kind, webhook.scope, webhook.secret) == (
        CredentialKind.WEBHOOK_SECRET,
        "webhook.incoming",
        "webhook.url",
    )
    assert set(webhook.metadata) == {"webhook_id", "channel_id", "guild_id", "name"}
    assert set(DISCORD.oauth.secret_paths) == {"webhook.token", "webhook.url"}


def test_discord_users_do_not_depend_on_the_installation() -> None:
    """They connect with or without one, and keep working when it goes; revoking cuts them all."""
    assert DISCORD.connection
    assert DISCORD.connection.requires_installation is False
    assert DISCORD.connection.on_installation_removed is RemovalEffect.KEEP_WORKING
    assert DISCORD.connection.shares_authorization is True


def test_aircall_cannot_be_revoked_upstream() -> None:
    """There is no endpoint for it."""
    side = CATALOG.get("aircall").installation
    assert side
    assert side.revocation is None
    assert side.uninstall is None
    assert [(scope.name, scope.required) for scope in CATALOG.get("aircall").scopes] == [("public_api", True)]


def test_clicksend_asks_for_username_and_key_of_the_tenant() -> None:
    """One secret, one shown; the account is the tenant's."""
    definition = CATALOG.get("clicksend")
    assert definition.connection
    assert [(field.name, field.secret) for field in definition.connection.key_fields] == [
        ("username", False),
        ("api_key", True),
    ]
    assert definition.default_attachment is Attachment.TENANT
    assert DISCORD.default_attachment is Attachment.USER


def test_dialpad_asks_to_stay_connected() -> None:
    """Without offline_access no refresh token is expected."""
    definition = CATALOG.get("dialpad")
    assert [scope.name for scope in definition.scopes if scope.default] == ["offline_access"]
    assert definition.oauth
    assert definition.oauth.default_lifetime_s is None


def test_drift_is_sent_no_scope() -> None:
    """Scopes are ticked in its console."""
    definition = CATALOG.get("drift")
    assert definition.oauth
    assert definition.oauth.scope_in_request is False
    assert not any(scope.default for scope in definition.scopes)
    assert definition.quirks == {"lenient_callback_query"}


def test_lint_advises_on_wording() -> None:
    """Phrases are one line without a period, and the setup says where the redirect URI goes."""
    scope = replace(DISCORD.scopes[0], meaning="Two\nlines.")
    worse = replace(
        DISCORD,
        description="A sentence.",
        scopes=(scope, *DISCORD.scopes[1:]),
        setup=DISCORD.setup[:1],
        api_base_url="https://discord.com/api/v10/",
    )
    assert {(finding.key, finding.severity.value) for finding in lint(worse)} == {
        ("description", "advice"),
        ("scopes[0].meaning", "advice"),
        ("setup", "advice"),
        ("api_base_url", "advice"),
    }


def test_lint_reports_what_the_loader_would_refuse_as_errors() -> None:
    """A definition built in code is held to the same rules."""
    assert DISCORD.installation
    worse = replace(DISCORD, oauth=None, app_credential=None)
    found = {finding.key for finding in lint(worse) if finding.severity.value == "error"}
    assert {"scopes", "connection.credential", "connection.refresh", "installation.source"} <= found
