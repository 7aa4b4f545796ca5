"""A provider config and one replica of the credentials room."""

from __future__ import annotations

import pytest

from authpipe.domain.provider_config import ProviderConfig
from support.replica import Replica, Replicas
from support.scene import Scene


@pytest.fixture
async def config(scene: Scene) -> ProviderConfig:
    """Discord at the simulator: rotating refresh tokens."""
    return await scene.config()


@pytest.fixture
async def replica(replicas: Replicas) -> Replica:
    return await replicas.start()
