"""Schemathesis, with every check it has, against what the OpenAPI document promises."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from authpipe.server.settings import load_settings
from authpipe.vault.keks.local import LocalKek
from support.fuzzing import Arena, arena, fuzz
from support.running import free_port

if TYPE_CHECKING:
    from conftest import Dsns


@pytest.fixture
async def served(tmp_path: Path, dsns: Dsns, kek: LocalKek) -> AsyncIterator[Arena]:
    settings = load_settings(
        data_dir=tmp_path / "state",
        database_url=dsns.owner,
        port=free_port(),
        keks=(f"local:{tmp_path / 'kek'}",),
        allow_loopback_egress=True,
    )
    async with arena(settings) as found:
        yield found


async def test_no_request_gets_an_undocumented_answer(served: Arena, tmp_path: Path) -> None:
    outcome = await fuzz(served, tmp_path / "fuzz", os.environ.get("FUZZ_TOML", ""), *os.environ.get("FUZZ_ARGS", "").split())
    Path("/tmp/fuzz_out.txt").write_text(outcome.printed + "\n" + str(outcome.tally) + f"\n outside {served.asked_outside} acts {served.acts}")
    assert outcome.code == 0, outcome.printed[-6000:]
