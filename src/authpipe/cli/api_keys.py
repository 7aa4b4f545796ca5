"""``authpipe api-keys``: the API keys of an environment."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from authpipe.cli.administration import administer, origin
from authpipe.cli.documents import key_document, key_status, listed
from authpipe.cli.options import DEVELOPMENT, EnvironmentName, Json
from authpipe.cli.output import print_json, print_line, print_table
from authpipe.domain.access import ApiKeyRole
from authpipe.domain.environment import ApiKey
from authpipe.domain.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from datetime import datetime

    from authpipe.domain.secret import Secret
    from authpipe.server.wiring import Rooms

KeyArgument = Annotated[str, typer.Argument(help="The key's id, or its prefix such as apk_k3x2m4qa.")]
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


def add_to(app: typer.Typer) -> None:
    """Mount the group."""
    group = typer.Typer(
        no_args_is_help=True, help="API keys, with which an application asks for credentials."
    )
    group.command("create")(create)
    group.command("list")(list_keys)
    group.command("rotate")(rotate)
    group.command("revoke")(revoke)
    app.add_typer(group, name="api-keys", rich_help_panel="Administer")


def create(
    name: Annotated[str, typer.Option(help="What the key is for.")] = "command line",
    role: Annotated[
        ApiKeyRole,
        typer.Option(
            help="viewer reads, but no secret; server also reads credentials and connects; admin also "
            "manages keys, provider configs and the environment."
        ),
    ] = ApiKeyRole.SERVER,
    tenant: Annotated[
        str | None,
        typer.Option(metavar="ID", help="The one tenant it reaches.  Default: all of the environment."),
    ] = None,
    expires_in: Annotated[
        str | None, typer.Option(metavar="TIME", help="Such as 90d, 12h or 30m.  Default: never.")
    ] = None,
    environment: EnvironmentName = DEVELOPMENT,
    as_json: Json = False,
) -> None:
    """Make a key and print it.  It is stored nowhere and cannot be shown again."""
    life = None if expires_in is None else _duration(expires_in, option="--expires-in")

    async def work(rooms: Rooms) -> tuple[ApiKey, Secret, datetime]:
        found = await rooms.environments.by_name(environment)
        key, text = await rooms.api_keys.create(
            found.environment_id,
            name=name,
            role=role,
            tenant_id=tenant,
            expires_in=life,
            origin=origin(),
        )
        return key, text, rooms.clock.now()

    key, text, now = administer(work)
    if as_json:
        print_json({**key_document(key, now), "key": text.reveal()})
        return
    print_line(text.reveal())
    reach = environment if key.tenant_id is None else f"tenant {key.tenant_id} in {environment}"
    typer.echo(
        f"A {key.role.value} key of {reach}. Keep it now: it cannot be shown again. "
        f"To end it: authpipe api-keys revoke {key.prefix} -e {environment}",
        err=True,
    )


def list_keys(environment: EnvironmentName = DEVELOPMENT, as_json: Json = False) -> None:
    """List an environment's keys, oldest first, ended ones included."""

    async def work(rooms: Rooms) -> tuple[list[ApiKey], datetime]:
        found = await rooms.environments.by_name(environment)
        return await rooms.api_keys.list(found.environment_id), rooms.clock.now()

    keys, now = administer(work)
    if as_json:
        print_json(listed(key_document(key, now) for key in keys))
        return
    print_table(
        ("Key", "Name", "Role", "Tenant", "Status", "Created", "Expires", "Last used"),
        [
            (
                key.prefix,
                key.name,
                key.role.value,
                key.tenant_id,
                key_status(key, now),
                key.created_at,
                key.expires_at,
                key.last_used_at,
            )
            for key in keys
        ],
        empty=f"no key in {environment} yet: authpipe api-keys create -e {environment}",
    )


def rotate(
    key: KeyArgument,
    overlap: Annotated[
        str,
        typer.Option(metavar="TIME", help="How long both keys are good, such as 24h, 30m or 0m."),
    ] = "24h",
    environment: EnvironmentName = DEVELOPMENT,
    as_json: Json = False,
) -> None:
    """Make a key in another's place and print it.  Name, role, tenant and life are the same."""
    both_good = _duration(overlap, option="--overlap")

    async def work(rooms: Rooms) -> tuple[ApiKey, ApiKey, Secret, datetime]:
        found = await rooms.environments.by_name(environment)
        chosen = _chosen(await rooms.api_keys.list(found.environment_id), key)
        made, text = await rooms.api_keys.rotate(
            found.environment_id, chosen.api_key_id, overlap=both_good, origin=origin()
        )
        return chosen, made, text, rooms.clock.now()

    replaced, made, text, now = administer(work)
    if as_json:
        print_json({**key_document(made, now), "key": text.reveal()})
        return
    print_line(text.reveal())
    typer.echo(
        f"Keep it now: it cannot be shown again. {replaced.prefix} ends in {overlap}, "
        f"or when it expires; to end it at once: authpipe api-keys revoke {replaced.prefix} -e {environment}",
        err=True,
    )


def revoke(
    key: KeyArgument,
    environment: EnvironmentName = DEVELOPMENT,
    as_json: Json = False,
) -> None:
    """End a key for good.  Every server refuses it at once."""

    async def work(rooms: Rooms) -> tuple[ApiKey, datetime]:
        found = await rooms.environments.by_name(environment)
        chosen = _chosen(await rooms.api_keys.list(found.environment_id), key)
        ended = await rooms.api_keys.revoke(found.environment_id, chosen.api_key_id, origin=origin())
        return ended, rooms.clock.now()

    ended, now = administer(work)
    if as_json:
        print_json(key_document(ended, now))
    else:
        print_line(f"{ended.prefix} ({ended.name}) is revoked")


def _chosen(keys: list[ApiKey], wanted: str) -> ApiKey:
    """By id or prefix.  The whole text works too, since that is what people have at hand."""
    prefix = "_".join(wanted.split("_")[:2])
    for key in keys:
        if wanted == str(key.api_key_id) or prefix == key.prefix:
            return key
    raise NotFound("no such API key in this environment: see authpipe api-keys list")


def _duration(text: str, *, option: str) -> timedelta:
    found = re.fullmatch(r"(\d{1,6})([mhd])", text)
    if found is None:
        raise InvalidInput(f"{option} takes a number with m, h or d, such as 90d", field=option)
    return timedelta(**{_UNITS[found[2]]: int(found[1])})
