"""``authpipe configs``: an environment's OAuth clients at providers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from authpipe.cli.administration import administer, origin
from authpipe.cli.documents import config_document, listed
from authpipe.cli.options import DEVELOPMENT, EnvironmentName, Json, pairs
from authpipe.cli.output import print_facts, print_json, print_line, print_table
from authpipe.cli.secret_input import read_secret
from authpipe.domain.errors import NotFound
from authpipe.domain.provider_config import Attachment, ProviderConfig

if TYPE_CHECKING:
    from uuid import UUID

    from authpipe.catalog.definition import ProviderDefinition
    from authpipe.connect.config_checks import ConfigFields
    from authpipe.server.wiring import Rooms

_Provider = Annotated[str, typer.Argument(help="The provider's id: see authpipe providers list.")]
_File = Annotated[str | None, typer.Option(metavar="PATH", help="Read it from a file; - is standard input.")]
_Variable = Annotated[str | None, typer.Option(metavar="NAME", help="Read it from that variable.")]


def add_to(app: typer.Typer) -> None:
    """Mount the group."""
    group = typer.Typer(
        no_args_is_help=True, help="Provider configs: client id, secret and scopes of an environment."
    )
    group.command("add")(add)
    group.command("list")(list_configs)
    group.command("show")(show)
    group.command("enable")(enable)
    group.command("disable")(disable)
    group.command("remove")(remove)
    app.add_typer(group, name="configs", rich_help_panel="Administer")


def add(
    provider: _Provider,
    client_id: Annotated[str | None, typer.Option(metavar="ID", help="The OAuth client id.")] = None,
    client_secret_file: _File = None,
    client_secret_env: _Variable = None,
    app_credential_file: _File = None,
    app_credential_env: _Variable = None,
    scope: Annotated[
        list[str] | None, typer.Option(metavar="SCOPE", help="Asked of users.  Repeatable.")
    ] = None,
    installation_scope: Annotated[
        list[str] | None, typer.Option(metavar="SCOPE", help="Asked at installation.  Repeatable.")
    ] = None,
    parameter: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="A parameter of the definition.")
    ] = None,
    base_url: Annotated[
        str | None, typer.Option(metavar="URL", help="Instead of the provider's own addresses: a sandbox.")
    ] = None,
    attachment: Annotated[
        Attachment | None, typer.Option(help="Whom connections belong to.  Default: by the definition.")
    ] = None,
    disabled: Annotated[bool, typer.Option("--disabled", help="Add it without enabling it.")] = False,
    environment: EnvironmentName = DEVELOPMENT,
    as_json: Json = False,
) -> None:
    """Add a provider to an environment.

    The client secret and the app credential (such as a bot token) are asked for without echo, or read from
    a file or a variable; never from the command line, which every process of the machine can see.
    """
    from authpipe.catalog.loader import load_catalog

    definition = load_catalog().get(provider)
    fields: ConfigFields = {"enabled": not disabled}
    secret = read_secret(
        "client secret",
        option="--client-secret",
        file=client_secret_file,
        variable=client_secret_env,
        prompt=definition.oauth is not None,
    )
    app_credential = read_secret(
        definition.app_credential.label.lower() if definition.app_credential else "app credential",
        option="--app-credential",
        file=app_credential_file,
        variable=app_credential_env,
        prompt=definition.app_credential is not None,
    )
    if secret is not None:
        fields["client_secret"] = secret
    if app_credential is not None:
        fields["app_credential"] = app_credential
    if client_id is not None:
        fields["client_id"] = client_id
    if scope:
        fields["scopes"] = tuple(scope)
    if installation_scope:
        fields["installation_scopes"] = tuple(installation_scope)
    if parameter:
        fields["parameters"] = pairs(parameter, option="--parameter")
    if base_url is not None:
        fields["base_url"] = base_url
    if attachment is not None:
        fields["attachment"] = attachment

    async def work(rooms: Rooms) -> tuple[ProviderConfig, str | None]:
        found = await rooms.environments.by_name(environment)
        config = await rooms.connecting.provider_configs.create(
            found.environment_id, provider, fields, origin=origin()
        )
        return config, _redirect_uri(rooms, config)

    config, redirect_uri = administer(work)
    if as_json:
        print_json(config_document(config, redirect_uri))
        return
    print_line(f"{definition.name} is configured in {environment}")
    if redirect_uri is not None:
        print_line(
            f"Register this redirect URI at {definition.name}, exactly as it stands:\n  {redirect_uri}"
        )


def list_configs(environment: EnvironmentName = DEVELOPMENT, as_json: Json = False) -> None:
    """List an environment's provider configs."""

    async def work(rooms: Rooms) -> list[tuple[ProviderConfig, str | None]]:
        found = await rooms.environments.by_name(environment)
        configs = await rooms.connecting.provider_configs.list(found.environment_id)
        return [(config, _redirect_uri(rooms, config)) for config in configs]

    found = administer(work)
    if as_json:
        print_json(listed(config_document(config, redirect_uri) for config, redirect_uri in found))
        return
    print_table(
        ("Provider", "Status", "Client id", "Base URL", "Created"),
        [
            (config.provider, _status(config), config.client_id, config.base_url, config.created_at)
            for config, _ in found
        ],
        empty=f"no provider is configured in {environment}: authpipe configs add PROVIDER -e {environment}",
    )


def show(provider: _Provider, environment: EnvironmentName = DEVELOPMENT, as_json: Json = False) -> None:
    """Show a provider config and the redirect URI to register."""

    async def work(rooms: Rooms) -> tuple[ProviderConfig, str | None, ProviderDefinition]:
        config = await _find(rooms, environment, provider)
        return config, _redirect_uri(rooms, config), rooms.catalog.get(provider)

    config, redirect_uri, definition = administer(work)
    if as_json:
        print_json(config_document(config, redirect_uri))
        return
    label = definition.app_credential.label if definition.app_credential else "App credential"
    print_facts(
        {
            "Provider": f"{definition.name} ({config.provider})",
            "Id": config.provider_config_id,
            "Status": _status(config),
            "Problem": config.problem,
            "Client id": config.client_id,
            "Client secret": _kept(config.client_secret_ciphertext),
            label: _kept(config.app_credential_ciphertext),
            "Scopes": config.scopes or "by the definition",
            "Installation scopes": config.installation_scopes or "by the definition",
            "Parameters": config.parameters,
            "Base URL": config.base_url or definition.api_base_url,
            "Connections belong to": config.attachment,
            "Redirect URI": redirect_uri,
            "Created": config.created_at,
        }
    )


def enable(provider: _Provider, environment: EnvironmentName = DEVELOPMENT, as_json: Json = False) -> None:
    """Allow connect sessions with a provider again."""
    _switch(provider, environment, enabled=True, as_json=as_json)


def disable(provider: _Provider, environment: EnvironmentName = DEVELOPMENT, as_json: Json = False) -> None:
    """Refuse new connect sessions with a provider.  What is connected goes on working."""
    _switch(provider, environment, enabled=False, as_json=as_json)


def remove(provider: _Provider, environment: EnvironmentName = DEVELOPMENT, as_json: Json = False) -> None:
    """Remove a provider config that nothing was ever connected through."""

    async def work(rooms: Rooms) -> UUID:
        config = await _find(rooms, environment, provider)
        await rooms.connecting.provider_configs.delete(
            config.environment_id, config.provider_config_id, origin=origin()
        )
        return config.provider_config_id

    removed = administer(work)
    if as_json:
        print_json({"object": "provider_config", "id": removed, "provider": provider, "deleted": True})
    else:
        print_line(f"{provider} is no longer configured in {environment}")


def _switch(provider: str, environment: str, *, enabled: bool, as_json: bool) -> None:
    async def work(rooms: Rooms) -> tuple[ProviderConfig, str | None]:
        config = await _find(rooms, environment, provider)
        changed = await rooms.connecting.provider_configs.update(
            config.environment_id, config.provider_config_id, {"enabled": enabled}, origin=origin()
        )
        return changed, _redirect_uri(rooms, changed)

    config, redirect_uri = administer(work)
    if as_json:
        print_json(config_document(config, redirect_uri))
    else:
        print_line(f"{config.provider} is {_status(config)} in {environment}")


async def _find(rooms: Rooms, environment: str, provider: str) -> ProviderConfig:
    found = await rooms.environments.by_name(environment)
    rooms.catalog.get(provider)
    for config in await rooms.connecting.provider_configs.list(found.environment_id):
        if config.provider == provider:
            return config
    raise NotFound(
        f"{provider} is not configured in {environment}: authpipe configs add {provider} -e {environment}"
    )


def _redirect_uri(rooms: Rooms, config: ProviderConfig) -> str | None:
    from authpipe.connect.start import redirect_uri

    if rooms.catalog.get(config.provider).oauth is None:
        return None
    return redirect_uri(rooms.settings.public_url, config.provider_config_id)


def _status(config: ProviderConfig) -> str:
    if not config.enabled:
        return "disabled"
    return "problem" if config.problem else "enabled"


def _kept(ciphertext: bytes | None) -> str:
    return "not set" if ciphertext is None else "set"
