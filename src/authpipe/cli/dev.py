"""``authpipe dev``: everything one needs to develop against, in one terminal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from authpipe.cli.options import Json
from authpipe.cli.output import console, print_json
from authpipe.cli.processes import SANDBOX_PORT
from authpipe.domain.errors import ConfigurationError

if TYPE_CHECKING:
    from rich.console import Console

    from authpipe.cli.dev_tree import Development
    from authpipe.server.settings import Settings

_COLOURS = {"server": "cyan", "worker": "magenta", "sandbox": "yellow", "dev": "bold"}
_WIDEST = max(len(name) for name in _COLOURS)


def add_to(app: typer.Typer) -> None:
    """Mount the command."""
    app.command("dev", rich_help_panel="Start here")(dev)


def dev(
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Default: AUTHPIPE_PORT, or the next that is free.")
    ] = None,
    sandbox_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Default: 9400, or the next that is free.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Start database, server, worker and sandbox together, with a development key, until Ctrl-C.

    The database and the key stay in the data directory; the sandbox begins anew at every start.
    With --json, one document tells the addresses once all is ready, and the log goes to standard error.
    """
    from authpipe.cli.until_told import run_until_told
    from authpipe.telemetry.logs import configure

    settings, chosen_sandbox_port, remarks = _settings(port, sandbox_port)
    configure("WARNING", json=False)
    out = console(stderr=as_json)
    code = run_until_told(_run(settings, chosen_sandbox_port, out, remarks, as_json=as_json), told=0)
    if code == 0:
        out.print("Stopped. The database is kept; start again with [bold]authpipe dev[/].")
    raise typer.Exit(code)


def _settings(port: int | None, sandbox_port: int | None) -> tuple[Settings, int, list[str]]:
    from authpipe.cli.ports import free_port, is_free
    from authpipe.server.settings import load_settings

    settings = (
        load_settings(allow_loopback_egress=True)
        if port is None
        else load_settings(allow_loopback_egress=True, port=port)
    )
    if settings.is_production:
        raise ConfigurationError("authpipe dev is for development: unset AUTHPIPE_PROFILE")
    for wished, host, option in (
        (port, settings.host, "--port"),
        (sandbox_port, "127.0.0.1", "--sandbox-port"),
    ):
        if wished is not None and not is_free(host, wished):
            raise ConfigurationError(f"port {wished} is taken: stop what uses it, or choose another {option}")
    remarks = []
    chosen = free_port(settings.host, settings.port)
    if chosen != settings.port:
        remarks.append(f"port {settings.port} is taken, so the server is on {chosen}")
        settings = load_settings(allow_loopback_egress=True, port=chosen)
    chosen_sandbox = free_port("127.0.0.1", sandbox_port or SANDBOX_PORT, apart_from=(chosen,))
    if chosen_sandbox != (sandbox_port or SANDBOX_PORT):
        remarks.append(f"port {SANDBOX_PORT} is taken, so the sandbox is on {chosen_sandbox}")
    return settings, chosen_sandbox, remarks


async def _run(
    settings: Settings, sandbox_port: int, out: Console, remarks: list[str], *, as_json: bool
) -> int:
    import asyncio

    from authpipe.cli.dev_tree import running_development

    log = _Log(out)
    status = out.status("starting the database")
    waiting = iter(("the sandbox", "the providers", "the worker", "the server", "the last of it"))

    def progress(what: str, seconds: float) -> None:
        out.print(f"[green]✓[/] {what:<10} [dim]{seconds:4.1f} s[/]")
        status.update(f"starting {next(waiting)}")

    status.start()
    try:
        async with running_development(
            settings, sandbox_port=sandbox_port, say=log.say, progress=progress
        ) as development:
            status.stop()
            if as_json:
                _tell_scripts(settings, development)
            else:
                _tell_people(settings, development, out, remarks)
            log.open()
            await asyncio.Event().wait()
    finally:
        status.stop()
    return 0


class _Log:
    """One stream for all processes.  What they say before all is ready is kept back: it is no news."""

    def __init__(self, out: Console) -> None:
        self._out = out
        self._open = False

    def open(self) -> None:
        """From now on every line is printed."""
        self._open = True

    def say(self, name: str, line: str) -> None:
        """One line of one process."""
        from rich.text import Text

        if self._open:
            prefix = Text(f"{name:<{_WIDEST}} │ ", style=_COLOURS.get(name, ""))
            self._out.print(prefix + Text(line), soft_wrap=True)


def _tell_scripts(settings: Settings, development: Development) -> None:
    print_json(
        {
            "object": "development",
            "url": development.url,
            "api_key": development.api_key.reveal(),
            "environment": development.environment,
            "sandbox_url": development.sandbox_url,
            "providers": development.sandbox.providers,
            "data_dir": str(settings.data_dir),
            "ready_s": round(development.ready_s, 3),
        }
    )
    sys.stdout.flush()


def _tell_people(settings: Settings, development: Development, out: Console, remarks: list[str]) -> None:
    sandbox = development.sandbox
    remarks = [
        *remarks,
        *(
            f"{name} keeps the config you gave it; the sandbox does not stand in for it"
            for name in sandbox.kept
        ),
        *(
            f"{name} still points at an earlier sandbox, by which live connections were made: disconnect them"
            for name in sandbox.stuck
        ),
    ]
    out.print(f"\n[bold green]Authpipe is ready[/] after {development.ready_s:.1f} s\n")
    for name, value in (
        ("Server", development.url),
        ("API key", development.api_key.reveal()),
        ("Sandbox", f"{development.sandbox_url} ({', '.join(sandbox.providers)})"),
        ("Data", str(settings.data_dir)),
    ):
        out.print(f"  [bold]{name:<8}[/] {value}", soft_wrap=True)
    for remark in remarks:
        out.print(f"  [yellow]Note[/]     {remark}", soft_wrap=True)
    provider = _worth_trying(sandbox.providers)
    out.print("\nTry next, in another terminal:\n")
    server = f"export AUTHPIPE_URL={development.url}"
    key = f"export AUTHPIPE_API_KEY={development.api_key.reveal()}"
    attempt = f"{provider} --tenant org_acme"
    tries = (
        ("Install the application for a tenant", server, key, f"authpipe connect {attempt} --install"),
        ("Connect one of its users", f"authpipe connect {attempt} --user user_123"),
        ("Ask for that user's credential", f"authpipe credential get {attempt} --user user_123"),
    )
    for number, (what, *commands) in enumerate(tries, 1):
        out.print(f"  {number}. {what}")
        for command in commands:
            out.print(f"     [cyan]{command}[/]", soft_wrap=True)
    out.print(f"\nThe HTTP API is described at {development.url}/docs. Ctrl-C stops everything.\n")


def _worth_trying(providers: list[str]) -> str:
    """A provider that has both an installation and users, if there is one."""
    from authpipe.catalog.definition import AuthModel
    from authpipe.catalog.loader import load_catalog

    catalog = load_catalog()
    both = [name for name in providers if catalog.get(name).auth_model is AuthModel.INSTALLATION_AND_USER]
    return next(iter([*both, *providers]), "PROVIDER")
