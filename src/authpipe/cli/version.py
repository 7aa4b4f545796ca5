"""``authpipe version``."""

from __future__ import annotations

import platform

import typer

from authpipe._version import __version__
from authpipe.cli.options import Json
from authpipe.cli.output import print_json, print_line


def add_to(app: typer.Typer) -> None:
    """Mount the command."""
    app.command("version", rich_help_panel="Look things up")(version)


def version(as_json: Json = False) -> None:
    """Print which version of Authpipe and Python this is."""
    if as_json:
        print_json({"object": "version", "version": __version__, "python": platform.python_version()})
    else:
        print_line(f"authpipe {__version__} (Python {platform.python_version()})")
