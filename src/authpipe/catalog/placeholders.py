"""The ``{placeholders}`` of templates: which a text names, and how they are filled."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from authpipe.domain.errors import ConfigurationError
from authpipe.domain.secret import Secret
from authpipe.net.message import Value

_PLACEHOLDER: Final = re.compile(r"\{([a-z][a-z0-9_]*)\}")

#: Facts a request template may name whatever the provider; key fields of the side come on top.
STANDARD_NAMES: Final = (
    "access_token",
    "refresh_token",
    "client_id",
    "client_secret",
    "external_id",
    "account_id",
)

#: Those of the standard names whose value is a secret.
STANDARD_SECRETS: Final = frozenset({"access_token", "refresh_token", "client_secret"})


def placeholders(text: str) -> tuple[str, ...]:
    """The names between braces, in order of appearance."""
    return tuple(_PLACEHOLDER.findall(text))


def has_stray_brace(text: str) -> bool:
    """Whether a brace stands outside a well-formed placeholder; templates have no way to mean one."""
    rest = _PLACEHOLDER.sub("", text)
    return "{" in rest or "}" in rest


def fill(text: str, values: Mapping[str, Value], encode: Callable[[str], str] | None = None) -> Value:
    """``text`` with every placeholder replaced; a ``Secret`` as soon as one of the values is.

    ``encode`` is applied to each value, not to the text around it.  Raises ``ConfigurationError`` for a
    placeholder without a value.
    """
    secret = False

    def value_of(match: re.Match[str]) -> str:
        nonlocal secret
        value = values.get(match[1])
        if value is None:
            raise ConfigurationError(
                f"a request of this provider needs {{{match[1]}}}, which is not known here"
            )
        if isinstance(value, Secret):
            secret = True
            value = value.reveal()
        return encode(value) if encode else value

    filled = _PLACEHOLDER.sub(value_of, text)
    return Secret(filled) if secret else filled
