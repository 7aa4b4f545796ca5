"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

from authpipe.domain.errors import InvalidInput

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
EnvironmentName = Annotated[
    str,
    typer.Option(
        "--environment", "-e", envvar="AUTHPIPE_ENVIRONMENT", metavar="NAME", help="Which environment."
    ),
]
DEVELOPMENT = "development"


def pairs(values: list[str], *, option: str) -> dict[str, str]:
    """``name=value`` arguments as a dictionary.  Raises ``InvalidInput`` naming the option."""
    found = {}
    for value in values:
        name, separator, text = value.partition("=")
        if not separator or not name:
            raise InvalidInput(f"{option} takes name=value", field=option)
        found[name] = text
    return found
