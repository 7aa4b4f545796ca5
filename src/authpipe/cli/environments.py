"""``authpipe environments``: the partitions of the workspace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from authpipe.cli.administration import administer, origin
from authpipe.cli.documents import environment_document, listed
from authpipe.cli.options import Json
from authpipe.cli.output import print_facts, print_json, print_table
from authpipe.domain.environment import Environment, EnvironmentKind

if TYPE_CHECKING:
    from authpipe.server.wiring import Rooms

_ReturnUrls = Annotated[
    list[str] | None,
    typer.Option(metavar="URL", help="Where browsers may return to; ends in /* for all below.  Repeatable."),
]
_Origins = Annotated[
    list[str] | None,
    typer.Option(metavar="ORIGIN", help="The origin of pages that open popups.  Repeatable."),
]


def add_to(app: typer.Typer) -> None:
    """Mount the group."""
    group = typer.Typer(no_args_is_help=True, help="Isolated partitions, such as development and production.")
    group.command("list")(list_environments)
    group.command("create")(create)
    group.command("update")(update)
    app.add_typer(group, name="environments", rich_help_panel="Administer")


def list_environments(as_json: Json = False) -> None:
    """List the environments, oldest first."""

    async def work(rooms: Rooms) -> list[Environment]:
        return await rooms.environments.list()

    found = administer(work)
    if as_json:
        print_json(listed(environment_document(each) for each in found))
        return
    print_table(
        ("Name", "Kind", "Return URLs", "Created"),
        [(each.name, each.kind, each.return_urls, each.created_at) for each in found],
        empty="no environment yet: authpipe init, or authpipe environments create NAME",
    )


def create(
    name: Annotated[str, typer.Argument(help="Lower-case letters, digits and inner hyphens.")],
    kind: Annotated[
        EnvironmentKind, typer.Option(help="production allows https:// return URLs only.")
    ] = EnvironmentKind.DEVELOPMENT,
    return_url: _ReturnUrls = None,
    popup_origin: _Origins = None,
    as_json: Json = False,
) -> None:
    """Make an environment."""

    async def work(rooms: Rooms) -> Environment:
        return await rooms.environments.create(
            name, kind=kind, return_urls=return_url or (), origins=popup_origin or (), origin=origin()
        )

    _show(administer(work), as_json=as_json)


def update(
    name: Annotated[str, typer.Argument(help="Which environment.")],
    add_return_url: _ReturnUrls = None,
    remove_return_url: _ReturnUrls = None,
    add_origin: _Origins = None,
    remove_origin: _Origins = None,
    as_json: Json = False,
) -> None:
    """Change where an environment's browsers may return to."""

    async def work(rooms: Rooms) -> Environment:
        before = await rooms.environments.by_name(name)
        return await rooms.environments.update(
            before.environment_id,
            return_urls=_changed(before.return_urls, add_return_url, remove_return_url),
            origins=_changed(before.origins, add_origin, remove_origin),
            origin=origin(),
        )

    _show(administer(work), as_json=as_json)


def _changed(before: tuple[str, ...], added: list[str] | None, removed: list[str] | None) -> list[str]:
    return [each for each in (*before, *(added or ())) if each not in (removed or ())]


def _show(environment: Environment, *, as_json: bool) -> None:
    if as_json:
        print_json(environment_document(environment))
        return
    print_facts(
        {
            "Name": environment.name,
            "Kind": environment.kind,
            "Id": environment.environment_id,
            "Return URLs": "\n".join(environment.return_urls),
            "Origins": "\n".join(environment.origins),
            "Created": environment.created_at,
        }
    )
