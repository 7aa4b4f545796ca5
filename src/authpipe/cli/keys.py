"""``authpipe keys``: the keys that encrypt, and their rotation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from authpipe.cli.administration import origin
from authpipe.cli.failures import FAILED, complain
from authpipe.cli.keys_progress import work_with_progress
from authpipe.cli.keys_status import status
from authpipe.cli.options import DEVELOPMENT, EnvironmentName, Json
from authpipe.cli.output import print_json, print_line
from authpipe.domain.environment import WORKSPACE_ID

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from uuid import UUID

    from authpipe.server.wiring import Rooms
    from authpipe.vault.keks.kek import Kek
    from authpipe.vault.rewrapping import Rewrapped
    from authpipe.vault.rotation import Progress, Rotated

    #: Whose keyset: an environment, and of it a tenant or None.
    Place = Callable[[Rooms], Awaitable[tuple[UUID, str | None]]]

NewPrimary = Annotated[
    bool,
    typer.Option("--new-primary", help="Begin a new rotation even where an earlier one is not finished."),
]


def add_to(app: typer.Typer) -> None:
    """Mount the group."""
    group = typer.Typer(no_args_is_help=True, help="Keys that encrypt what is stored, and their rotation.")
    group.command("status")(status)
    group.command("rotate-kek")(rotate_kek)
    group.command("rotate-tenant")(rotate_tenant)
    group.command("rotate-environment")(rotate_environment)
    group.command("rotate-workspace")(rotate_workspace)
    app.add_typer(group, name="keys", rich_help_panel="Administer")


def rotate_kek(as_json: Json = False) -> None:
    """Wrap every data key with the first KEK of AUTHPIPE_KEKS.

    Payloads stay as they are and everybody goes on working.  May be stopped and run again at any time.
    """

    async def work(rooms: Rooms, progress: Progress) -> tuple[Rewrapped, Kek]:
        rewrapped = await rooms.rotating.rewrapping.run(origin=origin(), progress=progress)
        return rewrapped, rooms.rotating.keks.primary

    done, kek = work_with_progress(work, doing="rewrapping keys")
    if as_json:
        print_json(
            {
                "object": "kek_rotation",
                "kek_id": kek.kek_id,
                "kek_uri": kek.uri,
                "rewrapped": done.moved,
                "left": done.left,
                "unknown_keks": [{"kek_id": kek_id, "keys": keys} for kek_id, keys in done.unknown.items()],
            }
        )
    else:
        print_line(f"{_many(done.moved, 'key')} rewrapped under {kek.kek_id} ({kek.uri})")
    for kek_id, keys in done.unknown.items():
        complain(
            f"{_many(keys, 'key')} under {kek_id}, which is not configured: add its URI to AUTHPIPE_KEKS, "
            "behind the first, and run this again"
        )
    if done.left:
        complain(f"{_many(done.left, 'key')} could not be rewrapped: the log above says why; run this again")
    if done.left or done.unknown:
        raise typer.Exit(FAILED)


def rotate_tenant(
    tenant: Annotated[str, typer.Argument(help="The tenant's id.")],
    environment: EnvironmentName = DEVELOPMENT,
    new_primary: NewPrimary = False,
    as_json: Json = False,
) -> None:
    """Give a tenant a new data key and re-encrypt its secrets under it.

    Where an earlier rotation is not finished, that is finished instead.  Everybody goes on working.
    """

    async def place(rooms: Rooms) -> tuple[UUID, str | None]:
        return (await rooms.environments.by_name(environment)).environment_id, tenant

    _rotate(place, new_primary, as_json)


def rotate_environment(
    environment: EnvironmentName = DEVELOPMENT, new_primary: NewPrimary = False, as_json: Json = False
) -> None:
    """The same for what belongs to an environment as a whole, such as client secrets and bot tokens."""

    async def place(rooms: Rooms) -> tuple[UUID, str | None]:
        return (await rooms.environments.by_name(environment)).environment_id, None

    _rotate(place, new_primary, as_json)


def rotate_workspace(new_primary: NewPrimary = False, as_json: Json = False) -> None:
    """The same for what belongs to no environment, such as sign-ins of operators under way."""

    async def place(rooms: Rooms) -> tuple[UUID, str | None]:
        return WORKSPACE_ID, None

    _rotate(place, new_primary, as_json)


def _rotate(place: Place, new_primary: bool, as_json: bool) -> None:
    async def work(rooms: Rooms, progress: Progress) -> Rotated:
        from authpipe.vault.keyset import KeysetOwner

        owner = KeysetOwner(*await place(rooms))
        return await rooms.rotating.rotation.rotate(
            owner, origin=origin(), force=new_primary, progress=progress
        )

    done = work_with_progress(work, doing="re-encrypting")
    told = done.reencrypted
    if as_json:
        print_json(
            {
                "object": "keyset_rotation",
                "new_primary_key_id": done.new_primary,
                "reencrypted": told.moved,
                "left": told.left,
            }
        )
    elif done.new_primary is None:
        print_line(
            f"an earlier rotation finished: {_many(told.moved, 'payload')} re-encrypted; "
            "--new-primary begins a new one"
        )
    else:
        print_line(f"new primary key {done.new_primary}; {_many(told.moved, 'payload')} re-encrypted")
    for key_id, kek_id in told.closed.items():
        complain(
            f"the retired key {key_id} cannot be unwrapped: is its KEK {kek_id} configured in AUTHPIPE_KEKS?"
        )
    if told.left:
        complain(f"{_many(told.left, 'payload')} left under retired keys; run this again, or see the log")
        raise typer.Exit(FAILED)


def _many(count: int, thing: str) -> str:
    return f"{count:,} {thing}{'' if count == 1 else 's'}"
