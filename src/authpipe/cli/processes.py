"""``authpipe serve``, ``worker`` and ``sandbox``: one process each."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from authpipe.cli.output import print_line
from authpipe.domain.errors import ConfigurationError

SANDBOX_PORT = 9400


def add_to(app: typer.Typer) -> None:
    """Mount the commands."""
    app.command("serve", rich_help_panel="Run")(serve)
    app.command("worker", rich_help_panel="Run")(worker)
    app.command("sandbox", rich_help_panel="Start here")(sandbox)


def serve(
    migrate: Annotated[bool, typer.Option("--migrate", help="Bring the schema up to date first.")] = False,
    with_worker: Annotated[
        bool, typer.Option("--with-worker", help="Run the worker in the same process.")
    ] = False,
) -> None:
    """Serve the HTTP API and the hosted connect pages."""
    from authpipe.server.run import serve as run_server
    from authpipe.server.settings import load_settings

    settings = load_settings()
    run_server(
        settings,
        migrate=migrate,
        with_worker=with_worker,
        ready=lambda: _say(f"Authpipe is ready at {settings.local_url}"),
    )


def worker(
    migrate: Annotated[bool, typer.Option("--migrate", help="Bring the schema up to date first.")] = False,
) -> None:
    """Refresh credentials before they expire, and clear away what nobody finished."""
    from authpipe.server.run import run_worker
    from authpipe.server.settings import load_settings

    run_worker(load_settings(), migrate=migrate, ready=lambda: _say("the worker is ready"))


def sandbox(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = SANDBOX_PORT,
) -> None:
    """Simulate the providers, for development and tests.  Its state is gone when it ends."""
    import asyncio

    from authpipe.sandbox.server import run

    try:
        asyncio.run(run(host, port))
    except OSError as error:
        # The text asyncio gives repeats the address and more.
        reason = error.strerror if error.errno is None else os.strerror(error.errno)
        raise ConfigurationError(
            f"the sandbox cannot listen on {host} port {port} ({reason}): choose another with --port"
        ) from None


def _say(text: str) -> None:
    print_line(text)
    # Whoever waits for the line may read it through a pipe.
    sys.stdout.flush()
