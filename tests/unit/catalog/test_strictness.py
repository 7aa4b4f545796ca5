"""A file that is not exactly a definition is refused, with file and dotted key in the message."""

# ruff: noqa: E501  # the table of contradictions is read by its columns

from __future__ import annotations

import copy
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from authpipe.catalog.contradictions import contradictions
from authpipe.catalog.definition import ProviderDefinition
from authpipe.catalog.finding import Finding
from authpipe.catalog.loader import load_catalog, read_definition
from authpipe.catalog.strict import read_table
from authpipe.domain.errors import ConfigurationError

PROVIDERS = Path(__file__).parents[3] / "src" / "authpipe" / "catalog" / "providers"
FILES = sorted(PROVIDERS.glob("*.toml"))

#: Tables whose keys are names of the provider's own choice.
FREE_TABLES = {"metadata", "query", "form", "json", "headers", "authorize_parameters"}

Route = tuple[str | int, ...]


def dotted(route: Route) -> str:
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in route)
    return text.removeprefix(".")


def routes(value: Any, route: Route = ()) -> Iterator[Route]:
    """Every place in the document that a key leads to, list elements left out."""
    if isinstance(value, dict):
        for name, item in value.items():
            if not (route and route[-1] in FREE_TABLES):
                yield (*route, name)
            yield from routes(item, (*route, name))
    elif isinstance(value, list):
        for position, item in enumerate(value):
            yield from routes(item, (*route, position))


def parent_of(document: dict[str, Any], route: Route) -> Any:
    place: Any = document
    for step in route[:-1]:
        place = place[step]
    return place


def faults(document: dict[str, Any]) -> list[Finding]:
    findings: list[Finding] = []
    definition = read_table(ProviderDefinition, document, findings)
    return findings if definition is None else [*findings, *contradictions(definition)]


def cases() -> list[Any]:
    return [
        pytest.param(file, route, id=f"{file.stem}:{dotted(route)}")
        for file in FILES
        for route in routes(tomllib.loads(file.read_text()))
    ]


@pytest.mark.parametrize(("file", "route"), cases())
def test_a_renamed_key_is_an_error_that_names_it(file: Path, route: Route) -> None:
    """Whatever key of a definition is misspelt, the finding stands at that key and suggests the right one."""
    document = tomllib.loads(file.read_text())
    table = parent_of(document, route)
    name = str(route[-1])
    table[name + "x"] = table.pop(name)
    found = {finding.key: finding.message for finding in faults(document)}
    message = found[dotted((*route[:-1], name + "x"))]
    assert "unknown key" in message
    assert name in message


@pytest.mark.parametrize(("file", "route"), cases())
def test_a_value_of_another_type_is_an_error_that_names_the_key(file: Path, route: Route) -> None:
    """A date stands where no key wants one."""
    document = tomllib.loads(file.read_text())
    parent_of(document, route)[route[-1]] = tomllib.loads("x = 2026-01-01")["x"]
    found = {finding.key: finding.message for finding in faults(document)}
    assert "not a date" in found[dotted(route)]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_definition_comes_without_faults(file: Path) -> None:
    """The unchanged files are the other half of the mutation tests."""
    assert faults(tomllib.loads(file.read_text())) == []


def mutated(stem: str, **changes: Any) -> dict[str, Any]:
    """The definition with values replaced by dotted key; ``None`` removes the key."""
    document = copy.deepcopy(tomllib.loads((PROVIDERS / f"{stem}.toml").read_text()))
    for key, value in changes.items():
        route: list[str | int] = [int(step) if step.isdigit() else step for step in key.split("__")]
        table = parent_of(document, tuple(route))
        if value is None:
            del table[route[-1]]
        else:
            table[route[-1]] = value
    return document


CONTRADICTIONS = [
    ("discord", {"auth_model": "discrd"}, "auth_model", "not allowed"),
    ("discord", {"category": "comunication"}, "category", "did you mean communication?"),
    ("discord", {"id": "Dis cord"}, "id", "a-z"),
    ("discord", {"docs_url": "http://discord.com/x"}, "docs_url", "https"),
    ("discord", {"api_base_url": "https://user:pw@discord.com/"}, "api_base_url", "user name"),
    ("discord", {"oauth__token_url": "https://discord.com/t?x=1"}, "oauth.token_url", "query"),
    ("discord", {"oauth__token_url": "https://discord.com/t#x"}, "oauth.token_url", "fragment"),
    ("discord", {"oauth__token_url": "https://discord.com/{x}"}, "oauth.token_url", "placeholder"),
    ("discord", {"oauth__token_url": "https://discord.com:port/"}, "oauth.token_url", "not a URL"),
    ("discord", {"oauth__token_url": None}, "oauth.token_url", "missing key"),
    ("discord", {"oauth__pkce": "s265"}, "oauth.pkce", "did you mean s256?"),
    ("discord", {"oauth__issuer_in_callback": True}, "oauth.issuer", "RFC 9207"),
    ("discord", {"oauth__default_lifetime_s": 0}, "oauth.default_lifetime_s", "positive"),
    ("discord", {"oauth__default_lifetime_s": True}, "oauth.default_lifetime_s", "whole number"),
    ("discord", {"oauth__secret_paths": ["webhook..url"]}, "oauth.secret_paths[0]", "dotted path"),
    ("discord", {"oauth__secret_paths": []}, "installation.extra_credentials[0].secret", "secret_paths"),
    ("discord", {"oauth__authorize_parameters": {"state": "x"}}, "oauth.authorize_parameters.state", "protocol"),
    ("discord", {"quirks": ["lenient_callback_qery"]}, "quirks", "did you mean lenient_callback_query?"),
    ("discord", {"quirks": ["a", "a"]}, "quirks", "twice"),
    ("discord", {"name": ""}, "name", "empty"),
    ("discord", {"name": " Discord"}, "name", "blanks"),
    ("discord", {"scopes__0__sides": []}, "scopes[0].sides", "no request"),
    ("discord", {"scopes__0__default": False}, "scopes[0].default", "required"),
    ("discord", {"scopes__1__name": "bot"}, "scopes[1].name", "before"),
    ("discord", {"scopes__1__name": "bot guilds"}, "scopes[1].name", "separator"),
    ("discord", {"scopes__2__default": True}, "scopes[2].default", "no side"),
    ("discord", {"connection": None}, "connection", "auth_model"),
    ("discord", {"app_credential": None}, "installation.source", "app_credential"),
    ("discord", {"app_credential__header__value": "Bearer {secret}"}, "app_credential.header", "same secret"),
    ("discord", {"connection__source": "provider_config"}, "connection.credential", "provider config"),
    ("discord", {"connection__header__value": "Bearer"}, "connection.header.value", "{secret}"),
    ("discord", {"connection__header__value": "Bearer {secert}"}, "connection.header.value", "did you mean {secret}"),
    ("discord", {"connection__header__value": "{secret} }"}, "connection.header.value", "brace"),
    ("discord", {"connection__header__name": "X Token"}, "connection.header.name", "header name"),
    ("discord", {"connection__revocation__form": {"token": "{refresh_tokn}"}}, "connection.revocation.form.token", "did you mean {refresh_token}"),
    ("discord", {"connection__revocation__json": {"a": "b"}}, "connection.revocation.json", "one body"),
    ("discord", {"connection__revocation__method": "FETCH"}, "connection.revocation.method", "GET"),
    ("discord", {"connection__revocation__success": []}, "connection.revocation.success", "statuses"),
    ("discord", {"connection__revocation__url": "https://x.com/{access_token}"}, "connection.revocation.url", "secret"),
    ("discord", {"connection__revocation__url": "https://{client_id}.com/"}, "connection.revocation.url", "host"),
    ("discord", {"connection__revocation__headers": {"authorization": "x"}}, "connection.revocation.headers.authorization", "remove"),
    ("discord", {"connection__probe__request__form": {"a": "b"}}, "connection.probe.request.method", "GET"),
    ("discord", {"connection__probe__request__url": "https://discord.com/{external_id}"}, "connection.probe.request.url", "unknown placeholder"),
    ("discord", {"installation__probe__request__url": "https://discord.com/{account_id}"}, "installation.probe.request.url", "unknown placeholder"),
    ("discord", {"installation__probe__request__query": {"t": "{access_token}"}}, "installation.probe.request.query.t", "unknown placeholder"),
    ("discord", {"connection__probe__request__query": {"t": "{access_token}"}}, "connection.probe.request.query.t", "must not be sent in a query"),
    ("discord", {"connection__probe__rules__0__status": [4010]}, "connection.probe.rules[0].status", "statuses"),
    ("discord", {"connection__probe__rules__0__reason": "Token gone"}, "connection.probe.rules[0].reason", "word"),
    ("discord", {"connection__probe__rules__1__values": []}, "connection.probe.rules[1].path", "values"),
    ("discord", {"connection__probe__rules__1__path": None}, "connection.probe.rules[1].values", "path"),
    ("discord", {"connection__probe__rules__1__status": [401]}, "connection.probe.rules[1]", "never match"),
    ("discord", {"connection__probe__rules__2__values": ["40333"]}, "connection.probe.rules[2]", "never match"),
    ("discord", {"connection__uninstall": {"method": "GET", "url": "https://x.com/"}}, "connection.uninstall", "revocation"),
    ("discord", {"installation__refresh": "rotating"}, "installation.refresh", "none"),
    ("discord", {"installation__requires_installation": True}, "installation.requires_installation", "connections"),
    ("discord", {"installation__on_installation_removed": "need_reauth"}, "installation.on_installation_removed", "connections"),
    ("discord", {"installation__parameters__0__name": "integration_type"}, "installation.parameters[0].name", "set already"),
    ("discord", {"installation__parameters__0__pattern": "("}, "installation.parameters[0].pattern", "regular expression"),
    ("discord", {"installation__parameters__0__default": "all"}, "installation.parameters[0].default", "pattern"),
    ("discord", {"installation__extra_credentials__0__scope": "webhook"}, "installation.extra_credentials[0].scope", "not a scope"),
    ("discord", {"installation__extra_credentials__0__metadata": {"t": "webhook.token"}}, "installation.extra_credentials[0].metadata.t", "secret"),
    ("aircall", {"scopes__0__sides": ["connection"]}, "scopes[0].sides", "no [connection]"),
    ("aircall", {"oauth": None}, "installation.credential", "[oauth]"),
    ("aircall", {"installation__account__source": "tokens"}, "installation.account.source", "not allowed"),
    ("clicksend", {"connection__key_fields__1__secret": False}, "connection.key_fields", "exactly one"),
    ("clicksend", {"connection__key_fields__0__name": "access_token"}, "connection.key_fields[0].name", "taken"),
    ("clicksend", {"connection__key_fields__0__pattern": "["}, "connection.key_fields[0].pattern", "regular expression"),
    ("clicksend", {"connection__header__basic": "{user}:{secret}"}, "connection.header.basic", "did you mean {username}"),
    ("clicksend", {"connection__header__basic": "{secret}"}, "connection.header.basic", "colon"),
    ("clicksend", {"connection__header__value": "Basic {secret}"}, "connection.header.value", "{basic}"),
    ("clicksend", {"connection__refresh": "reusable"}, "connection.refresh", "[oauth]"),
    ("clicksend", {"connection__account__source": "token_response"}, "connection.account.source", "probe"),
    ("clicksend", {"auth_model": "api_key"}, "connection.credential", "api_key"),
    ("dialpad", {"connection__requires_installation": True}, "connection.requires_installation", "no [installation]"),
    ("dialpad", {"connection__key_fields": [{"name": "a", "label": "b", "secret": True, "help": "c"}]}, "connection.key_fields", "form"),
    ("drift", {"scopes__0__default": True}, "scopes[0].default", "scope_in_request"),
    ("drift", {"installation__probe__request__auth": "clent"}, "installation.probe.request.auth", "did you mean client?"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("stem", "changes", "key", "words"),
    CONTRADICTIONS,
    ids=[f"{stem}:{key}:{position}" for position, (stem, _, key, _) in enumerate(CONTRADICTIONS)],
)
def test_a_contradiction_is_an_error_at_its_key(
    stem: str, changes: dict[str, Any], key: str, words: str
) -> None:
    """What the keys say together must be possible."""
    found = [finding.message for finding in faults(mutated(stem, **changes)) if finding.key == key]
    assert any(words in message for message in found), found


def test_the_message_names_file_and_key_and_remedy() -> None:
    """One line per fault, all faults of the file at once."""
    text = (PROVIDERS / "discord.toml").read_text().replace("pkce =", "pkcee =").replace('"s256"', "256")
    text = text.replace('category = "communication"', "category = 1")
    with pytest.raises(ConfigurationError) as caught:
        read_definition("discord.toml", text)
    assert caught.value.message.splitlines() == [
        "discord.toml: category: must be text, not a number",
        "discord.toml: oauth.pkcee: unknown key (did you mean pkce?)",
    ]


def test_a_file_is_named_after_its_provider() -> None:
    """The id in the file and the name of the file are the same."""
    text = (PROVIDERS / "discord.toml").read_text()
    with pytest.raises(
        ConfigurationError, match=r"^discrd\.toml: id: is 'discord'; it must be the name of the file$"
    ):
        read_definition("discrd.toml", text)


def test_a_file_that_is_not_toml_is_refused_by_name(tmp_path: Path) -> None:
    """The error of the parser comes with the file."""
    (tmp_path / "broken.toml").write_text("id = ")
    with pytest.raises(ConfigurationError, match=r"^broken\.toml: not valid TOML: "):
        load_catalog(tmp_path)


def test_a_directory_that_is_not_there_is_a_configuration_error(tmp_path: Path) -> None:
    """The message names the place."""
    with pytest.raises(ConfigurationError, match="nowhere"):
        load_catalog(tmp_path / "nowhere")
