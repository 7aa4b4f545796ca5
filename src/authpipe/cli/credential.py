"""``authpipe credential``: asking a server for a credential, as an application does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from authpipe.cli.options import Json
from authpipe.cli.output import print_facts, print_json
from authpipe.domain.credential import CredentialFor, CredentialKind

if TYPE_CHECKING:
    from authpipe.sdk.credential import Credential


def add_to(app: typer.Typer) -> None:
    """Mount the group."""
    group = typer.Typer(no_args_is_help=True, help="Ask a server for a credential that works.")
    group.callback()(_group)
    group.command("get")(get)
    app.add_typer(group, name="credential", rich_help_panel="Try it")


def _group() -> None:
    """A group of one command keeps its name on the command line."""


def get(
    provider: Annotated[str, typer.Argument(help="The provider's id.")],
    tenant: Annotated[str, typer.Option(metavar="ID", help="Which tenant.")],
    user: Annotated[str | None, typer.Option(metavar="ID", help="Which of its users.")] = None,
    credential_for: Annotated[
        CredentialFor, typer.Option("--for", help="The user's own, the installation's, or what there is.")
    ] = CredentialFor.ANY,
    installation: Annotated[str | None, typer.Option(metavar="ID", help="Which installation.")] = None,
    label: Annotated[str | None, typer.Option(help="Which of several.")] = None,
    kind: Annotated[CredentialKind | None, typer.Option(help="Which kind.")] = None,
    reveal: Annotated[bool, typer.Option("--reveal", help="Print the secret instead of its mask.")] = False,
    as_json: Json = False,
) -> None:
    """Get a credential that works now.  AUTHPIPE_URL and AUTHPIPE_API_KEY say where and with which key."""
    from authpipe.sdk.client import Authpipe

    with Authpipe(stream=False) as authpipe:
        found = authpipe.get_credential(
            provider=provider,
            tenant_id=tenant,
            user_id=user,
            credential_for=credential_for.value,
            installation_id=installation,
            label=label,
            kind=None if kind is None else kind.value,
        )
    secret, headers = _secret(found, reveal=reveal)
    if as_json:
        print_json(
            {
                "object": "credential",
                "credential_id": found.credential_id,
                "kind": found.kind,
                "provider": found.provider,
                "tenant_id": found.tenant_id,
                "user_id": found.user_id,
                "connection_id": found.connection_id,
                "installation_id": found.installation_id,
                "label": found.label,
                "credential": secret,
                "headers": headers,
                "masked": not reveal,
                "expires_at": found.expires_at,
                "scopes": found.scopes,
                "metadata": _thawed(found.metadata),
                "version": found.version,
            }
        )
        return
    print_facts(
        {
            "Credential": secret,
            **{f"Header {name}": value for name, value in headers.items()},
            "Kind": found.kind,
            "Provider": found.provider,
            "Tenant": found.tenant_id,
            "User": found.user_id,
            "Connection": found.connection_id,
            "Installation": found.installation_id,
            "Expires": found.expires_at,
            "Scopes": found.scopes,
            "Metadata": found.metadata,
            "Version": found.version,
        }
    )


def _secret(found: Credential, *, reveal: bool) -> tuple[str, dict[str, str]]:
    from authpipe.sdk.credential import masked

    if reveal:
        return found.credential, dict(found.headers)
    # A header may hold the secret in another writing (Base64), so nothing of its value is shown.
    return masked(found.credential), {
        name: value.partition(" ")[0] + " ***" if " " in value else "***"
        for name, value in found.headers.items()
    }


def _thawed(value: object) -> object:
    from collections.abc import Mapping

    if isinstance(value, Mapping):
        return {name: _thawed(each) for name, each in value.items()}
    return [_thawed(each) for each in value] if isinstance(value, tuple) else value
