"""Secrets come from a prompt, a file or a variable: a command line is seen by every process list."""

from __future__ import annotations

import os
import sys

import typer

from authpipe.domain.errors import ConfigurationError, InvalidInput
from authpipe.domain.secret import Secret

_STANDARD_INPUT = "-"


def read_secret(
    what: str, *, option: str, file: str | None, variable: str | None, prompt: bool
) -> Secret | None:
    """The secret: from ``file`` (``-`` is standard input), else ``variable``, else typed without echo.

    None when neither is given and ``prompt`` is false.  Raises ``InvalidInput`` or ``ConfigurationError``
    with the remedy, and never with the text.
    """
    if file is not None and variable is not None:
        raise InvalidInput(f"give {option}-file or {option}-env, not both", field=option)
    if file is not None:
        return _checked(_from_file(file), what)
    if variable is not None:
        text = os.environ.get(variable)
        if text is None:
            raise ConfigurationError(f"the variable {variable} is not set, so there is no {what}")
        return _checked(text.encode("utf-8", "surrogateescape"), what)
    if not prompt:
        return None
    if not sys.stdin.isatty():
        raise InvalidInput(
            f"a {what} is needed: give {option}-file PATH, {option}-file - or {option}-env NAME", field=option
        )
    typed: str = typer.prompt(what[:1].upper() + what[1:], hide_input=True, err=True)
    return _checked(typed.encode(), what)


def _from_file(name: str) -> bytes:
    try:
        if name == _STANDARD_INPUT:
            return sys.stdin.buffer.read()
        with open(name, "rb") as file:  # noqa: PTH123  # a name such as /dev/fd/3 is one too
            return file.read()
    except OSError as error:
        raise ConfigurationError(f"cannot read {name}: {error.strerror}") from None


def _checked(text: bytes, what: str) -> Secret:
    try:
        secret = Secret.from_bytes(text.strip())
    except ValueError:
        raise InvalidInput(f"the {what} is not UTF-8 text") from None
    if not secret:
        raise InvalidInput(f"the {what} is empty")
    return secret
