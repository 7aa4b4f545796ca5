"""``authpipe connections``: the links of tenants and their users to provider accounts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from authpipe.cli.administration import administer, origin
from authpipe.cli.documents import connection_document, listed
from authpipe.cli.options import DEVELOPMENT, EnvironmentName, Json
from authpipe.cli.output import print_facts, print_json, print_line, print_table
from authpipe.domain.connection import Connection, ConnectionStatus
from authpipe.domain.errors import NotFound
from authpipe.domain.identifiers import parse_id

if TYPE_CHECKING:
    from authpipe.server.wiring import Rooms

_Id = Annotated[str, typer.Argument(metavar="ID", help="The connection's id.")]


def add_to(app: typer.Typer) -> None:
    """Mount the group."""
    group = typer.Typer(no_args_is_help=True, help="What tenants and their users have connected.")
    group.command("list")(list_connections)
    group.command("show")(show)
    group.command("disconnect")(disconnect)
    app.add_typer(group, name="connections", rich_help_panel="Look things up")


def list_connections(
    tenant: Annotated[str | None, typer.Option(metavar="ID", help="Of one tenant.")] = None,
    user: Annotated[str | None, typer.Option(metavar="ID", help="Of one user.")] = None,
    provider: Annotated[str | None, typer.Option(help="To one provider.")] = None,
    status: Annotated[ConnectionStatus | None, typer.Option(help="With one status.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 100,
    environment: EnvironmentName = DEVELOPMENT,
    as_json: Json = False,
) -> None:
    """List connections, oldest first."""

    async def work(rooms: Rooms) -> list[Connection]:
        found = await rooms.environments.by_name(environment)
        async with rooms.database.environment(found.environment_id) as transaction:
            return await transaction.connections.page(
                found.environment_id,
                tenant_id=tenant,
                user_id=user,
                provider=provider,
                status=None if status is None else status.value,
                limit=limit,
            )

    found = administer(work)
    if as_json:
        print_json(listed(connection_document(each) for each in found))
        return
    print_table(
        ("Connection", "Provider, account", "Tenant, user", "Status"),
        [
            (
                each.connection_id,
                "\n".join(filter(None, (each.provider, _account(each)))),
                "\n".join(filter(None, (each.tenant_id, each.user_id))),
                each.status,
            )
            for each in found
        ],
        empty="no connection matches",
    )


def show(connection: _Id, environment: EnvironmentName = DEVELOPMENT, as_json: Json = False) -> None:
    """Show one connection."""

    async def work(rooms: Rooms) -> Connection:
        found = await rooms.environments.by_name(environment)
        async with rooms.database.environment(found.environment_id) as transaction:
            made = await transaction.connections.find(found.environment_id, parse_id(connection, field="ID"))
        if made is None:
            raise NotFound(f"no such connection in {environment}: see authpipe connections list")
        return made

    made = administer(work)
    if as_json:
        print_json(connection_document(made))
        return
    print_facts(
        {
            "Connection": made.connection_id,
            "Provider": made.provider,
            "Tenant": made.tenant_id,
            "User": made.user_id,
            "Status": made.status,
            "Reason": made.status_reason,
            "Account": _account(made),
            "Account id": made.account_id,
            "Label": made.label,
            "Primary": made.is_primary,
            "Installation": made.installation_id,
            "Scopes": made.scopes,
            "Metadata": made.metadata,
            "Created": made.created_at,
            "Updated": made.updated_at,
        }
    )


def disconnect(connection: _Id, environment: EnvironmentName = DEVELOPMENT, as_json: Json = False) -> None:
    """End a connection: revoke it at the provider, destroy its credential, keep the record of it."""

    async def work(rooms: Rooms) -> Connection:
        found = await rooms.environments.by_name(environment)
        return await rooms.connecting.disconnection.connection(
            found.environment_id, parse_id(connection, field="ID"), origin=origin()
        )

    ended = administer(work)
    if as_json:
        print_json(connection_document(ended))
    else:
        print_line(f"{ended.connection_id} ({ended.provider}) is {ended.status.value}")


def _account(connection: Connection) -> str | None:
    return connection.account_name or connection.account_id
