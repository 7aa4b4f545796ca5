"""The authorization server, client and answers the tests of this room start from."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from authpipe.domain.secret import Secret
from authpipe.net.message import Response
from authpipe.oauth.server import AuthorizationServer, Client, ClientAuthentication


@pytest.fixture(scope="session")
def now() -> datetime:
    """When answers are received."""
    return datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture(scope="session")
def server() -> Callable[..., AuthorizationServer]:
    """Makes a server that differs from a plain one in what is named."""
    plain = AuthorizationServer(
        authorize_url="https://server.example/authorize",
        token_url="https://server.example/token",
        client_authentication=ClientAuthentication.BASIC,
    )
    return lambda **changes: replace(plain, **changes)


@pytest.fixture(scope="session")
def client() -> Client:
    """The client of RFC 6749's examples."""
    return Client(client_id="s6BhdRkqt3", client_secret=Secret("7Fjfp0ZBr1KtDRbnfVdmIw"))


@pytest.fixture(scope="session")
def answer() -> Callable[..., Response]:
    """Makes an answer; a body that is neither bytes nor text is written as JSON."""

    def make(
        body: object, status: int = 200, content_type: str = "application/json", **headers: Any
    ) -> Response:
        if isinstance(body, str):
            body = body.encode()
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return Response(status=status, headers={"content-type": content_type, **named}, body=raw)

    return make
