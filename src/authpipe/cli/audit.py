"""``authpipe audit``: is what is on record what happened, and a copy of it for elsewhere."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO, TypeVar
from uuid import UUID

import typer

from authpipe.cli.administration import administer, origin, settings_for_a_command
from authpipe.cli.documents import listed
from authpipe.cli.failures import FAILED
from authpipe.cli.options import DEVELOPMENT, EnvironmentName, Json
from authpipe.cli.output import console, print_json, print_line, print_table
from authpipe.domain.environment import WORKSPACE_ID
from authpipe.domain.errors import ConfigurationError, InvalidInput
from authpipe.domain.event import Event

if TYPE_CHECKING:
    from authpipe.events.verification import Progress, Verdict
    from authpipe.server.wiring import Rooms

T = TypeVar("T")

_WORKSPACE = "workspace"
_Workspace = Annotated[
    bool, typer.Option("--workspace", help="What belongs to no environment: operators and their sign-ins.")
]


def add_to(app: typer.Typer) -> None:
    """Mount the group."""
    group = typer.Typer(no_args_is_help=True, help="The record of who did what, and proof that it is whole.")
    group.command("begin")(begin)
    group.command("verify")(verify)
    group.command("export")(export)
    group.command("list")(list_events)
    app.add_typer(group, name="audit", rich_help_panel="Administer")


def begin(as_json: Json = False) -> None:
    """Begin the chains that a migration without the vault could not.

    Anywhere else a chain without its head was tampered with, and this would hide it.
    """

    async def work(rooms: Rooms) -> list[tuple[str, UUID]]:
        begun = await rooms.chain_beginnings.begin_late(origin())
        return [
            (name, each)
            for name, each in await _places(rooms, DEVELOPMENT, workspace=False, every=True)
            if each in begun
        ]

    begun = administer(work)
    if as_json:
        print_json(
            listed({"object": "audit_chain", "name": name, "environment_id": each} for name, each in begun)
        )
        return
    for name, _ in begun:
        print_line(f"{name}: begun; a worker links what happened there before")
    if not begun:
        print_line("every chain has begun: nothing to do")


def verify(
    environment: EnvironmentName = DEVELOPMENT,
    workspace: _Workspace = False,
    every: Annotated[
        bool, typer.Option("--all", help="Every environment, and the workspace itself.")
    ] = False,
    export_file: Annotated[
        Path | None,
        typer.Option("--export", metavar="FILE", help="Check an export instead, without any database."),
    ] = None,
    expect: Annotated[
        str | None,
        typer.Option(metavar="POSITION:HASH", help="A head that was noted: the chain must contain it."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Check that no event was changed, removed or slipped in.  Exit code 1 when one was.  Changes nothing."""
    from authpipe.events.chain_hash import read_head

    expected = None if expect is None else read_head(expect)
    if every and expected is not None:
        raise InvalidInput("--expect is the head of one environment: leave --all out", field="expect")
    if export_file is not None:
        verdicts = [(export_file.name, _verdict_on_file(export_file, expected))]
    else:

        async def work(rooms: Rooms, progress: Progress) -> list[tuple[str, Verdict]]:
            return [
                (name, await rooms.chain_verification.verify(each, expected=expected, progress=progress))
                for name, each in await _places(rooms, environment, workspace=workspace, every=every)
            ]

        verdicts = _with_progress("verifying", work)
    if as_json:
        documents = [_verdict_document(name, verdict) for name, verdict in verdicts]
        print_json(listed(documents) if every else documents[0])
    else:
        for name, verdict in verdicts:
            print_line(_sentence(name, verdict, offline=export_file is not None))
    if not all(verdict.is_intact for _, verdict in verdicts):
        raise typer.Exit(FAILED)


def export(
    environment: EnvironmentName = DEVELOPMENT,
    workspace: _Workspace = False,
    start: Annotated[
        str | None, typer.Option("--from", metavar="WHERE", help="A position or a time, inclusive.")
    ] = None,
    end: Annotated[
        str | None, typer.Option("--to", metavar="WHERE", help="A position or a time, inclusive.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Default: standard output.  Readable by you alone.")
    ] = None,
) -> None:
    """Write linked events as JSON lines, each with its position and hash.  Times are RFC 3339."""
    first, last = _bound(start, "from"), _bound(end, "to")

    async def work(rooms: Rooms, progress: Progress) -> None:
        ((_, place),) = await _places(rooms, environment, workspace=workspace)
        lines = rooms.audit_export.lines(place, start=first, end=last, progress=progress)
        # Before the file is touched: a wrong range must not cost an earlier export.
        head = await anext(lines)
        with _written(output) as file:
            await _write(head, lines, file)

    _with_progress("exporting", work)


def list_events(
    environment: EnvironmentName = DEVELOPMENT,
    workspace: _Workspace = False,
    type_: Annotated[str | None, typer.Option("--type", help="Such as connection.created.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Events of one tenant.")] = None,
    object_: Annotated[
        str | None, typer.Option("--object", metavar="ID", help="Events of one object.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 50,
    as_json: Json = False,
) -> None:
    """List events, newest first."""

    async def work(rooms: Rooms) -> list[Event]:
        ((_, place),) = await _places(rooms, environment, workspace=workspace)
        async with rooms.database.environment(place) as transaction:
            return await transaction.events.page(
                place, tenant_id=tenant, type=type_, object_id=object_, limit=limit
            )

    found = administer(work)
    if as_json:
        print_json(listed(_event_document(each) for each in found))
        return
    print_table(
        ("Event", "Time", "Outcome", "Actor", "Object"),
        [
            (
                each.type,
                each.created_at,
                each.outcome,
                " ".join(filter(None, (each.origin.actor_kind.value, each.origin.actor_id))),
                f"{each.object_kind} {each.object_id}",
            )
            for each in found
        ],
        empty="no such event",
    )


async def _places(
    rooms: Rooms, environment: str, *, workspace: bool, every: bool = False
) -> list[tuple[str, UUID]]:
    """Names and ids of what the options chose."""
    if every:
        known = {each.environment_id: each.name for each in await rooms.environments.list()}
        async with rooms.database.system() as transaction:
            chained = await transaction.audit_chain.headed()
        ids = dict.fromkeys([WORKSPACE_ID, *known, *chained])
        return [(known.get(each, _WORKSPACE if each == WORKSPACE_ID else str(each)), each) for each in ids]
    if workspace:
        return [(_WORKSPACE, WORKSPACE_ID)]
    return [(environment, (await rooms.environments.by_name(environment)).environment_id)]


def _verdict_on_file(path: Path, expected: Any) -> Verdict:
    import asyncio

    from authpipe.events.audit_export import LONGEST_LINE, verify_export

    def lines(file: TextIO) -> Iterator[str]:
        while line := file.readline(LONGEST_LINE + 2):
            yield line

    try:
        with path.open(encoding="utf-8") as file:
            return asyncio.run(verify_export(lines(file), expected=expected))
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise InvalidInput(f"{path} is not UTF-8", field="export") from None


def _sentence(name: str, verdict: Verdict, *, offline: bool) -> str:
    from authpipe.events.verification import SAID

    broken = verdict.broken
    if broken is None:
        parts = [f"{name}: intact, {verdict.checked} events, head {verdict.head}"]
        if offline:
            parts.append("its seal was not checked, which takes the vault: note the head, or --expect one")
        elif verdict.waiting:
            parts.append(f"{verdict.waiting} wait for a worker to link them")
        return "; ".join(parts)
    where = [] if broken.position is None else [f"position {broken.position}"]
    if broken.event_id is not None:
        where.append(f"event {broken.event_id}")
    if broken.created_at is not None:
        where.append(f"of {broken.created_at}")
    return f"{name}: BROKEN at {', '.join(where)}: {SAID[broken.fault]} ({broken.fault.value})"


def _verdict_document(name: str, verdict: Verdict) -> dict[str, Any]:
    broken = verdict.broken
    return {
        "object": "audit_verdict",
        "name": name,
        "environment_id": verdict.environment_id,
        "intact": verdict.is_intact,
        "checked": verdict.checked,
        "waiting": verdict.waiting,
        "sealed": verdict.sealed,
        "head": {"position": verdict.head.position, "hash": verdict.head.hash.hex()},
        "broken": None
        if broken is None
        else {
            "fault": broken.fault.value,
            "position": broken.position,
            "event_id": broken.event_id,
            "created_at": broken.created_at,
        },
    }


def _event_document(event: Event) -> dict[str, Any]:
    return {
        "object": "event",
        "id": event.event_id,
        "type": event.type,
        "tenant_id": event.tenant_id,
        "object_kind": event.object_kind,
        "object_id": event.object_id,
        "outcome": event.outcome.value,
        "actor": {"kind": event.origin.actor_kind.value, "id": event.origin.actor_id},
        "request_id": event.origin.request_id,
        "source_address": event.origin.source_address,
        "data": dict(event.data),
        "created_at": event.created_at,
    }


def _bound(text: str | None, option: str) -> int | datetime | None:
    if text is None or text.isdigit():
        return None if text is None else int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInput(
            f"--{option} takes a position such as 17 or a time such as 2026-05-17T12:00:00Z", field=option
        ) from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


async def _write(first: str, lines: AsyncIterator[str], file: TextIO) -> None:
    file.write(first + "\n")
    async for line in lines:
        file.write(line + "\n")


@contextmanager
def _written(output: Path | None) -> Iterator[TextIO]:
    """The file, which only its owner can read (it tells who did what), or standard output.

    A new file takes the place of one that is there, once it is whole.
    """
    if output is None:
        yield sys.stdout
        return
    try:
        if not stat.S_ISREG(output.lstat().st_mode):
            raise ConfigurationError(f"{output} cannot be written (it is there and no regular file)")
    except FileNotFoundError:
        pass
    except OSError as error:
        raise ConfigurationError(f"{output} cannot be written ({error.strerror})") from None
    try:
        descriptor, draft = tempfile.mkstemp(prefix=f".{output.name}.", dir=output.parent)
    except OSError as error:
        raise ConfigurationError(f"{output} cannot be written ({error.strerror})") from None
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            yield file
        Path(draft).replace(output)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise


def _with_progress(what: str, work: Callable[[Rooms, Progress], Awaitable[T]]) -> T:
    """The result of ``work`` on open rooms, with a bar on standard error where somebody looks."""
    import asyncio

    from rich.progress import Progress as Bar

    from authpipe.server.wiring import open_rooms

    settings = settings_for_a_command()

    async def run() -> T:
        shown = console(stderr=True)
        async with open_rooms(settings) as rooms:
            with Bar(console=shown, transient=True, disable=not shown.is_terminal) as bar:
                task = bar.add_task(what, total=None)
                return await work(rooms, lambda done, total: bar.update(task, completed=done, total=total))

    return asyncio.run(run())
