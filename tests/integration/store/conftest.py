"""The store is tested against the bundled PostgreSQL and, where one is installed, the system's."""

from __future__ import annotations

import pytest

from support.postgres import Server, Servers


@pytest.fixture(params=["bundled", "system"])
def postgres(request: pytest.FixtureRequest, postgres_servers: Servers) -> Server:
    return postgres_servers.get(request.param) or pytest.skip("no PostgreSQL server is installed")
