"""The header in which a credential travels."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping

from authpipe.catalog.definition import HeaderFormat
from authpipe.catalog.placeholders import fill
from authpipe.domain.errors import InvalidInput
from authpipe.domain.secret import Secret
from authpipe.net.message import Value

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def credential_header(header: HeaderFormat, secret: Secret, facts: Mapping[str, str]) -> tuple[str, Secret]:
    """Name and value of the header that presents ``secret``.

    ``facts`` are the key fields that are not secret, by name; others are ignored.  A ``{basic}`` value is
    Base64 of UTF-8 text (RFC 7617).  Raises ``InvalidInput`` when a value holds what a header cannot carry,
    or a colon in a user name of Basic (RFC 7617 section 2: the reader could not tell the parts apart), and
    ``ConfigurationError`` when a named fact is missing.
    """
    values: dict[str, Value] = {**facts, "secret": secret}
    if header.basic is not None:
        for name, fact in facts.items():
            if ":" in fact and f"{{{name}}}:" in header.basic:
                raise InvalidInput("must not contain a colon", field=name)
        values["basic"] = Secret(base64.b64encode(_text(fill(header.basic, values)).encode()).decode())
    value = _text(fill(header.value, values))
    # RFC 9110 section 5.5: a control character would end the header, or start another one.
    if _CONTROL.search(value) is not None:
        raise InvalidInput("the credential contains a character that a header cannot carry")
    return header.name, Secret(value)


def _text(value: Value) -> str:
    return value.reveal() if isinstance(value, Secret) else value
