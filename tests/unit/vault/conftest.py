from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.vault.memory_keysets import MemoryKeysets
from tests.unit.vault.replicas import Replicas

from authpipe.domain.clock import ManualClock
from authpipe.vault.keks.local import LocalKek
from authpipe.vault.vault import Vault


@pytest.fixture
def kek(tmp_path: Path) -> LocalKek:
    return LocalKek.create(tmp_path / "kek")


@pytest.fixture
def replicas(kek: LocalKek) -> Replicas:
    return Replicas(kek)


@pytest.fixture
def store(replicas: Replicas) -> MemoryKeysets:
    return replicas.store


@pytest.fixture
def clock(replicas: Replicas) -> ManualClock:
    return replicas.clock


@pytest.fixture
def vault(replicas: Replicas) -> Vault:
    return replicas.start()
