"""The program: every command in its place, and one exit for all of them."""

from __future__ import annotations

import sys

import typer

from authpipe.cli import (
    api_keys,
    audit,
    configs,
    connect,
    connections,
    credential,
    demo,
    dev,
    environments,
    installations,
    keys,
    operators,
    processes,
    providers,
    setup,
    tenants,
    version,
)
from authpipe.cli.failures import exit_code

_GROUPS = (
    demo,
    dev,
    setup,
    processes,
    connect,
    credential,
    connections,
    installations,
    providers,
    environments,
    tenants,
    configs,
    api_keys,
    operators,
    keys,
    audit,
    version,
)


def build() -> typer.Typer:
    """The command line with all its commands.  Nothing heavy is imported before a command runs."""
    app = typer.Typer(
        name="authpipe",
        help="Connections to third-party APIs: OAuth, a vault, silent refresh, credentials that work.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for group in _GROUPS:
        group.add_to(app)
    return app


def main() -> None:
    """Run the command line and end the program with its exit code."""
    app = build()
    sys.exit(exit_code(lambda: app(prog_name="authpipe", standalone_mode=False)))


if __name__ == "__main__":
    main()
