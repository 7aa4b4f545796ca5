"""``authpipe operators``: the people who sign in to the dashboard."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from authpipe.cli.administration import administer, origin
from authpipe.cli.documents import listed
from authpipe.cli.options import Json
from authpipe.cli.output import print_facts, print_json, print_line, print_table
from authpipe.domain.access import Operator, OperatorRole
from authpipe.domain.errors import InvalidInput
from authpipe.domain.secret import Secret

if TYPE_CHECKING:
    from authpipe.server.wiring import Rooms

_Email = Annotated[str, typer.Argument(metavar="EMAIL", help="Which operator.")]
_Name = Annotated[str | None, typer.Option(help="A name to show; empty for none.")]
_PasswordStdin = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from standard input.")
]
_Invite = Annotated[
    bool, typer.Option("--invite", help="Print a link to choose a password with: once, for 24 hours.")
]


def add_to(app: typer.Typer) -> None:
    """Mount the group."""
    group = typer.Typer(no_args_is_help=True, help="People who sign in to the dashboard.")
    group.command("add")(add)
    group.command("list")(list_operators)
    group.command("update")(update)
    group.command("set-password")(set_password)
    group.command("invite")(invite)
    group.command("sign-out")(sign_out)
    group.command("unlock")(unlock)
    group.command("disable")(disable)
    group.command("enable")(enable)
    app.add_typer(group, name="operators", rich_help_panel="Administer")


def add(
    email: Annotated[str, typer.Argument(metavar="EMAIL", help="With which they sign in.")],
    role: Annotated[OperatorRole, typer.Option(help="What they may do.")],
    name: _Name = None,
    password_stdin: _PasswordStdin = False,
    invite_them: _Invite = False,
    no_password: Annotated[
        bool, typer.Option("--no-password", help="They sign in at the OpenID provider only.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Add an operator; asks for their password unless told otherwise."""
    if password_stdin + invite_them + no_password > 1:
        raise InvalidInput("give one of --password-stdin, --invite and --no-password")
    password = None if invite_them or no_password else _password(from_stdin=password_stdin)

    async def work(rooms: Rooms) -> tuple[Operator, str | None, datetime]:
        made = await rooms.signing_in.operators.add(
            email, role=role, name=name, password=password, origin=origin()
        )
        return made, await _link(rooms, made) if invite_them else None, rooms.clock.now()

    made, link, now = administer(work)
    if link is None:
        _show(made, now, as_json=as_json)
    else:
        _show_link(made, link, now, as_json=as_json)


def list_operators(as_json: Json = False) -> None:
    """List the operators, oldest first, disabled ones included."""

    async def work(rooms: Rooms) -> tuple[list[Operator], datetime]:
        return await rooms.signing_in.operators.list(), rooms.clock.now()

    operators, now = administer(work)
    if as_json:
        print_json(listed(_document(each, now) for each in operators))
        return
    print_table(
        ("Email", "Name", "Role", "Status", "Last sign-in"),
        [(each.email, each.name, each.role, _status(each, now), each.last_sign_in_at) for each in operators],
        empty="no operator yet: authpipe operators add EMAIL --role owner",
    )


def update(
    email: _Email,
    role: Annotated[OperatorRole | None, typer.Option(help="What they may do from now on.")] = None,
    name: _Name = None,
    as_json: Json = False,
) -> None:
    """Change an operator's role or name.  One enabled owner always remains."""

    async def work(rooms: Rooms) -> tuple[Operator, datetime]:
        before = await rooms.signing_in.operators.by_email(email)
        changed = await rooms.signing_in.operators.update(
            before.operator_id,
            role=before.role if role is None else role,
            name=before.name if name is None else name,
            origin=origin(),
        )
        return changed, rooms.clock.now()

    _show(*administer(work), as_json=as_json)


def set_password(email: _Email, password_stdin: _PasswordStdin = False, as_json: Json = False) -> None:
    """Replace an operator's password; ends their sessions and their lock."""
    password = _password(from_stdin=password_stdin)

    async def work(rooms: Rooms) -> tuple[Operator, datetime]:
        found = await rooms.signing_in.operators.by_email(email)
        await rooms.signing_in.operators.set_password(found.operator_id, password, origin=origin())
        return await rooms.signing_in.operators.get(found.operator_id), rooms.clock.now()

    _show(*administer(work), as_json=as_json)


def invite(email: _Email, as_json: Json = False) -> None:
    """Print a link with which the operator chooses a password: once, for 24 hours."""

    async def work(rooms: Rooms) -> tuple[Operator, str, datetime]:
        found = await rooms.signing_in.operators.by_email(email)
        return found, await _link(rooms, found), rooms.clock.now()

    _show_link(*administer(work), as_json=as_json)


def sign_out(email: _Email, as_json: Json = False) -> None:
    """End every session of an operator, at once and on every server."""

    async def work(rooms: Rooms) -> tuple[Operator, int]:
        found = await rooms.signing_in.operators.by_email(email)
        return found, await rooms.signing_in.sessions.end_all(found.operator_id, origin=origin())

    found, ended = administer(work)
    if as_json:
        print_json({"object": "operator_sign_out", "operator_id": found.operator_id, "sessions": ended})
    else:
        print_line(f"{found.email} is signed out ({ended} session{'' if ended == 1 else 's'} ended)")


def unlock(email: _Email, as_json: Json = False) -> None:
    """Forget an operator's failed sign-ins."""

    async def work(rooms: Rooms) -> tuple[Operator, datetime]:
        found = await rooms.signing_in.operators.by_email(email)
        unlocked = await rooms.signing_in.operators.unlock(found.operator_id, origin=origin())
        return unlocked, rooms.clock.now()

    _show(*administer(work), as_json=as_json)


def disable(email: _Email, as_json: Json = False) -> None:
    """Refuse every sign-in of an operator and end their sessions.  One enabled owner always remains."""

    async def work(rooms: Rooms) -> tuple[Operator, datetime]:
        found = await rooms.signing_in.operators.by_email(email)
        disabled = await rooms.signing_in.operators.disable(found.operator_id, origin=origin())
        return disabled, rooms.clock.now()

    _show(*administer(work), as_json=as_json)


def enable(email: _Email, as_json: Json = False) -> None:
    """Allow a disabled operator to sign in again."""

    async def work(rooms: Rooms) -> tuple[Operator, datetime]:
        found = await rooms.signing_in.operators.by_email(email)
        enabled = await rooms.signing_in.operators.enable(found.operator_id, origin=origin())
        return enabled, rooms.clock.now()

    _show(*administer(work), as_json=as_json)


def _password(*, from_stdin: bool) -> Secret:
    """A new password; one line end after it is not a part of it, any other space is."""
    if from_stdin:
        text = sys.stdin.buffer.read().removesuffix(b"\n").removesuffix(b"\r")
    elif sys.stdin.isatty():
        typed: str = typer.prompt("Password", hide_input=True, confirmation_prompt="Once more", err=True)
        text = typed.encode("utf-8", "surrogateescape")
    else:
        raise InvalidInput(
            "a password is needed: give --password-stdin, or --invite for a link to choose one"
        )
    try:
        return Secret.from_bytes(text)
    except ValueError:
        raise InvalidInput("the password is not UTF-8 text") from None


async def _link(rooms: Rooms, operator: Operator) -> str:
    token = await rooms.signing_in.invitations.invite(operator.operator_id, origin=origin())
    return f"{rooms.settings.public_url}/invitation/{token.reveal()}"


def _show_link(operator: Operator, link: str, now: datetime, *, as_json: bool) -> None:
    if as_json:
        print_json({**_document(operator, now), "invitation_url": link})
        return
    print_line(link)
    typer.echo(
        f"For {operator.email}, to choose a password: once, within 24 hours. It cannot be shown again.",
        err=True,
    )


def _show(operator: Operator, now: datetime, *, as_json: bool) -> None:
    if as_json:
        print_json(_document(operator, now))
        return
    print_facts(
        {
            "Email": operator.email,
            "Name": operator.name,
            "Role": operator.role,
            "Status": _status(operator, now),
            "Id": operator.operator_id,
            "Password": operator.has_password,
            "OpenID issuer": operator.oidc_issuer,
            "Last sign-in": operator.last_sign_in_at,
            "Added": operator.created_at,
        }
    )


def _document(operator: Operator, now: datetime) -> dict[str, Any]:
    return {
        "object": "operator",
        "id": operator.operator_id,
        "email": operator.email,
        "name": operator.name,
        "role": operator.role.value,
        "status": _status(operator, now),
        "has_password": operator.has_password,
        "oidc_issuer": operator.oidc_issuer,
        "last_sign_in_at": operator.last_sign_in_at,
        "created_at": operator.created_at,
    }


def _status(operator: Operator, now: datetime) -> str:
    if operator.disabled_at is not None:
        return "disabled"
    if operator.locked_until is not None and operator.locked_until > now:
        return "locked"
    return "active" if operator.has_password or operator.oidc_subject else "invited"
