"""What the tests of this room begin with: an environment, and who acts."""

from __future__ import annotations

import pytest

from authpipe.access.api_keys import ApiKeys
from authpipe.access.environments import Environments
from authpipe.domain.clock import ManualClock
from authpipe.domain.environment import Environment, EnvironmentKind
from authpipe.domain.event import ActorKind, Origin
from authpipe.store.database import Database


@pytest.fixture
def origin() -> Origin:
    return Origin(actor_kind=ActorKind.COMMAND_LINE, actor_id="tester")


@pytest.fixture
def environments(database: Database, clock: ManualClock) -> Environments:
    return Environments(database, clock)


@pytest.fixture
def api_keys(database: Database, clock: ManualClock) -> ApiKeys:
    return ApiKeys(database, clock)


@pytest.fixture
async def environment(environments: Environments, origin: Origin) -> Environment:
    return await environments.create("development", kind=EnvironmentKind.DEVELOPMENT, origin=origin)
