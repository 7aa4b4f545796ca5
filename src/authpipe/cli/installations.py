"""``authpipe installations``: where tenants installed the application at providers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from authpipe.cli.administration import administer, origin
from authpipe.cli.documents import installation_document, listed
from authpipe.cli.options import DEVELOPMENT, EnvironmentName, Json
from authpipe.cli.output import print_facts, print_json, print_line, print_table
from authpipe.domain.connection import Installation, InstallationStatus
from authpipe.domain.errors import NotFound
from authpipe.domain.identifiers import parse_id

if TYPE_CHECKING:
    from authpipe.server.wiring import Rooms

_Id = Annotated[str, typer.Argument(metavar="ID", help="The installation's id.")]


def add_to(app: typer.Typer) -> None:
    """Mount the group."""
    group = typer.Typer(no_args_is_help=True, help="Where tenants installed the application.")
    group.command("list")(list_installations)
    group.command("show")(show)
    group.command("disconnect")(disconnect)
    app.add_typer(group, name="installations", rich_help_panel="Look things up")


def list_installations(
    tenant: Annotated[str | None, typer.Option(metavar="ID", help="Of one tenant.")] = None,
    provider: Annotated[str | None, typer.Option(help="At one provider.")] = None,
    status: Annotated[InstallationStatus | None, typer.Option(help="With one status.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 100,
    environment: EnvironmentName = DEVELOPMENT,
    as_json: Json = False,
) -> None:
    """List installations, oldest first."""

    async def work(rooms: Rooms) -> list[Installation]:
        found = await rooms.environments.by_name(environment)
        async with rooms.database.environment(found.environment_id) as transaction:
            return await transaction.installations.page(
                found.environment_id,
                tenant_id=tenant,
                provider=provider,
                status=None if status is None else status.value,
                limit=limit,
            )

    found = administer(work)
    if as_json:
        print_json(listed(installation_document(each) for each in found))
        return
    print_table(
        ("Installation", "Provider", "Tenant", "Status", "Workspace"),
        [
            (
                each.installation_id,
                each.provider,
                each.tenant_id,
                each.status,
                each.external_name or each.external_id,
            )
            for each in found
        ],
        empty="no installation matches",
    )


def show(installation: _Id, environment: EnvironmentName = DEVELOPMENT, as_json: Json = False) -> None:
    """Show one installation."""

    async def work(rooms: Rooms) -> Installation:
        found = await rooms.environments.by_name(environment)
        async with rooms.database.environment(found.environment_id) as transaction:
            made = await transaction.installations.find(
                found.environment_id, parse_id(installation, field="ID")
            )
        if made is None:
            raise NotFound(f"no such installation in {environment}: see authpipe installations list")
        return made

    made = administer(work)
    if as_json:
        print_json(installation_document(made))
        return
    print_facts(
        {
            "Installation": made.installation_id,
            "Provider": made.provider,
            "Tenant": made.tenant_id,
            "Status": made.status,
            "Reason": made.status_reason,
            "Workspace": made.external_name,
            "Workspace id": made.external_id,
            "Label": made.label,
            "Primary": made.is_primary,
            "Installed by": made.installed_by,
            "Scopes": made.scopes,
            "Metadata": made.metadata,
            "Created": made.created_at,
            "Updated": made.updated_at,
        }
    )


def disconnect(installation: _Id, environment: EnvironmentName = DEVELOPMENT, as_json: Json = False) -> None:
    """End an installation: remove it at the provider, destroy its credentials, keep the record of it."""

    async def work(rooms: Rooms) -> Installation:
        found = await rooms.environments.by_name(environment)
        return await rooms.connecting.disconnection.installation(
            found.environment_id, parse_id(installation, field="ID"), origin=origin()
        )

    ended = administer(work)
    if as_json:
        print_json(installation_document(ended))
    else:
        print_line(f"{ended.installation_id} ({ended.provider}) is {ended.status.value}")
