"""HTTP messages as values, so that protocol code builds and reads them without doing I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from authpipe.domain.secret import Secret

#: A header, query or form value; secrets stay ``Secret`` until the client writes them to the socket.
Value = str | Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request to a provider.  At most one of ``form`` and ``json`` is set.

    ``url`` carries no secret: a secret query parameter (some providers want one) goes into ``query``,
    which is never logged.
    """

    method: str
    url: str
    headers: Mapping[str, Value] = field(default_factory=dict)
    query: Mapping[str, Value] = field(default_factory=dict)
    form: Mapping[str, Value] | None = None
    json: Mapping[str, Value] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """One answer.  Header names are lower-cased; the body may hold secrets and stays out of ``repr``."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
